//! A lock that is lost, and processes of a run that are killed or stopped.

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use redlock_tests::clock::now;
use redlock_tests::wait::{eventually, eventually_some};
use redlock_tests::{RedisServer, Servers};
use tempfile::TempDir;

use crate::common::{
    STUBBORN, code, eventually_free, eventually_gone, group_is_gone, holder_of, is_free, key, manager, output,
    processes, rounds, send, started,
};

/// When the keys of the nodes end, at the earliest, as soon as a renewal has set all of them anew.
fn renewed(servers: &Servers, ttl: Duration) -> Vec<Instant> {
    eventually_some("the lock is renewed", || {
        let ends = servers.iter().map(|server| {
            let before = now();
            let remaining = server.probe().pttl(&key("x")).remaining()?;
            (remaining > ttl * 9 / 10).then(|| before + remaining)
        });
        ends.collect::<Option<Vec<_>>>()
    })
}

/// From when on somebody else could hold the lock: a majority of the keys is gone.
fn free_from(mut ends: Vec<Instant>) -> Instant {
    ends.sort();
    ends[ends.len() / 2]
}

#[test]
fn when_the_nodes_hang_nothing_of_the_command_is_left_before_anybody_else_can_have_the_lock() {
    let servers = Servers::start(3);
    let rounds = rounds("REDLOCK_CLI_HANGS", 2);
    // A tenth of it is left for a machine that is slow to kill, a second at most.
    let ttl = Duration::from_secs(10);
    let mut least = Duration::MAX;
    for round in 0..rounds {
        let (program, group) = started(&servers, &["--ttl", "10s", "--kill-after", "1h"], STUBBORN);
        let (free_from, hung) = loop {
            let ends = renewed(&servers, ttl);
            // Any moment before the next renewal: this is the input of the test.
            std::thread::sleep(
                Duration::from_millis(500) * u32::try_from(round).unwrap() / u32::try_from(rounds).unwrap(),
            );
            servers.iter().for_each(RedisServer::hang);
            // The next renewal comes when a third of the TTL is over. One that may have come between makes the keys end later.
            let hung = now();
            let since_renewal = ends.iter().map(|end| hung + ttl - *end).max().unwrap();
            if since_renewal < ttl * 3 / 10 {
                break (free_from(ends), hung);
            }
            servers.iter().for_each(RedisServer::resume);
        };
        let mut looked = now();
        while !group_is_gone(group) {
            assert!(looked < free_from, "round {round}: the command goes on when another may hold the lock");
            std::thread::sleep(Duration::from_millis(1));
            looked = now();
        }
        let gone = now();
        assert!(gone < free_from, "round {round}: the command was gone {:?} too late", gone - free_from);
        least = least.min(free_from - gone);
        assert!(
            gone > hung + Duration::from_millis(500),
            "round {round}: it was ended before its time, {:?}",
            gone - hung
        );
        servers.iter().for_each(RedisServer::resume);
        let ended = program.wait();
        assert_eq!(ended.status.code(), Some(122), "{ended:?}");
        assert!(ended.errors.contains("about to be lost") && ended.errors.contains("redlock doctor"), "{ended:?}");
        eventually_free(&servers, "x");
    }
    println!("{rounds} rounds; the shortest time between the end of the command and that of its lock was {least:?}");
}

#[test]
fn when_the_nodes_hang_the_command_is_asked_to_end_first() {
    let servers = Servers::start(3);
    let script = "trap 'echo asked; exit 5' TERM; echo $$; while :; do sleep 0.02; done";
    let (program, _) = started(&servers, &["--ttl", "6s"], script);
    servers.iter().for_each(RedisServer::hang);
    let ended = program.wait();
    assert_eq!(ended.lines, ["asked"]);
    assert_eq!(ended.status.code(), Some(122), "{ended:?}");
    servers.iter().for_each(RedisServer::resume);
    eventually_free(&servers, "x");
}

#[test]
fn when_the_lock_is_taken_the_command_is_ended() {
    let servers = Servers::start(3);
    let (program, group) = started(&servers, &["--ttl", "2s"], "echo $$; while :; do sleep 0.02; done");
    eventually("all nodes have it", || servers.holding(&key("x")) == 3);
    assert_eq!(manager(&servers).reset_blocking("x").unwrap(), 3);
    let ended = program.wait();
    assert_eq!(ended.status.code(), Some(122), "{ended:?}");
    assert!(ended.errors.contains("lost"), "{ended:?}");
    assert!(group_is_gone(group));
}

/// A script that says its group, and writes to a file the number of a process that has another: as `timeout`, `setsid` and a shell with job
/// control begin them.
const ELSEWHERE: [&str; 3] = [
    "echo $$; timeout 600 sh -c 'echo $$ > FILE; while :; do sleep 0.05; done' >/dev/null 2>&1; true",
    "echo $$; setsid sh -c 'trap \"\" TERM; echo $$ > FILE; while :; do sleep 0.05; done' >/dev/null 2>&1 & while :; do sleep 0.02; done",
    "echo $$; bash -c 'set -m; sleep 600 & echo $! > FILE; wait' >/dev/null 2>&1; true",
];

#[test]
fn what_left_the_group_of_its_command_is_ended_with_it_when_the_lock_is_lost_or_somebody_asks() {
    let (servers, directory) = (Servers::start(3), TempDir::new().unwrap());
    for (number, script) in ELSEWHERE.iter().enumerate() {
        for is_lost in [true, false] {
            let file = directory.path().join(format!("{number}-{is_lost}"));
            let script = script.replace("FILE", file.to_str().unwrap());
            let (program, group) = started(&servers, &["--ttl", "2s", "--kill-after", "300ms"], &script);
            let elsewhere: i32 = eventually_some("it says its number", || {
                std::fs::read_to_string(&file).ok().and_then(|text| text.trim().parse().ok())
            });
            let seen = || processes().into_iter().find(|seen| seen.pid == elsewhere);
            assert!(seen().is_some_and(|seen| seen.group != group), "{script}");
            if is_lost {
                eventually("all nodes have it", || servers.holding(&key("x")) == 3);
                assert_eq!(manager(&servers).reset_blocking("x").unwrap(), 3);
            } else {
                program.terminate();
            }
            let ended = program.wait();
            assert_eq!(ended.status.code() == Some(122), is_lost, "{script}: {ended:?}");
            let is_left = seen().is_some();
            if is_left {
                let _ = kill(Pid::from_raw(elsewhere), Signal::SIGKILL);
            }
            assert!(!is_left, "{script}: it goes on without its lock");
            eventually_free(&servers, "x");
        }
    }
}

#[test]
fn a_lock_whose_max_hold_is_over_is_held_until_what_left_the_group_of_its_command_has_ended_too() {
    let (servers, directory) = (Servers::start(3), TempDir::new().unwrap());
    let file = directory.path().join("elsewhere");
    // The command ends at once, and what it started ignores TERM.
    let script = ELSEWHERE[1].replace("FILE", file.to_str().unwrap());
    let options = ["--ttl", "2s", "--max-hold", "3s", "--kill-after", "4s"];
    let (program, group) = started(&servers, &options, &script);
    let elsewhere: i32 = eventually_some("it says its number", || {
        std::fs::read_to_string(&file).ok().and_then(|text| text.trim().parse().ok())
    });
    eventually("the command has ended", || group_is_gone(group));
    let left = || processes().iter().any(|seen| seen.pid == elsewhere);
    assert!(left(), "it has its time to end");
    eventually("it is gone, or goes on without its lock", || servers.holding(&key("x")) < 2 || !left());
    let is_left = left();
    if is_left {
        let _ = kill(Pid::from_raw(elsewhere), Signal::SIGKILL);
    }
    assert!(!is_left, "it goes on without its lock");
    assert_eq!(program.wait().status.code(), Some(124));
    eventually_free(&servers, "x");
}

#[test]
fn what_left_the_group_of_its_command_is_ended_with_it_when_the_run_is_killed() {
    let (servers, directory) = (Servers::start(3), TempDir::new().unwrap());
    let inner = format!("setsid {} run inner -- sh -c '{STUBBORN}' & {STUBBORN}", env!("CARGO_BIN_EXE_redlock"));
    // What left the group may start what leaves its own; and a run is ended as any other command is, with the command that it runs.
    let twice = "echo $$; setsid sh -c 'setsid sh -c \"echo \\$\\$ > FILE; while :; do sleep 0.05; done\" & while :; do sleep 0.05; done' \
                 >/dev/null 2>&1 & while :; do sleep 0.02; done";
    for (number, script) in ELSEWHERE.into_iter().chain([twice]).enumerate() {
        let file = directory.path().join(number.to_string());
        let script = script.replace("FILE", file.to_str().unwrap());
        let (mut program, group) = started(&servers, &[], &script);
        let elsewhere: i32 = eventually_some("it says its number", || {
            std::fs::read_to_string(&file).ok().and_then(|text| text.trim().parse().ok())
        });
        let left = || processes().into_iter().any(|seen| seen.pid == elsewhere);
        assert!(left() && processes().iter().any(|seen| seen.pid == elsewhere && seen.group != group), "{script}");
        program.kill();
        // The lock is not given back before.
        eventually("another could have the lock", || servers.holding(&key("x")) < 2);
        let is_left = left();
        if is_left {
            let _ = kill(Pid::from_raw(elsewhere), Signal::SIGKILL);
        }
        assert!(!is_left, "{script}: it goes on without its lock");
        eventually_gone(group);
        eventually_free(&servers, "x");
    }
    let (mut program, group) = started(&servers, &[], &inner);
    eventually("the inner run has its lock", || servers.holding(&key("inner")) == 3);
    program.kill();
    eventually_gone(group);
    eventually_free(&servers, "x");
    eventually_free(&servers, "inner");
    let this = env!("CARGO_BIN_EXE_redlock");
    eventually("the inner run is gone", || {
        let runs = processes().into_iter().map(|seen| crate::common::arguments_of(seen.pid));
        !runs.into_iter().any(|arguments| {
            arguments.first().is_some_and(|program| program == this)
                && arguments.iter().any(|argument| argument == "inner")
        })
    });
}

#[test]
fn whoever_is_of_another_run_is_not_ended_when_one_is_killed() {
    let servers = Servers::start(3);
    let mut other = std::process::Command::new("sleep");
    let mut other = other.arg("600").env("REDLOCK_RUN", "8a6e0804-2bd0-4672-b79d-d97027f9071a").spawn().unwrap();
    let (mut program, group) = started(&servers, &[], STUBBORN);
    program.kill();
    eventually_gone(group);
    eventually_free(&servers, "x");
    let is_there = matches!(other.try_wait(), Ok(None));
    let _ = other.kill();
    let _ = other.wait();
    assert!(is_there, "it was ended");
}

#[test]
fn whoever_was_there_before_a_run_took_its_place_is_not_ended_with_it() {
    let servers = Servers::start(1);
    // What it starts that leaves its group is ended all the same.
    let commands = "echo begun; setsid sh -c 'echo $$; exec >/dev/null 2>&1; while :; do sleep 0.05; done' & \
                    while :; do sleep 0.02; done";
    let script = format!(
        "sleep 600 >/dev/null 2>&1 & echo $!; exec {} run --kill-after 1s x -- sh -c \"$COMMAND\"",
        env!("CARGO_BIN_EXE_redlock")
    );
    let mut command = std::process::Command::new("sh");
    let command = command.args(["-c", &script]).env("COMMAND", commands).env("REDLOCK_NODES", servers.nodes());
    let program = redlock_tests::Program::start(command);
    let before: i32 = program.line().parse().unwrap();
    assert_eq!(program.line(), "begun");
    let elsewhere: i32 = program.line().parse().unwrap();
    program.terminate();
    assert_eq!(program.wait().status.code(), Some(128 + 15));
    let is_left = processes().iter().any(|seen| seen.pid == elsewhere);
    if is_left {
        let _ = kill(Pid::from_raw(elsewhere), Signal::SIGKILL);
    }
    assert!(!is_left, "what left the group goes on");
    // It is no child of ours, and so is not waited for here.
    assert!(kill(Pid::from_raw(before), Signal::SIGKILL).is_ok(), "it was ended");
}

#[test]
fn a_run_that_is_killed_leaves_nothing_of_its_command_and_no_key() {
    let servers = Servers::start(3);
    let (mut program, group) = started(&servers, &[], STUBBORN);
    program.kill();
    eventually_gone(group);
    eventually_free(&servers, "x");
}

#[test]
fn the_process_that_renews_is_killed_and_the_command_does_not_go_on_without_its_lock() {
    let servers = Servers::start(3);
    let (program, group) = started(&servers, &["--ttl", "10s", "--kill-after", "100ms"], STUBBORN);
    kill(Pid::from_raw(holder_of(&program)), Signal::SIGKILL).unwrap();
    let ended = program.wait();
    assert_eq!(ended.status.code(), Some(122), "{ended:?}");
    assert!(group_is_gone(group));
    assert!(servers.holding(&key("x")) >= 2, "the command was gone before its lock was");
}

#[test]
fn the_process_that_renews_stands_still_and_the_command_does_not_go_on_without_its_lock() {
    let servers = Servers::start(3);
    // What is left to the front is a twentieth of the TTL, and of two seconds that is less than a machine may stand still on which many tests
    // run.
    let (program, group) = started(&servers, &["--ttl", "10s"], STUBBORN);
    let holder = Pid::from_raw(holder_of(&program));
    kill(holder, Signal::SIGSTOP).unwrap();
    // Renewals that were sent by then have been carried out.
    eventually("the command is gone", || {
        // First the keys: whoever is there behind them had none.
        let is_held = servers.holding(&key("x")) >= 2;
        let is_gone = group_is_gone(group);
        assert!(is_gone || is_held, "the command goes on without its lock");
        is_gone
    });
    kill(holder, Signal::SIGKILL).unwrap();
    assert_eq!(program.wait().status.code(), Some(122));
}

#[test]
fn a_run_that_is_stopped_keeps_its_lock() {
    let servers = Servers::start(3);
    let (mut program, group) = started(&servers, &["--ttl", "2s"], "echo $$; read line; exit 4");
    program.hang();
    let until = now() + Duration::from_millis(2500);
    while now() < until {
        assert!(servers.holding(&key("x")) >= 2, "it was not renewed");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(!group_is_gone(group));
    program.resume();
    program.tell("go");
    assert_eq!(program.wait().status.code(), Some(4));
    eventually_free(&servers, "x");
}

#[test]
fn a_command_is_ended_when_max_hold_is_over_and_its_lock_is_held_until_it_has_ended() {
    let servers = Servers::start(3);
    let script = "trap 'echo asked; read line; exit 0' TERM; echo $$; while :; do sleep 0.02; done";
    let (mut program, _) = started(&servers, &["--ttl", "2s", "--max-hold", "300ms", "--kill-after", "30s"], script);
    assert_eq!(program.line(), "asked");
    let until = now() + Duration::from_millis(2500);
    while now() < until {
        assert!(servers.holding(&key("x")) >= 2, "another can have the lock while the command cleans up");
        std::thread::sleep(Duration::from_millis(50));
    }
    program.tell("go");
    let ended = program.wait();
    assert_eq!(ended.status.code(), Some(124), "{ended:?}");
    assert!(ended.errors.contains("--max-hold"), "{ended:?}");
    eventually_free(&servers, "x");
}

#[test]
fn a_command_that_ignores_the_end_of_max_hold_is_killed() {
    let servers = Servers::start(1);
    let (program, group) = started(&servers, &["--max-hold", "100ms", "--kill-after", "100ms"], STUBBORN);
    assert_eq!(program.wait().status.code(), Some(124));
    assert!(group_is_gone(group));
    eventually_free(&servers, "x");
}

#[test]
fn a_lock_is_renewed_for_as_long_as_the_command_runs() {
    let servers = Servers::start(3);
    let (mut program, _) = started(&servers, &["--ttl", "2s"], "echo $$; read line");
    let until = now() + Duration::from_millis(2500);
    while now() < until {
        assert_eq!(code(&servers, &["run", "-n", "x", "--", "true"]), 75);
    }
    program.tell("go");
    assert!(program.wait().status.success());
    eventually_free(&servers, "x");
}

#[test]
fn a_lock_is_kept_for_as_long_as_min_hold_says() {
    let servers = Servers::start(3);
    assert_eq!(code(&servers, &["run", "--min-hold", "1h", "x", "--", "true"]), 0);
    assert_eq!(code(&servers, &["run", "-n", "x", "--", "true"]), 75);
    assert!(!is_free(&servers, "x"));
}

#[test]
fn as_many_run_at_once_as_there_are_permits() {
    let servers = Servers::start(3);
    let script = "echo $$; echo $REDLOCK_PERMIT; read line";
    let mut both = [0, 1].map(|_| started(&servers, &["--permits", "2"], script));
    let mut permits: Vec<_> = both.iter().map(|(program, _)| program.line()).collect();
    permits.sort();
    assert_eq!(permits, ["0", "1"]);
    let third = output(&servers, &["run", "-n", "--permits", "2", "x", "--", "true"]);
    assert_eq!(third.status.code(), Some(75), "{third:?}");
    for (program, _) in &mut both {
        program.tell("go");
    }
    for (program, _) in both {
        assert!(program.wait().status.success());
    }
}

#[test]
fn a_signal_that_a_stopped_run_was_sent_is_handed_on_when_it_goes_on() {
    let servers = Servers::start(1);
    let (mut program, group) = started(&servers, &[], "echo $$; while :; do sleep 0.02; done");
    program.hang();
    send(&program, Signal::SIGTERM);
    program.resume();
    assert_eq!(program.wait().status.code(), Some(128 + 15));
    eventually_gone(group);
}
