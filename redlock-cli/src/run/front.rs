//! The process that somebody started: it starts the other two, hands signals on, and ends as the command does.

use std::ffi::OsString;
use std::io;
use std::process::{Child, ExitCode, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getpgrp};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{ChildStdin, ChildStdout, Command};
use tokio::time::{Instant, timeout};

use super::elsewhere::Elsewhere;
use super::group::Group;
use super::launch::Launch;
use super::limits::Limits;
use super::messages::{News, Task, Told};
use super::moment::Moment;
use super::terminal::{Terminal, has_shell};
use super::{holder, launch, mark};
use crate::clock::{now, sleep_until};
use crate::exit::{Failure, LOST, NO_QUORUM, OURS, tell};
use crate::signals::{Signals, asks_to_end, ends};
use crate::words::quoted;

/// How long the lock may take to be given back; then whoever holds it goes on by itself.
const GIVE_BACK: Duration = Duration::from_secs(5);

/// How long to wait for what may be on its way, before a command is killed.
const LAST_LOOK: Duration = Duration::from_millis(5);

/// How often processes are waited for that have lost their parent, while what is left of a command ends.
const REAP_EVERY: Duration = Duration::from_millis(20);

/// Runs a command under a lock; the code to end with.
pub(super) async fn run(task: &Task, program: &[OsString]) -> Result<ExitCode, Failure> {
    // Before anything is started: from here on no signal leaves anything behind.
    let mut signals = Signals::listen().map_err(|error| ours(&error))?;
    let has_only_commands = Elsewhere::adopt();
    let mut holder = Holder::start(task).await?;
    match launched(task, program, &mut holder, &mut signals).await {
        Ok(Launched::Known { launch, ttl, valid_until, is_to_stop }) => {
            let group = launch.group();
            let terminal = Terminal::of_this_process();
            terminal.lend(group);
            let limits = Limits::new(task.kill_after, ttl);
            let mut run = Run {
                _child: launch.begin(),
                group,
                elsewhere: Elsewhere {
                    but: holder.id,
                    outside: group,
                    mark: (!has_only_commands).then_some(task.mark),
                },
                recorded_within: task.once.map(|_| ttl),
                name: task.names.join(" "),
                holder,
                terminal,
                limits,
                is_asked_to_end: false,
                is_stopped: false,
                cut_short: None,
                has_holder: true,
                kill_at: now() + limits.until_late_kill(valid_until.remaining()),
            };
            if is_to_stop {
                run.hand_on(Signal::SIGTSTP);
            }
            run.attend(&mut signals).await
        }
        Ok(Launched::Ended(signal)) => {
            holder.let_go().await;
            Ok(ExitCode::from(128 + signal as u8))
        }
        Ok(Launched::Failed(failure)) => {
            holder.let_go().await;
            Err(failure)
        }
        // There is no lock, and nobody to wait for.
        Err(failure) => Err(failure),
    }
}

fn ours(error: &io::Error) -> Failure {
    Failure { code: OURS, message: format!("redlock's helper cannot be started: {error}") }
}

/// What comes of the wait for a lock and a command.
enum Launched {
    /// The command may begin: the holder knows it, whose lock is held until then. And whether it was asked to stop meanwhile.
    Known { launch: Launch, ttl: Duration, valid_until: Moment, is_to_stop: bool },
    /// A signal that ends programs came before.
    Ended(Signal),
    /// The lock is held, and nothing can be started.
    Failed(Failure),
}

/// Waits for the lock, and starts what becomes the command, until the holder knows of that.
async fn launched(
    task: &Task,
    program: &[OsString],
    holder: &mut Holder,
    signals: &mut Signals,
) -> Result<Launched, Failure> {
    let name = task.names.join(" + ");
    // What is to become the command, under a lock of this TTL.
    let mut waiting: Option<(Launch, Duration)> = None;
    let (launch, ttl, valid_until) = loop {
        tokio::select! {
            biased;
            signal = signals.next() => match signal {
                Signal::SIGTSTP if has_shell() => {
                    // Whoever is stopped would keep a lock from everybody, and do nothing.
                    holder.say(News::Pauses).await;
                    stop();
                    holder.say(News::GoesOn).await;
                }
                signal if ends(signal) => return Ok(Launched::Ended(signal)),
                _ => {}
            },
            told = holder.told() => match told {
                Some(Told::Acquired(held)) => {
                    // One of before is for a lock that was given back.
                    drop(waiting.take());
                    let new = match Launch::prepare(program, &name, &held, task.mark) {
                        Ok(new) => new,
                        Err(error) => return Ok(Launched::Failed(ours(&error))),
                    };
                    holder.say(News::Started { attempt: held.attempt, group: new.group().0.as_raw() }).await;
                    waiting = Some((new, held.ttl));
                }
                Some(Told::Known(valid_until)) => {
                    if let Some((launch, ttl)) = waiting.take() {
                        break (launch, ttl, valid_until);
                    }
                }
                Some(Told::Waiting(message)) => tell(message),
                Some(Told::Failed { code, message }) => return Err(Failure { code, message }),
                Some(_) => {}
                None => return Err(Failure::ours("the process that was to hold the lock ended by itself")),
            },
        }
    };
    // What came with it comes before it.
    let mut is_to_stop = false;
    while let Some(signal) = signals.came().await {
        if ends(signal) {
            return Ok(Launched::Ended(signal));
        }
        is_to_stop |= signal == Signal::SIGTSTP;
    }
    Ok(Launched::Known { launch, ttl, valid_until, is_to_stop })
}

/// Stops this process, as its shell expects of one that was sent SIGTSTP.
fn stop() {
    if has_shell() {
        let _ = kill(Pid::this(), Signal::SIGSTOP);
    }
}

/// The process that holds the lock.
struct Holder {
    id: Option<Pid>,
    /// Whose end tells it that we are gone.
    stdin: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Holder {
    async fn start(task: &Task) -> Result<Self, Failure> {
        let mut command = Command::new(launch::ourselves().map_err(|error| ours(&error))?);
        // Its group is its own: what a terminal sends to ours, we hand on.
        command.arg0("redlock").arg(holder::WORD).process_group(0);
        // That of a run around this one, which is not to kill this.
        command.env_remove(mark::VARIABLE);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().map_err(|error| ours(&error))?;
        let (Some(mut stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Failure::ours("redlock's helper was started without pipes"));
        };
        let mut line = serde_json::to_vec(task).map_err(io::Error::from).map_err(|error| ours(&error))?;
        line.push(b'\n');
        stdin.write_all(&line).await.map_err(|error| ours(&error))?;
        let id = child.id().map(|id| Pid::from_raw(id.cast_signed()));
        Ok(Self { id, stdin: Some(stdin), lines: BufReader::new(stdout).lines() })
    }

    /// What it says; `None` when it has ended. Cancel safe.
    async fn told(&mut self) -> Option<Told> {
        let line = self.lines.next_line().await.ok()??;
        serde_json::from_str(&line).ok()
    }

    async fn say(&mut self, news: News) {
        let (Some(stdin), Ok(line)) = (&mut self.stdin, serde_json::to_string(&news)) else { return };
        // Where nobody listens, that is seen by the end of what is said.
        let _ = stdin.write_all((line + "\n").as_bytes()).await;
    }

    /// Lets it end what it is about to do, and waits until nothing of that is left on nodes that answer.
    async fn let_go(mut self) {
        self.stdin = None;
        let until_done = async { while !matches!(self.told().await, Some(Told::Done(_)) | None) {} };
        let _ = timeout(GIVE_BACK, until_done).await;
    }
}

/// How a command ended.
#[derive(Clone, Copy, Debug)]
enum Ended {
    Code(i32),
    By(Signal),
}

/// A command that runs.
struct Run {
    /// Not waited for by its handle, which knows nothing of stops.
    _child: Option<Child>,
    group: Group,
    /// Who was started by it and has left the group, as far as that can be told.
    elsewhere: Elsewhere,
    /// Of a run that is recorded when it has ended well, how long that may take.
    recorded_within: Option<Duration>,
    /// The lock's name; such a run has one.
    name: String,
    holder: Holder,
    terminal: Terminal,
    limits: Limits,
    /// Whether somebody, or the loss of the lock, asked it to end: then nothing of it is left behind.
    is_asked_to_end: bool,
    /// Whether it is stopped.
    is_stopped: bool,
    /// Why it is ended before its time.
    cut_short: Option<u8>,
    /// Whether the holder is there.
    has_holder: bool,
    /// When it is killed, whatever else happens.
    kill_at: Instant,
}

impl Run {
    async fn attend(mut self, signals: &mut Signals) -> Result<ExitCode, Failure> {
        let ended = loop {
            // A stop or an end that came before we listened is not told again.
            if let Some(ended) = self.look() {
                break ended;
            }
            tokio::select! {
                biased;
                signal = signals.next() => self.hand_on(signal),
                told = self.holder.told(), if self.has_holder => self.hear(told),
                () = sleep_until(self.kill_at) => self.kill_late().await,
            }
        };
        if let Ended::By(_) = ended
            && !self.is_asked_to_end
        {
            // It did not end in order, and what it started does not know that it is alone.
            self.group.ask_to_end();
            self.is_asked_to_end = true;
        }
        if self.is_asked_to_end {
            self.end_rest().await;
        }
        self.terminal.take_back(self.group);
        let is_success = matches!(ended, Ended::Code(0)) && self.cut_short.is_none();
        let said = if self.has_holder { self.give_back(is_success, signals).await } else { None };
        let own = match ended {
            Ended::Code(code) => u8::try_from(code).unwrap_or(OURS),
            Ended::By(signal) => 128 + signal as u8,
        };
        let mut code = self.cut_short.unwrap_or(own);
        if let Some((instead, message)) = said {
            tell(message);
            if code == 0 {
                code = instead;
            }
        }
        Ok(ExitCode::from(code))
    }

    /// Lets the lock be given back; what is said of that.
    async fn give_back(&mut self, is_success: bool, signals: &mut Signals) -> Option<(u8, String)> {
        self.holder.say(News::Ended { is_success }).await;
        // That a run is recorded is tried for as long as the lock is held, and is what this ends with.
        let recorded_within = self.recorded_within.filter(|_| is_success);
        let give_up = now() + GIVE_BACK + recorded_within.unwrap_or_default();
        loop {
            let told = tokio::select! {
                biased;
                told = self.holder.told() => told,
                signal = signals.next() => {
                    if asks_to_end(signal) {
                        break;
                    }
                    continue;
                }
                () = sleep_until(give_up) => break,
            };
            match told {
                Some(Told::Done(done)) => return done,
                // The command was quicker to end than this was to be told.
                Some(Told::Ending { code, message }) => {
                    tell(message);
                    self.cut_short = Some(code);
                }
                Some(Told::Failed { message, .. }) => tell(message),
                Some(_) => {}
                None => break,
            }
        }
        let name = quoted(&self.name);
        let cure = format!(
            "the command ended well, and nobody knows whether its run was recorded: `redlock last {name}` says whether it was, else it may \
             run again"
        );
        recorded_within.map(|_| (NO_QUORUM, cure))
    }

    /// How the command is: whether it ended, or was stopped.
    fn look(&mut self) -> Option<Ended> {
        let flags = WaitPidFlag::WNOHANG | WaitPidFlag::WUNTRACED | WaitPidFlag::WCONTINUED;
        loop {
            // All children are waited for: the first process of a container is the parent of whoever has lost theirs.
            let status = match waitpid(None, Some(flags)) {
                Ok(WaitStatus::StillAlive) => return None,
                Ok(status) => status,
                // There is none, so the command was waited for already.
                Err(_) => return self.group.is_gone().then_some(Ended::Code(i32::from(OURS))),
            };
            if status.pid() != Some(self.group.0) {
                continue;
            }
            match status {
                WaitStatus::Exited(_, code) => return Some(Ended::Code(code)),
                WaitStatus::Signaled(_, signal, _) => return Some(Ended::By(signal)),
                WaitStatus::Stopped(_, signal) => self.was_stopped(signal),
                WaitStatus::Continued(_) => self.is_stopped = false,
                _ => {}
            }
        }
    }

    /// The command was stopped: by ctrl-Z, or because it wants the terminal.
    fn was_stopped(&mut self, signal: Signal) {
        self.is_stopped = true;
        let wants_terminal = matches!(signal, Signal::SIGTTIN | Signal::SIGTTOU);
        if wants_terminal && self.terminal.hand_over(self.group) {
            return self.go_on();
        }
        if !has_shell() {
            // Nobody would let it go on; so it does, as one does that has no shell itself.
            if signal != Signal::SIGSTOP && !wants_terminal {
                self.go_on();
            }
            return;
        }
        if signal == Signal::SIGSTOP {
            return;
        }
        if self.terminal.take_back(self.group) {
            // The rest of a pipeline, which the terminal would have stopped as well.
            let _ = killpg(getpgrp(), Signal::SIGTSTP);
        }
        // The lock is renewed meanwhile: by the other process.
        stop();
    }

    fn go_on(&mut self) {
        self.is_stopped = false;
        self.group.signal(Signal::SIGCONT);
    }

    fn hand_on(&mut self, signal: Signal) {
        match signal {
            Signal::SIGCHLD => {}
            Signal::SIGCONT => {
                if self.is_stopped {
                    self.terminal.lend(self.group);
                }
                self.go_on();
            }
            Signal::SIGTSTP => {
                if !self.is_stopped {
                    self.group.signal(Signal::SIGTSTP);
                }
            }
            signal => {
                self.group.signal(signal);
                if asks_to_end(signal) {
                    self.is_asked_to_end = true;
                    // One that is stopped cannot end, and may have been stopped without our knowing yet.
                    self.go_on();
                }
            }
        }
    }

    fn hear(&mut self, told: Option<Told>) {
        match told {
            Some(Told::Valid(until)) if self.cut_short != Some(LOST) => {
                self.kill_at = now() + self.limits.until_late_kill(until.remaining());
            }
            Some(Told::Ending { code, message }) => {
                tell(message);
                self.cut_short = Some(code);
                self.is_asked_to_end = true;
                self.signal_elsewhere(Signal::SIGTERM);
            }
            Some(Told::Failed { message, .. }) => tell(message),
            Some(_) => {}
            None => {
                self.has_holder = false;
                if self.cut_short.is_none() {
                    tell("the process that holds the lock has gone, so nobody renews it, and the command is ended");
                    self.cut_short = Some(LOST);
                    self.is_asked_to_end = true;
                    let kill_at = now() + self.limits.kill_after();
                    self.kill_at = self.kill_at.min(kill_at);
                    self.group.ask_to_end();
                    self.signal_elsewhere(Signal::SIGTERM);
                }
            }
        }
    }

    /// Whoever holds the lock has not said in time that it was extended, nor ended the command.
    async fn kill_late(&mut self) {
        // This process may have been stopped, and what was said meanwhile is to be read yet.
        while self.has_holder
            && let Ok(told) = timeout(LAST_LOOK, self.holder.told()).await
        {
            self.hear(told);
            if self.kill_at > now() {
                return;
            }
        }
        self.kill_all();
        if self.cut_short.is_none() {
            tell("no renewal was reported in time, so the command was killed; this machine may need a longer --ttl");
            self.cut_short = Some(LOST);
        }
        self.is_asked_to_end = true;
        self.kill_at = now() + Duration::from_secs(1);
    }

    /// The command has ended as it was asked to; whatever it started may end, too, and is killed if it does not.
    async fn end_rest(&mut self) {
        let kill_at = self.kill_at.min(now() + self.limits.kill_after());
        self.signal_elsewhere(Signal::SIGTERM);
        if !self.is_gone_before(kill_at).await {
            self.kill_all();
            self.is_gone_before(now() + Duration::from_secs(1)).await;
        }
    }

    /// Kills what there is of the command, wherever it went.
    fn kill_all(&self) {
        self.group.signal(Signal::SIGKILL);
        self.signal_elsewhere(Signal::SIGKILL);
    }

    /// Signals whoever was started by the command and has left its group.
    fn signal_elsewhere(&self, signal: Signal) {
        self.elsewhere.signal(signal);
        // One that is stopped cannot end.
        self.elsewhere.signal(Signal::SIGCONT);
    }

    /// Whether nothing is left of the command before this moment.
    async fn is_gone_before(&mut self, moment: Instant) -> bool {
        loop {
            // Those that are ours to wait for are there until then.
            let _ = self.look();
            let slice = moment.min(now() + REAP_EVERY);
            if self.group.gone_before(slice).await {
                if self.elsewhere.is_gone() {
                    return true;
                }
                sleep_until(slice).await;
            }
            if now() >= moment {
                return false;
            }
        }
    }
}
