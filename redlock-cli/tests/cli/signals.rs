//! Signals: to the command and what it started, and to a run that has no command yet.

use std::collections::BTreeSet;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use redlock_tests::clock::now;
use redlock_tests::wait::{LIMIT, eventually};
use redlock_tests::{Program, Servers};
use tempfile::TempDir;

use crate::common::{
    STUBBORN, eventually_free, eventually_gone, holder_of, is_free, key, manager, pid, processes, processes_that_name,
    redlock, rounds, send, started,
};
use crate::helper;

const FORWARDED: [(Signal, &str); 7] = [
    (Signal::SIGTERM, "TERM"),
    (Signal::SIGINT, "INT"),
    (Signal::SIGHUP, "HUP"),
    (Signal::SIGQUIT, "QUIT"),
    (Signal::SIGUSR1, "USR1"),
    (Signal::SIGUSR2, "USR2"),
    (Signal::SIGWINCH, "WINCH"),
];

/// The next line of the helper, without what the test's own harness prints.
fn said(program: &Program) -> String {
    loop {
        let line = program.line();
        if let Some((_, said)) = line.split_once("| ") {
            return said.to_owned();
        }
    }
}

#[test]
fn every_signal_reaches_the_command_and_what_it_started() {
    let servers = Servers::start(1);
    let helper = helper::command();
    let arguments: Vec<_> = ["run", "x", "--"].into_iter().chain(helper.iter().map(String::as_str)).collect();
    let mut program = Program::start(&mut redlock(&servers, &arguments));
    let ready: BTreeSet<_> =
        [said(&program), said(&program)].map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).into();
    assert_eq!(ready.into_iter().collect::<Vec<_>>(), ["child ready", "grandchild ready"]);
    for (signal, name) in FORWARDED {
        send(&program, signal);
        let heard: BTreeSet<_> = [said(&program), said(&program)].into();
        assert_eq!(heard, [format!("child {name}"), format!("grandchild {name}")].into(), "{name}");
        assert_eq!(servers.holding(&key("x")), 1, "behind {name} the lock is held: the command goes on");
    }
    program.kill();
    eventually_free(&servers, "x");
}

#[test]
fn while_it_waits_a_signal_ends_the_run_and_no_command_is_started_behind_it() {
    let servers = Servers::start(3);
    let (locks, directory) = (manager(&servers), TempDir::new().unwrap());
    let marker = directory.path().join("ran");
    let guard = locks.lock("x").acquire_blocking().unwrap();
    let programs: Vec<_> = FORWARDED
        .iter()
        .map(|(signal, name)| {
            let arguments = ["run", "x", "--", "touch", marker.to_str().unwrap()];
            (Program::start(&mut redlock(&servers, &arguments)), *signal, *name)
        })
        .collect();
    eventually("all of them wait", || locks.inspect_blocking("x").unwrap().waiting == 7);
    for (program, signal, name) in programs {
        send(&program, signal);
        if signal == Signal::SIGWINCH {
            // A window's size ends nothing; and then it is asked to end.
            assert_eq!(program.line_within(Duration::from_millis(100)), None);
            assert!(processes().iter().any(|seen| seen.pid == program.pid().cast_signed()));
            program.terminate();
            assert_eq!(program.wait().status.code(), Some(128 + 15));
        } else {
            assert_eq!(program.wait().status.code(), Some(128 + signal as i32), "{name}");
        }
    }
    guard.release_blocking().unwrap();
    eventually_free(&servers, "x");
    assert!(!marker.exists(), "a command was started behind a signal");
    eventually("nobody is counted as waiting", || locks.inspect_blocking("x").unwrap().waiting == 0);
}

#[test]
fn before_it_waits_a_signal_ends_the_run_at_once_though_no_node_answers() {
    let servers = Servers::start(3);
    servers.iter().for_each(redlock_tests::RedisServer::hang);
    let programs = FORWARDED.map(|(signal, name)| {
        let program = Program::start(&mut redlock(&servers, &["run", "x", "--", "echo", "ran"]));
        // Its handlers are there before it has a holder, which has not been answered by any node yet.
        holder_of(&program);
        send(&program, signal);
        (program, signal, name)
    });
    for (program, signal, name) in programs {
        if signal == Signal::SIGWINCH {
            assert!(
                processes().iter().any(|seen| seen.pid == program.pid().cast_signed()),
                "a window's size ends nothing"
            );
            program.terminate();
        }
        let ended = program.wait();
        let signal = if signal == Signal::SIGWINCH { Signal::SIGTERM } else { signal };
        assert!(ended.lines.is_empty(), "{name}: {ended:?}");
        assert_eq!(ended.status.code(), Some(128 + signal as i32), "{name}: {ended:?}");
    }
    servers.iter().for_each(redlock_tests::RedisServer::resume);
    eventually_free(&servers, "x");
}

#[test]
fn sigterm_at_any_moment_leaves_no_orphan_and_no_key() {
    let servers = Servers::start(3);
    let rounds = rounds("REDLOCK_CLI_TERMS", 10);
    // How long it takes until a command runs, here and now.
    let began = now();
    let (program, _) = started(&servers, &[], "echo $$; while :; do sleep 0.05; done");
    let until_started = began.elapsed();
    drop(program);
    eventually_free(&servers, "x");
    let mut had_started = 0;
    for round in 0..rounds {
        let directory = TempDir::new().unwrap();
        let file = directory.path().join("group");
        let script =
            format!("(while :; do sleep 0.05; done) & echo $$ > {}; while :; do sleep 0.05; done", file.display());
        let program = Program::start(&mut redlock(&servers, &["run", "x", "--", "sh", "-c", &script]));
        // A number of moments, spread over the beginning of a run. Nothing is waited for: this is the input of the test.
        let moment = until_started * 2 * u32::try_from(round).unwrap() / u32::try_from(rounds).unwrap();
        std::thread::sleep(moment);
        program.terminate();
        let ended = program.wait();
        if let Some(group) = std::fs::read_to_string(&file).ok().and_then(|text| text.trim().parse().ok()) {
            had_started += 1;
            assert!(crate::common::group_is_gone(group), "round {round}, {moment:?}: {ended:?}");
        }
        // Also one that had started and not got so far as to write that: its script names this round's directory.
        let orphans = processes_that_name(directory.path().to_str().unwrap());
        assert!(orphans.is_empty(), "round {round}, {moment:?}: {orphans:?}, {ended:?}");
        let by_default = std::os::unix::process::ExitStatusExt::signal(&ended.status) == Some(15);
        assert!(by_default || ended.status.code() == Some(128 + 15), "round {round}, {moment:?}: {ended:?}");
        eventually_free(&servers, "x");
    }
    println!("{rounds} rounds; in {had_started} of them the command had started, which took {until_started:?}");
    let this = std::process::id().cast_signed();
    assert!(
        !processes()
            .iter()
            .any(|seen| seen.parent == this && crate::common::arguments_of(seen.pid).iter().any(|a| a == "__holder"))
    );
}

#[test]
fn a_command_may_take_its_time_behind_sigterm_and_its_lock_is_held_until_it_has_ended() {
    let servers = Servers::start(3);
    let script = "trap 'echo cleaning; read line; exit 7' TERM; echo $$; while :; do sleep 0.02; done";
    let (mut program, _) = started(&servers, &["--ttl", "2s"], script);
    program.terminate();
    assert_eq!(program.line(), "cleaning");
    // For longer than the lock lives without renewal.
    let until = now() + Duration::from_millis(2500);
    while now() < until {
        assert!(servers.holding(&key("x")) >= 2);
        std::thread::sleep(Duration::from_millis(50));
    }
    program.tell("go");
    assert_eq!(program.wait().status.code(), Some(7));
    eventually_free(&servers, "x");
}

#[test]
fn what_a_command_started_does_not_outlive_it_when_it_was_asked_to_end() {
    let servers = Servers::start(3);
    // The shell ends at once, and what it started ignores the signal.
    let script =
        "(trap '' QUIT TERM; while :; do sleep 0.05; done) & trap 'exit 3' QUIT; echo $$; while :; do sleep 0.02; done";
    let (program, group) = started(&servers, &["--kill-after", "200ms"], script);
    send(&program, Signal::SIGQUIT);
    let ended = program.wait();
    assert_eq!(ended.status.code(), Some(3), "{ended:?}");
    assert!(crate::common::group_is_gone(group), "the shell was ended and what it started goes on");
    eventually_free(&servers, "x");
}

#[test]
fn what_a_command_started_does_not_outlive_it_when_it_dies_of_a_signal_of_its_own() {
    let servers = Servers::start(3);
    let script = "(while :; do sleep 0.05; done) >/dev/null 2>&1 & echo $$; kill -KILL $$";
    let (program, group) = started(&servers, &["--kill-after", "200ms"], script);
    let ended = program.wait();
    let is_gone = crate::common::group_is_gone(group);
    let _ = nix::sys::signal::killpg(pid(group.cast_unsigned()), Signal::SIGKILL);
    assert_eq!(ended.status.code(), Some(128 + 9), "{ended:?}");
    assert!(is_gone, "it goes on, and its lock is free");
    eventually_free(&servers, "x");
}

#[test]
fn a_command_that_is_stopped_ends_when_it_is_asked_to() {
    let servers = Servers::start(3);
    let (program, group) = started(&servers, &[], "echo $$; while :; do sleep 0.02; done");
    kill(pid(group.cast_unsigned()), Signal::SIGSTOP).unwrap();
    eventually("it is stopped", || processes().iter().any(|seen| seen.pid == group && seen.state == 'T'));
    program.terminate();
    assert_eq!(program.wait_within(LIMIT).status.code(), Some(128 + 15));
    eventually_gone(group);
    eventually_free(&servers, "x");
}

#[test]
fn what_is_ignored_at_the_start_is_ignored_by_the_command_too() {
    let servers = Servers::start(3);
    let mut command = std::process::Command::new("sh");
    command.env("REDLOCK_NODES", servers.nodes());
    let script =
        format!("trap '' HUP; exec {} run x -- sh -c 'kill -HUP $$; echo alive'", env!("CARGO_BIN_EXE_redlock"));
    let output = command.args(["-c", &script]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "alive\n", "{output:?}");
    assert!(is_free(&servers, "x") || manager(&servers).lock("x").acquire_blocking().is_ok());
}

#[test]
fn a_stubborn_command_is_not_killed_for_a_signal_that_it_ignores() {
    let servers = Servers::start(1);
    let (mut program, group) = started(&servers, &["--kill-after", "50ms"], STUBBORN);
    program.terminate();
    assert_eq!(program.line_within(Duration::from_millis(300)), None);
    assert!(!crate::common::group_is_gone(group));
    program.kill();
    eventually_gone(group);
}
