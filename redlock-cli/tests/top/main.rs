//! `redlock top`, on real servers and, where there is tmux, on a real terminal.

use std::fmt;
use std::process::Command;
use std::time::Duration;

use redlock_runtime::{LockManager, Timeout};
use redlock_tests::wait::{eventually, eventually_some};
use redlock_tests::{Program, Servers};
use serde_json::Value;
use tempfile::TempDir;

fn manager(servers: &Servers) -> LockManager {
    LockManager::builder().nodes(servers.urls()).owner_label("the test").build().unwrap()
}

/// Servers may be late on a busy machine.
const PATIENT: &str = "--node-timeout=3s";

fn top(servers: &Servers, arguments: &[&str]) -> redlock_tests::process::Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_redlock"));
    Program::start(command.args(["top", "--nodes", &servers.nodes(), PATIENT]).args(arguments)).wait()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_terminal_it_prints_one_table_and_ends() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    let _guard = locks.lock("invoice:7").acquire().await.unwrap();
    let _odd = locks.lock("a\u{202e}b").acquire().await.unwrap();
    let _permit = locks.lock("slots").permits(3).acquire().await.unwrap();
    // What is noted about an owner comes a moment behind its acquisition.
    while locks.inspect("invoice:7").await.unwrap().owner_label.is_none() {
        tokio::task::yield_now().await;
    }
    let ended = top(&servers, &["--sort", "name"]);
    assert!(ended.status.success(), "{ended:?}");
    let table = ended.lines.join("\n");
    assert!(table.starts_with("LOCK"), "{table}");
    let line = ended.lines.iter().find(|line| line.starts_with("invoice:7 ")).unwrap_or_else(|| panic!("{table}"));
    assert!(line.contains(" held ") && line.contains(" the test "), "{line}");
    assert!(table.contains(r"a\u{202e}b ") && !table.contains('\u{1b}'), "{table}");
    assert!(table.contains("1 of 3"), "{table}");
    assert_eq!(ended.lines.iter().filter(|line| line.contains(": votes, ")).count(), 3, "{table}");

    let ended = top(&servers, &["--json"]);
    let told: Value = serde_json::from_str(&ended.lines.join("\n")).unwrap();
    let names: Vec<_> = told["locks"].as_array().unwrap().iter().map(|lock| lock["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["a\u{202e}b", "invoice:7", "slots"]);
    assert_eq!(told["nodes"].as_array().unwrap().len(), 3);

    servers[0].kill();
    servers[1].kill();
    let ended = top(&servers, &[]);
    assert_eq!(ended.status.code(), Some(69), "{ended:?}");
    assert!(ended.errors.contains("not complete") && ended.errors.trim_end().lines().count() == 1, "{}", ended.errors);
}

/// A terminal of 80 columns and 24 lines.
struct Screen {
    folder: TempDir,
    /// tmux's server, which is killed when this is dropped.
    _server: Program,
}

impl Screen {
    /// A shell, which runs this and says what it ended with; `None` where there is no tmux, which is said: with
    /// `REDLOCK_REQUIRE_TMUX=1` there must be.
    fn start(command: &str) -> Option<Self> {
        if !Command::new("tmux").arg("-V").output().is_ok_and(|output| output.status.success()) {
            assert!(std::env::var_os("REDLOCK_REQUIRE_TMUX").is_none(), "there is no tmux; install that package");
            eprintln!("SKIPPED: there is no tmux; install that package to test redlock top on a terminal");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("tmux");
        // Whoever runs these tests may have set signals to be ignored, as `nohup` does.
        let mut server = Command::new("env");
        server.args(["--default-signal=HUP,INT,QUIT,TSTP", "tmux", "-D", "-f", "/dev/null", "-S"]).arg(&socket);
        let screen = Self { _server: Program::start(&mut server), folder };
        eventually("tmux listens", || socket.exists());
        let script = screen.folder.path().join("script");
        let pid = screen.folder.path().join("pid");
        let text = format!(
            "echo before\nsh -c 'echo $$ >{}; exec {command}'\necho \"ended with $?\"\nstty -a | grep -o -e ' icanon' -e ' echo ' | tr -d '\\n'\ntput cnorm\nexec sleep 1000\n",
            pid.display()
        );
        std::fs::write(&script, text).unwrap();
        eventually("tmux begins", || {
            let mut begin = screen.tmux();
            begin.args(["new-session", "-d", "-x", "80", "-y", "24", "sh"]).arg(&script);
            begin.output().is_ok_and(|output| output.status.success())
        });
        Some(screen)
    }

    fn tmux(&self) -> Command {
        let mut command = Command::new("tmux");
        command.arg("-S").arg(self.folder.path().join("tmux"));
        command
    }

    fn press(&self, keys: &[&str]) {
        for key in keys {
            assert!(self.tmux().args(["send-keys", key]).status().unwrap().success());
        }
    }

    /// What can be read.
    fn text(&self) -> String {
        let output = self.tmux().args(["capture-pane", "-p"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    #[track_caller]
    fn shows(&self, what: &str) -> String {
        eventually_some(Shows(self, format_args!("the screen shows {what}")), || {
            let text = self.text();
            text.contains(what).then_some(text)
        })
    }

    #[track_caller]
    fn shows_no_more(&self, what: &str) {
        eventually(Shows(self, format_args!("the screen does not show {what}")), || !self.text().contains(what));
    }

    fn pid(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("pid")).unwrap().trim().to_owned()
    }

    /// Keeps what is shown, with its colours, where `REDLOCK_SHOTS` names a folder.
    fn shoot(&self, name: &str) {
        let Some(folder) = std::env::var_os("REDLOCK_SHOTS") else { return };
        let output = self.tmux().args(["capture-pane", "-p", "-e"]).output().unwrap();
        std::fs::write(std::path::Path::new(&folder).join(format!("{name}.ansi")), output.stdout).unwrap();
    }

    /// The terminal is as it was: what was there before can be read, and lines are edited and echoed.
    #[track_caller]
    fn is_restored(&self, code: u8) {
        let text = self.shows(&format!("ended with {code}"));
        assert!(text.contains("before"), "{text}");
        self.shows("icanon echo");
        let output = self.tmux().args(["display-message", "-p", "#{alternate_on}"]).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), "0");
    }
}

/// What is awaited of a screen, and what it shows when it was awaited in vain.
struct Shows<'a>(&'a Screen, fmt::Arguments<'a>);

impl fmt::Display for Shows<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(screen, awaited) = self;
        write!(f, "{awaited}; it shows:\n{}", screen.text())
    }
}

fn command(servers: &Servers) -> String {
    format!("{} top {PATIENT} --nodes {}", env!("CARGO_BIN_EXE_redlock"), servers.nodes())
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_sort_search_inspect_reset_and_quit() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    let mut guards = Vec::new();
    for number in 0..40 {
        guards.push(locks.lock(format!("job:{number:02}")).acquire().await.unwrap());
    }
    let waiter = tokio::spawn({
        let locks = locks.clone();
        async move { locks.lock("job:17").timeout(Timeout::After(Duration::from_secs(120))).acquire().await }
    });
    let Some(screen) = Screen::start(&command(&servers)) else { return };
    screen.shows("held 40");
    screen.shows("nodes voting 3 of 3");
    // What is noted about an owner comes a moment behind its acquisition.
    eventually("all holders are named", || {
        screen.text().lines().filter(|line| line.contains(" the test ")).count() >= 18
    });
    screen.press(&["n"]);
    let text = screen.shows("LOCK↑");
    let rows: Vec<_> = text.lines().filter(|line| line.contains("job:")).collect();
    assert!(rows.len() >= 18 && rows[0].starts_with("job:00 ") && rows[0].contains("the test"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    screen.press(&["n"]);
    let text = screen.shows("LOCK↓");
    assert!(text.lines().find(|line| line.contains("job:")).unwrap().starts_with("job:39 "), "{text}");
    screen.press(&["w"]);
    screen.shows("waiting 1");
    eventually("the most wanted comes first", || {
        screen.text().lines().find(|line| line.contains("job:")).is_some_and(|line| line.starts_with("job:17 "))
    });
    screen.shoot("top");
    screen.press(&["n", "End"]);
    screen.shows("job:39 ");
    screen.press(&["/", "j", "o", "b", ":", "1", "7", "Enter"]);
    screen.shows_no_more("job:18");
    screen.shows("job:17 ");
    screen.press(&["Enter"]);
    let text = screen.shows("3 of 3, 2 are needed");
    assert!(text.contains("HISTORY") && text.contains("fencing token"), "{text}");
    screen.shoot("top-inspect");
    screen.press(&["Escape"]);
    // A terminal takes a key right behind this one for one with Alt: it is waited for what comes of it.
    screen.shows_no_more("HISTORY");
    screen.shows("job:17 ");

    // The question is answered with no before it is answered with yes.
    screen.press(&["r"]);
    screen.shows("take job:17 from the test");
    screen.press(&["n"]);
    screen.shows("left as it is");
    assert!(locks.inspect("job:17").await.unwrap().is_held());
    screen.press(&["r"]);
    screen.shows("take job:17 from the test");
    screen.press(&["y"]);
    let waiter = waiter.await.unwrap().unwrap();
    // Its holder is told when it extends the lock next.
    let lost = guards.swap_remove(17).lost().await;
    assert!(lost.to_string().contains("job:17"), "{lost}");
    // From how many nodes depends on who is first there: the holder gives back what is left of a lock that it has lost.
    screen.shows("job:17 was taken from its holder, on ");
    drop(waiter);
    screen.press(&["Escape"]);
    screen.shows("job:16 ");

    // Of one that nobody waits for, the holder learns later.
    eventually("all nodes have it", || servers.holding("redlock:ConfigurableLock.job:18") == 3);
    screen.press(&["/", "j", "o", "b", ":", "1", "8", "Enter"]);
    screen.shows_no_more("job:19");
    screen.press(&["r"]);
    screen.shows("take job:18 from the test");
    screen.press(&["y"]);
    screen.shows("job:18 was taken from its holder, on 3 nodes");

    screen.press(&["Escape"]);
    servers[2].kill();
    screen.shows("2 of 3");
    screen.shows("unreachable");
    screen.press(&["q"]);
    screen.is_restored(0);
}

#[test]
fn a_signal_restores_the_terminal() {
    let servers = Servers::start(1);
    let Some(screen) = Screen::start(&command(&servers)) else { return };
    screen.shows("no lock is held");
    assert!(Command::new("kill").args(["-TERM", &screen.pid()]).status().unwrap().success());
    screen.is_restored(143);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_and_the_question_about_it_can_be_read_on_the_smallest_screen() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    let _guard = locks.lock("夜".repeat(170)).acquire().await.unwrap();
    let Some(screen) = Screen::start(&command(&servers)) else { return };
    let resize = |columns: &str, lines: &str| {
        assert!(screen.tmux().args(["resize-window", "-x", columns, "-y", lines]).status().unwrap().success());
    };
    screen.shows("夜…");
    // The answer to a question stands at its end.
    screen.press(&["r"]);
    screen.shows("who may still be at work? y/N");
    screen.press(&["n"]);
    screen.shows("left as it is");
    for (columns, lines) in [("1", "1"), ("20", "5")] {
        resize(columns, lines);
    }
    screen.shows("夜");
    screen.press(&["r"]);
    screen.shows("y/N: take");
    screen.press(&["n"]);
    resize("80", "24");
    screen.shows("nodes voting 3 of 3");
    screen.press(&["q"]);
    screen.is_restored(0);
}
