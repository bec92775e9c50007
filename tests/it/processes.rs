//! Several processes, as users run them: one of them may be killed at any moment.

use std::time::Duration;

use redlock_tests::Servers;
use redlock_tests::wait::eventually;

use crate::common::waiters::{UNHURRIED, holder};
use crate::common::{key, manager};

#[test]
fn of_two_processes_started_together_one_runs_and_the_other_is_skipped() {
    let servers = Servers::start(3);
    for down in [None, Some(0)] {
        if let Some(node) = down {
            servers[node].kill();
        }
        let both = [0, 1].map(|_| holder(&servers, &["name=x", "timeout=-1", UNHURRIED]));
        let mut heard = both.map(|program| (program.line(), program));
        heard.sort_by(|(one, _), (other, _)| one.cmp(other));
        let [(first, mut holds), (second, skipped)] = heard;
        assert_eq!([first, second], ["acquired", "skipped"]);
        holds.tell("");
        for program in [holds, skipped] {
            assert!(program.wait().status.success());
        }
        eventually("nothing is left", || servers.holding(&key("x")) == 0);
    }
}

#[test]
fn with_a_majority_of_nodes_down_the_error_says_how_many_answered() {
    let servers = Servers::start(3);
    servers[0].kill();
    servers[1].kill();
    let said = holder(&servers, &["name=x", "timeout=-1", UNHURRIED]).line();
    assert!(said.starts_with("error: ") && said.contains("1 of 3 nodes answered"), "{said}");
}

#[test]
fn a_killed_holder_keeps_its_lock_until_the_ttl_is_over_and_not_longer() {
    let servers = Servers::start(3);
    let mut killed = holder(&servers, &["name=x", "ttl_ms=5000"]);
    assert_eq!(killed.line(), "acquired");
    eventually("all nodes have the key", || servers.holding(&key("x")) == 3);
    killed.kill();
    let remaining = servers[0].probe().pttl(&key("x")).remaining().expect("a key with an expiry");
    assert!(remaining <= Duration::from_secs(5), "{remaining:?}");
    let locks = manager(&servers);
    assert!(locks.lock("x").try_acquire_blocking().unwrap().is_none());
    let next = locks.lock("x").timeout(Duration::from_secs(20)).acquire_blocking().unwrap();
    next.release_blocking().unwrap();
}

#[test]
fn a_waiter_in_another_process_gets_the_lock_after_its_release() {
    let servers = Servers::start(3);
    let mut first = holder(&servers, &["name=x"]);
    assert_eq!(first.line(), "acquired");
    let mut second = holder(&servers, &["name=x", "timeout=10"]);
    assert_eq!(second.line_within(Duration::from_millis(300)), None, "it waits");
    first.tell("");
    assert_eq!(first.line(), "released");
    assert_eq!(second.line(), "acquired");
    second.tell("");
    assert_eq!(second.line(), "released");
}

#[test]
fn a_process_that_is_frozen_for_longer_than_its_ttl_knows_that_it_lost_the_lock() {
    let servers = Servers::start(3);
    let mut frozen = holder(&servers, &["name=x", "ttl_ms=500"]);
    assert_eq!(frozen.line(), "acquired");
    frozen.hang();
    let next = manager(&servers).lock("x").timeout(Duration::from_secs(10)).acquire_blocking().unwrap();
    frozen.resume();
    let said = frozen.line();
    assert!(said.starts_with("lost: "), "{said}");
    assert!(next.is_valid());
    assert!(servers.holding(&key("x")) >= 2, "the loser's release took the winner's key");
    next.release_blocking().unwrap();
}
