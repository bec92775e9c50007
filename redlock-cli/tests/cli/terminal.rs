//! A run on a terminal, under a shell that stops and continues it.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use redlock_tests::Servers;
use redlock_tests::clock::now;
use redlock_tests::wait::{LIMIT, eventually};

use crate::common::{eventually_free, key, processes};

/// What the shell says when it listens.
const PROMPT: &str = "ready> ";

/// A shell on a terminal of its own, which `script` makes.
struct Screen {
    script: Child,
    output: Receiver<Vec<u8>>,
    seen: String,
}

impl Screen {
    fn start(servers: &Servers) -> Self {
        // Whoever runs these tests may have set signals to be ignored, as `nohup` does, and a shell may not change that.
        let mut script = Command::new("env")
            .args([
                "--default-signal=HUP,INT,QUIT,TSTP",
                "script",
                "-qfc",
                "exec bash --norc --noprofile -i",
                "/dev/null",
            ])
            .env("REDLOCK_NODES", servers.nodes())
            .env("REDLOCK", env!("CARGO_BIN_EXE_redlock"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program `script` makes a terminal; it is in the package bsdutils or util-linux");
        let mut stdout = script.stdout.take().unwrap();
        let (sender, output) = channel();
        thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(length @ 1..) = stdout.read(&mut chunk) {
                if sender.send(chunk[..length].to_vec()).is_err() {
                    return;
                }
            }
        });
        let mut screen = Self { script, output, seen: String::new() };
        // In two parts, so that what is typed is not taken for it.
        screen.press("PS1='re''ady> '\n");
        screen.shows(PROMPT);
        screen
    }

    fn press(&mut self, keys: &str) {
        self.script.stdin.as_mut().unwrap().write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until this is on the screen, behind whatever was awaited before. What stands between them.
    #[track_caller]
    fn shows(&mut self, text: &str) -> String {
        let until = now() + LIMIT;
        loop {
            if let Some(at) = self.seen.find(text) {
                let rest = self.seen.split_off(at + text.len());
                let mut before = std::mem::replace(&mut self.seen, rest);
                before.truncate(at);
                return before;
            }
            let Ok(more) = self.output.recv_timeout(until.saturating_duration_since(now())) else {
                panic!("{text:?} does not come; there is {:?}", self.seen)
            };
            self.seen.push_str(&String::from_utf8_lossy(&more));
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // All that the shell has started, also what does not end with its terminal.
        let all = processes();
        let mut left = vec![self.script.id().cast_signed()];
        let mut seen = 0;
        while let Some(parent) = left.get(seen).copied() {
            left.extend(all.iter().filter(|process| process.parent == parent).map(|process| process.pid));
            seen += 1;
        }
        drop(self.script.stdin.take());
        for process in left.into_iter().skip(1) {
            let _ = kill(Pid::from_raw(process), Signal::SIGKILL);
        }
        let _ = self.script.kill();
        let _ = self.script.wait();
    }
}

/// How the system sees this process.
fn state_of(pid: i32) -> Option<char> {
    processes().into_iter().find(|seen| seen.pid == pid).map(|seen| seen.state)
}

/// A command that says its process id, reads its terminal, and says what it read. In two parts, as the prompt.
const ECHO: &str = r#"sh -c 'echo pi""d=$$; while read line; do echo "read <$line>"; done'"#;

#[test]
fn ctrl_z_stops_the_command_and_not_the_renewal_and_fg_lets_it_go_on_where_it_was() {
    let servers = Servers::start(3);
    let mut screen = Screen::start(&servers);
    screen.press(&format!("$REDLOCK run --ttl 2s x -- {ECHO}\n"));
    screen.shows("pid=");
    let pid: i32 = screen.shows("\n").trim().parse().expect("the command's process id");
    // What is typed reaches the command, which has the terminal.
    screen.press("one\n");
    screen.shows("read <one>");
    screen.press("\u{1a}");
    // The shell has the terminal again, and says so.
    screen.shows("Stopped");
    eventually("the command is stopped", || state_of(pid) == Some('T'));
    screen.press("echo shell $((40 + 2))\n");
    screen.shows("shell 42");
    let until = now() + Duration::from_millis(2500);
    while now() < until {
        assert!(servers.holding(&key("x")) >= 2, "the lock is not renewed while the command is stopped");
        thread::sleep(Duration::from_millis(50));
    }
    screen.press("fg\n");
    screen.press("two\n");
    screen.shows("read <two>");
    assert_ne!(state_of(pid), Some('T'), "it is the same that goes on");
    // And once more.
    screen.press("\u{1a}");
    screen.shows("Stopped");
    screen.press("fg\n");
    screen.press("three\n");
    screen.shows("read <three>");
    // ctrl-C ends the command, and nothing else.
    screen.press("\u{3}");
    screen.shows(PROMPT);
    screen.press("echo code $?\n");
    screen.shows("code 130");
    eventually_free(&servers, "x");
    screen.press("echo shell $((50 + 5))\n");
    screen.shows("shell 55");
}

#[test]
fn ctrl_c_while_it_waits_ends_the_wait() {
    let servers = Servers::start(3);
    let _guard = crate::common::manager(&servers).lock("x").owner_label("the holder").acquire_blocking().unwrap();
    let mut screen = Screen::start(&servers);
    screen.press("$REDLOCK run x -- echo ran\n");
    let locks = crate::common::manager(&servers);
    eventually("it waits", || locks.inspect_blocking("x").unwrap().waiting == 1);
    // Whoever looks on is told for whom.
    screen.shows("redlock: waiting for lock `x`, held by the holder, for ");
    screen.press("\u{3}");
    screen.shows(PROMPT);
    screen.press("echo code $?\n");
    screen.shows("code 130");
}

#[test]
fn ctrl_z_while_it_waits_leaves_the_line_and_fg_waits_on() {
    let servers = Servers::start(3);
    let locks = crate::common::manager(&servers);
    let guard = locks.lock("x").acquire_blocking().unwrap();
    let mut screen = Screen::start(&servers);
    screen.press("$REDLOCK run x -- echo ra\"\"n\n");
    eventually("it waits", || locks.inspect_blocking("x").unwrap().waiting == 1);
    screen.press("\u{1a}");
    screen.shows("Stopped");
    eventually("it is in no line", || locks.inspect_blocking("x").unwrap().waiting == 0);
    guard.release_blocking().unwrap();
    eventually_free(&servers, "x");
    // Nor does it take what it is not there to use.
    let until = now() + Duration::from_millis(500);
    while now() < until {
        assert_eq!(servers.holding(&key("x")), 0, "it has the lock while it is stopped");
        thread::sleep(Duration::from_millis(50));
    }
    screen.press("fg\n");
    screen.shows("ran");
    screen.shows(PROMPT);
    eventually_free(&servers, "x");
}

#[test]
fn in_a_pipeline_the_command_that_reads_the_terminal_gets_it() {
    let servers = Servers::start(3);
    let mut screen = Screen::start(&servers);
    // Its stdin is a pipe, and it asks its question past that.
    screen.press("echo piped | $REDLOCK run x -- sh -c 'read a; echo \"ready $((1 + 1))\"; read b </dev/tty; echo \"got $a and $b\"'\n");
    screen.shows("ready 2");
    screen.press("typed\n");
    screen.shows("got piped and typed");
    screen.press("echo shell $((40 + 2))\n");
    screen.shows("shell 42");
    eventually_free(&servers, "x");
}

#[test]
fn in_the_background_a_run_leaves_the_terminal_to_the_shell() {
    let servers = Servers::start(3);
    let mut screen = Screen::start(&servers);
    let directory = tempfile::TempDir::new().unwrap();
    let gate = directory.path().join("gate");
    let waits = format!("until [ -e {} ]; do sleep 0.02; done", gate.display());
    screen.press(&format!("$REDLOCK run x -- sh -c 'echo in the ba\"\"ck; {waits}; echo over $((3 + 4))' &\n"));
    screen.shows("in the back");
    screen.press("echo shell $((40 + 2))\n");
    screen.shows("shell 42");
    std::fs::write(&gate, "").unwrap();
    screen.shows("over 7");
    eventually_free(&servers, "x");
}
