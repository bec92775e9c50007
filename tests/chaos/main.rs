//! Three processes of eight tasks on five servers, each of which is hung, killed and restarted in turn, for a while.
//! What they say about when they held a lock is looked through by somebody who knows nothing of locks.
//!
//! `REDLOCK_CHAOS_SECONDS` says how long each kind of lock but the plain one is tried, which has twenty seconds.

mod jobs;

use std::process::Command;
use std::time::Duration;

use redlock_tests::clock::monotonic_nanoseconds;
use redlock_tests::wait::eventually;
use redlock_tests::{Account, Program, RedisServer, Servers};

/// How long a fault lasts, and the pause behind it.
const FAULT: Duration = Duration::from_millis(1200);
/// The same where there is little time.
const SHORT_FAULT: Duration = Duration::from_millis(600);
const TTL: Duration = Duration::from_secs(1);

/// How long the crowd goes on whose locks are no plain ones, in seconds, unless `REDLOCK_CHAOS_SECONDS` says otherwise.
const FEW_SECONDS: u64 = 9;

/// What happens to a server.
type Change = (&'static str, fn(&RedisServer));

/// A kind of lock.
struct Kind {
    name: &'static str,
    /// What is said to the crowd.
    argument: Option<&'static str>,
    /// How many may hold one lock at a time.
    most: usize,
}

#[test]
fn no_two_tasks_of_any_process_hold_one_lock_at_a_time() {
    check(20, &Kind { name: "plain", argument: None, most: 1 });
}

#[test]
fn no_two_tasks_of_any_process_hold_the_only_permit_at_a_time() {
    check(seconds(), &Kind { name: "one permit", argument: Some("permits=1"), most: 1 });
}

/// Of two permits each is held by one at a time, so that no three hold the lock.
#[test]
fn no_two_tasks_of_any_process_hold_one_permit_at_a_time() {
    check(seconds(), &Kind { name: "two permits", argument: Some("permits=2"), most: 2 });
}

#[test]
fn no_six_tasks_of_any_process_hold_a_lock_with_five_permits_at_a_time() {
    check(seconds(), &Kind { name: "five permits", argument: Some("permits=5"), most: 5 });
}

#[test]
fn no_task_of_any_process_writes_while_another_reads_or_writes() {
    check(seconds(), &Kind { name: "readers and writers", argument: Some("shared=1"), most: usize::MAX });
}

#[test]
fn no_two_tasks_of_any_process_hold_sets_that_share_a_name_at_a_time() {
    check(seconds(), &Kind { name: "sets of names", argument: Some("sets=1"), most: 1 });
}

fn seconds() -> u64 {
    let said = std::env::var("REDLOCK_CHAOS_SECONDS").ok();
    said.map_or(FEW_SECONDS, |said| said.parse().expect("`REDLOCK_CHAOS_SECONDS` is a number"))
}

/// For so many seconds.
fn check(seconds: u64, kind: &Kind) {
    let servers = Servers::start(5);
    // A server that restarts abstains beside older ones, and only beside those: a fleet that is young as a whole votes,
    // and one empty restart is then enough for a second majority.
    let is_old = |server: &RedisServer| {
        let uptime = server.probe().info("server")["uptime_in_seconds"].parse().map(Duration::from_secs);
        uptime.is_ok_and(|uptime| uptime >= TTL + TTL / 4 + Duration::from_secs(2))
    };
    eventually("all servers are old", || servers.iter().all(is_old));
    let arguments = [format!("tasks={}", 8), format!("seconds={seconds}"), format!("ttl_ms={}", TTL.as_millis())];
    let crowd: Vec<_> = (0..3)
        .map(|_| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_crowd"));
            Program::start(command.env("REDLOCK_NODES", servers.nodes()).args(&arguments).args(kind.argument))
        })
        .collect();
    let faults: [(Change, Change); 3] = [
        (("hung", RedisServer::hang), ("resumed", RedisServer::resume)),
        (("killed", RedisServer::kill), ("started", RedisServer::restart)),
        (("restarted", RedisServer::restart), ("left alone", |_| {})),
    ];
    let mut account = Account::new(TTL * 3);
    let fault = if seconds <= FEW_SECONDS { SHORT_FAULT } else { FAULT };
    let rounds = Duration::from_secs(seconds).as_millis() / (fault * 2).as_millis();
    for round in 0..usize::try_from(rounds).unwrap_or(0).saturating_sub(2) {
        let server = &servers[round % servers.len()];
        let (begin, end) = faults[round % faults.len()];
        for (what, change) in [begin, end] {
            let from = monotonic_nanoseconds();
            change(server);
            account.note_event(from, monotonic_nanoseconds(), format!("server {} {what}", server.port()));
            std::thread::sleep(fault);
        }
    }

    let mut acquired = 0;
    for (process, program) in crowd.into_iter().enumerate() {
        let ended = program.wait_within(Duration::from_secs(60));
        assert!(ended.status.success(), "{ended:?}");
        account.note_log(process, &ended.errors);
        for line in &ended.lines {
            if !account.note_held(process, line) {
                println!("{line}");
                let told = line.strip_prefix("acquired ").and_then(|rest| rest.split(' ').next()?.parse::<u64>().ok());
                acquired += told.expect("the crowd says how often it acquired a lock");
            }
        }
    }
    let most = account.most_at_once();
    println!("{}: acquired {acquired} times, {most} held one lock at a time at most", kind.name);
    account.check_no_overlap();
    assert!(most <= kind.most, "{most} at a time");
    assert!(acquired > seconds * 8, "the crowd hardly got anywhere: {acquired}");
    let is_free = || {
        let has_none = |keys| servers.iter().all(|server| server.probe().keys_like(keys).is_empty());
        ["redlock:*", "redlock-permit-*", "redlock-rw:*", "redlock-readers:*"].into_iter().all(has_none)
    };
    eventually("no lock is left", is_free);
}

#[test]
#[should_panic(expected = "held by two at a time")]
fn an_overlap_is_found() {
    let mut account = Account::new(Duration::from_secs(3));
    for line in ["held x 5000 6000 4000 1", "held x 1000 3000 900 2", "held x 2900 4000 800 3"] {
        assert!(account.note_held(0, line));
    }
    account.check_no_overlap();
}

#[test]
fn readers_overlap_with_one_another_and_with_nobody_else() {
    let mut account = Account::new(Duration::from_secs(3));
    for line in ["read x 1000 3000 900 1", "read x 2000 4000 900 2", "held x 4500 5000 800 3", "held y/0 1 9 0 1"] {
        assert!(account.note_held(0, line));
    }
    assert!(account.note_held(0, "held y/1 8 12 0 2"));
    account.check_no_overlap();
    assert_eq!(account.most_at_once(), 2);
    assert!(account.note_held(0, "held x 3900 4100 800 4"));
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| account.check_no_overlap()))
        .expect_err("a writer beside a reader");
}
