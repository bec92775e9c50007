//! Another process of ours: one that can be killed while it holds a lock.

use std::env;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use crate::wait::{LIMIT, within};
use crate::watchdog;

/// A running program whose output is read line by line, and which is killed when this is dropped.
#[derive(Debug)]
#[must_use = "the program is killed when this is dropped"]
pub struct Program {
    /// The process; its stdin is kept so that the program sees its end when this process is gone.
    child: Child,
    /// What a panic calls it.
    name: String,
    /// Lines of stdout that nobody asked for yet; ends with the program's output.
    lines: Receiver<String>,
    /// All of stderr up to now, for messages; a mutex because a thread fills it.
    errors: Arc<Mutex<String>>,
    /// The thread that fills `errors`; it ends when the output does.
    errors_reader: Option<JoinHandle<()>>,
}

/// How a program ended, and what it had said.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Its exit status; a killed program has a signal instead of a code.
    pub status: ExitStatus,
    /// The lines of its stdout that were not read before.
    pub lines: Vec<String>,
    /// All that it wrote to stderr.
    pub errors: String,
}

/// Where the program of an example is, for a test of the package that has it.
///
/// # Panics
///
/// If it was not built with the test.
#[track_caller]
#[must_use]
pub fn example(name: &str) -> PathBuf {
    let test = env::current_exe().expect("a test is a program");
    let built =
        test.parent().and_then(Path::parent).expect("tests are built beside examples").join("examples").join(name);
    assert!(built.exists(), "{name} is not built; run `cargo build -p redlock-examples --examples`");
    built
}

impl Program {
    /// Starts a program: `Program::start(Command::new(env!("CARGO_BIN_EXE_holder")).args([…]))`.
    pub fn start(command: &mut Command) -> Self {
        let name = command.get_program().display().to_string();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        watchdog::watch(&child, None);
        let lines = read_lines(child.stdout.take().expect("stdout is piped"));
        let (errors, errors_reader) = read_all(child.stderr.take().expect("stderr is piped"));
        Self { child, name, lines, errors, errors_reader: Some(errors_reader) }
    }

    /// The next line of its stdout.
    ///
    /// # Panics
    ///
    /// If there is none within ten seconds or the program ended; what it wrote to stderr is in the message.
    #[track_caller]
    #[must_use]
    pub fn line(&self) -> String {
        match self.next_line(LIMIT) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => {
                panic!("{} said nothing for {LIMIT:?}; on stderr: {}", self.name, self.errors())
            }
            Err(RecvTimeoutError::Disconnected) => {
                panic!("{} ended before it said what was awaited; on stderr: {}", self.name, self.errors())
            }
        }
    }

    /// The next line of its stdout, if one comes within `limit`; `None` also when its output ended.
    #[must_use]
    pub fn line_within(&self, limit: Duration) -> Option<String> {
        self.next_line(limit).ok()
    }

    /// Writes a line to its stdin.
    #[track_caller]
    pub fn tell(&mut self, line: &str) {
        let stdin = self.child.stdin.as_mut().expect("stdin is piped");
        if let Err(error) = stdin.write_all(format!("{line}\n").as_bytes()) {
            panic!("{} does not listen: {error}; on stderr: {}", self.name, self.errors());
        }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All that it wrote to stderr up to now.
    #[must_use]
    pub fn errors(&self) -> String {
        self.errors.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Kills it (SIGKILL) and waits until it is gone.
    pub fn kill(&mut self) {
        kill(&mut self.child);
    }

    /// Asks it to end (SIGTERM), as a deploy does.
    pub fn terminate(&self) {
        signal(&self.child, Signal::TERM);
    }

    /// Asks it to end (SIGINT), as ctrl-c does.
    pub fn interrupt(&self) {
        signal(&self.child, Signal::INT);
    }

    /// Stops it (SIGSTOP), as a long garbage collection or a suspended machine would.
    pub fn hang(&mut self) {
        hang(&self.child);
    }

    /// Lets it go on after [`hang`](Self::hang).
    pub fn resume(&mut self) {
        signal(&self.child, Signal::CONT);
    }

    /// Waits until it ends by itself.
    ///
    /// # Panics
    ///
    /// If it does not within ten seconds.
    #[track_caller]
    #[must_use = "a program that failed says so in its status"]
    pub fn wait(self) -> Ended {
        self.wait_within(LIMIT)
    }

    /// Waits until it ends by itself.
    ///
    /// # Panics
    ///
    /// If it does not within `limit`.
    #[track_caller]
    #[must_use = "a program that failed says so in its status"]
    pub fn wait_within(mut self, limit: Duration) -> Ended {
        let Some(status) = ended_within(limit, &mut self.child) else {
            panic!("{} did not end within {limit:?}; on stderr: {}", self.name, self.errors());
        };
        if let Some(reader) = self.errors_reader.take() {
            let _ = reader.join();
        }
        // The end of the program is the end of its output, so this ends too.
        Ended { status, lines: self.lines.iter().collect(), errors: self.errors() }
    }

    fn next_line(&self, limit: Duration) -> Result<String, RecvTimeoutError> {
        self.lines.recv_timeout(limit)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        kill(&mut self.child);
    }
}

/// Kills a child (SIGKILL), which works on a stopped one too, and waits until it is gone.
pub(crate) fn kill(child: &mut Child) {
    watchdog::forget(child);
    // An error says that the child was waited for before: it is gone.
    let _ = child.kill();
    let _ = child.wait();
}

/// Stops a child (SIGSTOP) and returns when it stands still.
pub(crate) fn hang(child: &Child) {
    signal(child, Signal::STOP);
    // The signal is delivered some time later, and the kernel says when. An error says that the child ended.
    let pid = Pid::from_child(child);
    let stopped =
        within(LIMIT, || waitid(WaitId::Pid(pid), WaitIdOptions::STOPPED | WaitIdOptions::NOHANG).transpose());
    assert!(stopped.is_some(), "process {} was sent SIGSTOP and went on for {LIMIT:?}", child.id());
}

/// Sends a signal to a child that has not been waited for.
pub(crate) fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal)
        .unwrap_or_else(|error| panic!("process {} cannot be signalled: {error}", child.id()));
}

/// Waits until a child ends by itself; `None` if it does not within `limit`.
pub(crate) fn ended_within(limit: Duration, child: &mut Child) -> Option<ExitStatus> {
    within(limit, || child.try_wait().expect("a child can be waited for"))
}

fn read_lines(stdout: ChildStdout) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

fn read_all(mut stderr: ChildStderr) -> (Arc<Mutex<String>>, JoinHandle<()>) {
    let text = Arc::new(Mutex::new(String::new()));
    let filled = Arc::clone(&text);
    let reader = thread::spawn(move || {
        let mut chunk = [0; 4096];
        while let Ok(length @ 1..) = stderr.read(&mut chunk) {
            let mut text = filled.lock().unwrap_or_else(PoisonError::into_inner);
            text.push_str(&String::from_utf8_lossy(&chunk[..length]));
        }
    });
    (text, reader)
}
