//! `redlock top`: the whole fleet on a terminal.

mod app;
mod screen;
mod table;

use std::env;
use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::{Args, ValueEnum};
use ratatui::crossterm::event::{self, Event};
use ratatui::{DefaultTerminal, Terminal};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::timeout;

use self::app::{App, Step};
use self::screen::Paint;
use crate::args::Nodes;
use crate::clock::std_now as now;
use crate::exit::{Failure, LOOK_CODES, OURS};
use crate::fleet::{Fleet, Sort, look_once};
use crate::signals;

const EXAMPLES: &str = "\
Examples:
  redlock top
  redlock top --sort waiting
  redlock top | head              one table, because there is no terminal
  redlock top --json | jq '.locks[] | select(.waiting > 0).name'

Keys: ↑ ↓ choose, enter inspects, n h a l w s sort (again: the other way round), / searches, r takes the lock from its holder
after a question, q ends.";

/// Shows all locks, who holds and wants them, and the nodes, on the terminal
#[derive(Debug, Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{LOOK_CODES}"))]
pub(crate) struct Options {
    /// What comes first
    #[arg(long, value_enum, default_value = "age")]
    sort: By,
    /// Print all of it once, as JSON
    #[arg(long)]
    json: bool,
}

/// What the rows are in the order of.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum By {
    Name,
    Holder,
    Age,
    Left,
    Waiting,
    State,
}

impl From<By> for Sort {
    fn from(by: By) -> Self {
        match by {
            By::Name => Self::Name,
            By::Holder => Self::Holder,
            By::Age => Self::Age,
            By::Left => Self::Left,
            By::Waiting => Self::Waiting,
            By::State => Self::State,
        }
    }
}

/// The screen changes at most this often, and at least so often that ages go on.
const FRAMES: (Duration, Duration) = (Duration::from_millis(40), Duration::from_millis(500));

pub(crate) fn main(nodes: &Nodes, options: &Options) -> Result<ExitCode, Failure> {
    let locks = nodes.manager()?;
    let runtime = signals::runtime(Builder::new_multi_thread().worker_threads(2))?;
    let code = runtime.block_on(async {
        if options.json {
            return table::print_json(&look_once(locks).await);
        }
        let is_dumb = env::var_os("TERM").is_none_or(|term| term == "dumb");
        if is_dumb || !io::stdout().is_terminal() || !io::stdin().is_terminal() {
            return table::print(&look_once(locks).await, options.sort.into());
        }
        live(Fleet::start(locks), options.sort.into()).await
    });
    // A look that is under way is nothing to wait for.
    runtime.shutdown_background();
    code
}

/// Until somebody ends it.
async fn live(fleet: Fleet, sort: Sort) -> Result<ExitCode, Failure> {
    let no_signals = |error: io::Error| failure(&format!("signals cannot be heard: {error}"));
    let mut terminated = signal(SignalKind::terminate()).map_err(no_signals)?;
    let mut hung_up = signal(SignalKind::hangup()).map_err(no_signals)?;
    let (terminal, _restore) = enter()?;
    let keys = keys();
    tokio::select! {
        biased;
        _ = terminated.recv() => Ok(ExitCode::from(128 + 15)),
        _ = hung_up.recv() => Ok(ExitCode::from(128 + 1)),
        ended = draw(terminal, keys, App::new(fleet, sort)) => {
            ended.map(|()| ExitCode::SUCCESS).map_err(|error| failure(&format!("the terminal is gone: {error}")))
        }
    }
}

/// The terminal, which is restored however this ends: a panic restores it before it is told.
fn enter() -> Result<(DefaultTerminal, Restore), Failure> {
    let terminal = ratatui::try_init().map_err(|error| failure(&format!("the terminal cannot be used: {error}")))?;
    Ok((terminal, Restore))
}

/// Restores the terminal when it is dropped.
struct Restore;

impl Drop for Restore {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// What is typed. The thread ends with the process: a terminal cannot be waited for with a bound.
fn keys() -> UnboundedReceiver<Event> {
    let (told, keys) = unbounded_channel();
    thread::spawn(move || {
        while let Ok(event) = event::read() {
            if told.send(event).is_err() {
                return;
            }
        }
    });
    keys
}

async fn draw(mut terminal: DefaultTerminal, mut keys: UnboundedReceiver<Event>, mut app: App) -> io::Result<()> {
    let paint = Paint::of(env::var_os("NO_COLOR").is_none_or(|set| set.is_empty()));
    let mut changed = app.changed();
    loop {
        show(&mut terminal, &mut app, paint)?;
        let next = async {
            tokio::select! {
                biased;
                key = keys.recv() => Some(key),
                () = app.resets_end() => None,
                () = async {
                    tokio::time::sleep(FRAMES.0).await;
                    // It lives as long as the fleet.
                    let _ = changed.changed().await;
                } => None,
            }
        };
        match timeout(FRAMES.1, next).await {
            Ok(Some(None)) => return Ok(()),
            Ok(Some(Some(Event::Key(key)))) => {
                if app.press(key) == Step::End {
                    return Ok(());
                }
            }
            // The screen has another size, or something changed, or time passed.
            Ok(_) | Err(_) => {}
        }
    }
}

fn show<B: ratatui::backend::Backend>(terminal: &mut Terminal<B>, app: &mut App, paint: Paint) -> Result<(), B::Error> {
    terminal.draw(|frame| screen::draw(frame, app, paint, now())).map(|_| ())
}

fn failure(message: &str) -> Failure {
    Failure { code: OURS, message: message.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use redlock_tests::Program;
    use redlock_tests::wait::{eventually, eventually_some};

    use super::*;

    /// Set in the process that panics.
    const PANICS: &str = "REDLOCK_TEST_PANICS";

    #[test]
    fn a_panic_restores_the_terminal() {
        if env::var_os(PANICS).is_some() {
            let entered = enter().map_err(|failure| failure.message);
            assert!(entered.is_err(), "as if something were wrong");
        }
        if !Command::new("tmux").arg("-V").output().is_ok_and(|output| output.status.success()) {
            eprintln!("SKIPPED: there is no tmux; install that package to test redlock top on a terminal");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("tmux");
        let tmux = || {
            let mut command = Command::new("tmux");
            command.arg("-S").arg(&socket);
            command
        };
        let _server = Program::start(tmux().args(["-D", "-f", "/dev/null"]));
        // Who comes before that starts another server, which nobody ends.
        eventually("tmux listens", || socket.exists());
        let this = env::current_exe().unwrap();
        let script = format!(
            "echo before; RUST_BACKTRACE=0 {PANICS}=1 '{}' --exact --nocapture top::tests::a_panic_restores_the_terminal; stty -a; exec sleep 1000",
            this.display()
        );
        eventually("tmux begins", || {
            let begun = tmux().args(["new-session", "-d", "-x", "120", "-y", "40", "sh", "-c", &script]).output();
            begun.is_ok_and(|output| output.status.success())
        });
        let text = eventually_some("the terminal edits lines again", || {
            let output = tmux().args(["capture-pane", "-p"]).output().unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            (text.contains(" icanon ") && text.contains(" echo ")).then_some(text)
        });
        // Two processes' words may stand in one line.
        assert!(text.contains("before") && text.contains("panicked at"), "{text}");
    }
}
