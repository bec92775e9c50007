//! A run that is stopped, or killed, before its command has begun.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use redlock_tests::wait::eventually;
use redlock_tests::{Program, Servers};
use tempfile::TempDir;

use crate::common::{eventually_free, is_free, manager, pid, processes, processes_that_name, redlock, rounds, send};

#[test]
fn a_waiter_that_is_stopped_keeps_nobody_from_the_lock() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    let guard = locks.lock("x").acquire_blocking().unwrap();
    let mut program =
        Program::start(&mut redlock(&servers, &["run", "--ttl", "60s", "--min-hold", "1h", "x", "--", "echo", "ran"]));
    eventually("it waits", || locks.inspect_blocking("x").unwrap().waiting == 1);
    program.hang();
    guard.release_blocking().unwrap();
    // It is next in line, and does nothing with the lock: others have it long before the TTL is over, and keep it.
    let other = locks.lock("x").timeout(Duration::from_secs(30)).acquire_blocking().unwrap();
    program.resume();
    assert_eq!(program.line_within(Duration::from_millis(500)), None, "two of them are inside");
    other.release_blocking().unwrap();
    let ended = program.wait();
    assert!(ended.status.success() && ended.lines == ["ran"], "{ended:?}");
    assert!(!is_free(&servers, "x"), "it is kept for --min-hold behind a command, and not before");
}

#[test]
fn a_waiter_that_is_stopped_and_asked_to_end_ends_when_it_goes_on_and_starts_nothing() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    let guard = locks.lock("x").acquire_blocking().unwrap();
    let mut program = Program::start(&mut redlock(&servers, &["run", "x", "--", "echo", "ran"]));
    eventually("it waits", || locks.inspect_blocking("x").unwrap().waiting == 1);
    program.hang();
    guard.release_blocking().unwrap();
    send(&program, Signal::SIGTERM);
    program.resume();
    let ended = program.wait();
    assert_eq!((ended.status.code(), ended.lines.len()), (Some(128 + 15), 0), "{ended:?}");
    eventually_free(&servers, "x");
}

#[test]
fn a_run_that_is_killed_while_it_starts_its_command_leaves_nothing_and_no_key() {
    let servers = Servers::start(3);
    for round in 0..rounds("REDLOCK_CLI_STARTS", 10) {
        let directory = TempDir::new().unwrap();
        let tag = directory.path().to_str().unwrap();
        // What it starts does not die with it.
        let script = format!("sh -c 'while :; do sleep 0.05; done' {tag} & wait");
        let mut program = Program::start(&mut redlock(&servers, &["run", "x", "--", "sh", "-c", &script]));
        let front = program.pid().cast_signed();
        let children = || processes().into_iter().filter(|seen| seen.parent == front).count();
        eventually("it has a holder and what becomes the command", || children() == 2);
        // As if the machine were busy elsewhere; meanwhile the other two do what they can.
        program.hang();
        std::thread::sleep(Duration::from_millis(200));
        program.kill();
        eventually("nothing of the command is left", || processes_that_name(tag).is_empty());
        eventually_free(&servers, "x");
        // Nor does anything come behind that.
        std::thread::sleep(Duration::from_millis(50));
        assert!(processes_that_name(tag).is_empty() && is_free(&servers, "x"), "round {round}");
    }
}

/// Starts what becomes a command, which waits for a byte through the pipe that is returned.
fn waits_to_begin(command: &[&str]) -> (std::process::Child, std::io::PipeWriter) {
    let (reader, writer) = std::io::pipe().unwrap();
    let inherited = File::from(nix::unistd::dup(reader).unwrap());
    let mut waits = Command::new(env!("CARGO_BIN_EXE_redlock"));
    waits.args(["__command", &std::process::id().to_string(), &inherited.as_raw_fd().to_string(), "--"]).args(command);
    let child = std::os::unix::process::CommandExt::process_group(&mut waits, 0).stdout(Stdio::piped()).spawn();
    (child.unwrap(), writer)
}

#[test]
fn a_command_begins_when_it_is_let_and_never_if_whoever_would_let_it_is_gone() {
    let (child, gate) = waits_to_begin(&["echo", "began"]);
    drop(gate);
    let ended = child.wait_with_output().unwrap();
    assert_eq!((ended.status.code(), ended.stdout.len()), (Some(125), 0), "{ended:?}");

    let (child, mut gate) = waits_to_begin(&["sh", "-c", "echo began; ls /proc/self/fd | wc -l"]);
    eventually("it waits in the kernel", || {
        processes().iter().any(|seen| seen.pid == child.id().cast_signed() && seen.state == 'S')
    });
    std::io::Write::write_all(&mut gate, b"1").unwrap();
    let ended = child.wait_with_output().unwrap();
    assert!(ended.status.success() && ended.stdout.starts_with(b"began\n"), "{ended:?}");
    assert!(nix::sys::signal::kill(pid(std::process::id()), None).is_ok());
}
