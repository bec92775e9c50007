//! What the tests of the command line have in common.

use std::fs;
use std::process::{Command, Output, Stdio};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use redlock_runtime::LockManager;
use redlock_tests::wait::{eventually, eventually_some};
use redlock_tests::{Program, Servers, unhurried};

/// Servers may be late on a busy machine, where all of them have to answer.
pub(crate) const PATIENT: &str = "--node-timeout=3s";

/// The program, on these servers.
pub(crate) fn redlock(servers: &Servers, arguments: &[&str]) -> Command {
    // Whoever runs these tests may have set signals to be ignored, as `nohup` does.
    let mut command = Command::new("env");
    command.args(["--default-signal=HUP,INT,QUIT,TERM,TSTP", env!("CARGO_BIN_EXE_redlock")]).args(arguments);
    command.env("REDLOCK_NODES", servers.nodes());
    command
}

/// What it comes to, without a terminal.
pub(crate) fn output(servers: &Servers, arguments: &[&str]) -> Output {
    redlock(servers, arguments).stdin(Stdio::null()).output().unwrap()
}

/// Its exit code.
pub(crate) fn code(servers: &Servers, arguments: &[&str]) -> i32 {
    let output = output(servers, arguments);
    output.status.code().unwrap_or_else(|| panic!("it was killed: {output:?}"))
}

/// What it prints; it must succeed.
pub(crate) fn printed(servers: &Servers, arguments: &[&str]) -> String {
    let output = output(servers, arguments);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) fn manager(servers: &Servers) -> LockManager {
    unhurried().nodes(servers.urls()).build().unwrap()
}

/// The key of a lock.
pub(crate) fn key(name: &str) -> String {
    format!("redlock:ConfigurableLock.{name}")
}

pub(crate) fn is_free(servers: &Servers, name: &str) -> bool {
    servers.holding(&key(name)) == 0
}

pub(crate) fn send(program: &Program, signal: Signal) {
    kill(pid(program.pid()), signal).unwrap();
}

pub(crate) fn pid(number: u32) -> Pid {
    Pid::from_raw(number.cast_signed())
}

/// A process, as the system sees it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) pid: i32,
    pub(crate) state: char,
    pub(crate) parent: i32,
    pub(crate) group: i32,
}

/// All processes but those that are dead and only not waited for.
pub(crate) fn processes() -> Vec<Seen> {
    let entries = fs::read_dir("/proc").expect("these tests look at processes as Linux shows them").flatten();
    let lines = entries.filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok());
    let seen = lines.filter_map(|line| {
        // The name, in parentheses, may hold anything.
        let (pid, _) = line.split_once(' ')?;
        let (_, rest) = line.rsplit_once(')')?;
        let mut rest = rest.split_whitespace();
        let (state, parent, group) = (rest.next()?, rest.next()?, rest.next()?);
        Some(Seen {
            pid: pid.parse().ok()?,
            state: state.chars().next()?,
            parent: parent.parse().ok()?,
            group: group.parse().ok()?,
        })
    });
    seen.filter(|seen| seen.state != 'Z' && seen.state != 'X').collect()
}

pub(crate) fn group_is_gone(group: i32) -> bool {
    // Quick, and most often enough: the system knows no such group.
    killpg(Pid::from_raw(group), None).is_err() || !processes().iter().any(|seen| seen.group == group)
}

/// The process that holds the lock for this run: the child of ours that is no command.
pub(crate) fn holder_of(program: &Program) -> i32 {
    eventually_some("the run has a holder", || {
        let children = processes().into_iter().filter(|seen| seen.parent == program.pid().cast_signed());
        children.map(|seen| seen.pid).find(|pid| arguments_of(*pid).iter().any(|argument| argument == "__holder"))
    })
}

pub(crate) fn arguments_of(pid: i32) -> Vec<String> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split(|byte| *byte == 0).map(|argument| String::from_utf8_lossy(argument).into_owned()).collect()
}

/// The processes that have this in one of their arguments, with these.
pub(crate) fn processes_that_name(text: &str) -> Vec<(i32, Vec<String>)> {
    let all = processes().into_iter().map(|seen| (seen.pid, arguments_of(seen.pid)));
    all.filter(|(_, arguments)| arguments.iter().any(|argument| argument.contains(text))).collect()
}

/// A command that says its group, which ignores TERM as its child does, and goes on until it is killed.
pub(crate) const STUBBORN: &str =
    "trap '' TERM; (trap '' TERM; while :; do sleep 0.05; done) & echo $$; while :; do sleep 0.05; done";

/// Starts a run whose command prints its process id first, and says that.
pub(crate) fn started(servers: &Servers, options: &[&str], script: &str) -> (Program, i32) {
    let arguments: Vec<_> = ["run"].iter().chain(options).chain(&["x", "--", "sh", "-c", script]).copied().collect();
    let program = Program::start(&mut redlock(servers, &arguments));
    let group = program.line().parse().expect("a process id");
    (program, group)
}

pub(crate) fn eventually_gone(group: i32) {
    eventually("nothing of the command is left", || group_is_gone(group));
}

pub(crate) fn eventually_free(servers: &Servers, name: &str) {
    eventually("no node has the key", || is_free(servers, name));
}

/// How many rounds: few with every test run, as many as this variable says by hand.
pub(crate) fn rounds(variable: &str, usual: usize) -> usize {
    std::env::var(variable).map_or(usual, |rounds| rounds.parse().expect("a number of rounds"))
}
