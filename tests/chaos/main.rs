//! Three processes of eight tasks on five servers, each of which is hung, killed and restarted in turn, for a while.
//! What they say about when they held a lock is looked through by somebody who knows nothing of locks.

mod jobs;

use std::process::Command;
use std::time::Duration;

use redlock_tests::clock::monotonic_nanoseconds;
use redlock_tests::wait::eventually;
use redlock_tests::{Account, Program, RedisServer, Servers};

/// How long a fault lasts, and the pause behind it.
const FAULT: Duration = Duration::from_millis(1200);
const TTL: Duration = Duration::from_secs(1);

/// What happens to a server.
type Change = (&'static str, fn(&RedisServer));

#[test]
fn no_two_tasks_of_any_process_hold_one_lock_at_a_time() {
    check(60, &[]);
}

/// Of two permits each is held by one at a time, so that no three hold the lock.
#[test]
fn no_two_tasks_of_any_process_hold_one_permit_at_a_time() {
    check(30, &["permits=2"]);
}

/// For so many seconds, with what else is said to the crowd.
fn check(seconds: u64, kind: &[&str]) {
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
            Program::start(command.env("REDLOCK_NODES", servers.nodes()).args(&arguments).args(kind))
        })
        .collect();
    let faults: [(Change, Change); 3] = [
        (("hung", RedisServer::hang), ("resumed", RedisServer::resume)),
        (("killed", RedisServer::kill), ("started", RedisServer::restart)),
        (("restarted", RedisServer::restart), ("left alone", |_| {})),
    ];
    let mut account = Account::new(TTL * 3);
    let rounds = Duration::from_secs(seconds).as_millis() / (FAULT * 2).as_millis();
    for round in 0..usize::try_from(rounds).unwrap_or(0).saturating_sub(2) {
        let server = &servers[round % servers.len()];
        let (begin, end) = faults[round % faults.len()];
        for (what, change) in [begin, end] {
            let from = monotonic_nanoseconds();
            change(server);
            account.note_event(from, monotonic_nanoseconds(), format!("server {} {what}", server.port()));
            std::thread::sleep(FAULT);
        }
    }

    for (process, program) in crowd.into_iter().enumerate() {
        let ended = program.wait_within(Duration::from_secs(60));
        assert!(ended.status.success(), "{ended:?}");
        account.note_log(process, &ended.errors);
        for line in &ended.lines {
            if !account.note_held(process, line) {
                println!("{line}");
            }
        }
    }
    println!("{} times held in all", account.held());
    account.check_no_overlap();
    let least = usize::try_from(seconds * 8).unwrap_or(usize::MAX);
    assert!(account.held() > least, "the crowd hardly got anywhere: {}", account.held());
    let is_free = || {
        let has_none = |keys| servers.iter().all(|server| server.probe().keys_like(keys).is_empty());
        has_none("redlock:*") && has_none("redlock-permit-*")
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
