//! Locks of several names at once, on real servers: all of them or none, and nobody waits for ever.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use redlock_runtime::{Error, LockGuard, LockManager, LostReason, Timeout};
use redlock_tests::clock::timed;
use redlock_tests::python::{Class, Python};
use redlock_tests::wait::{LIMIT, eventually, eventually_async};
use redlock_tests::{Cluster, Monitor, Servers};

use crate::common::cycles::patient;
use crate::common::waiters::LONG;
use crate::common::{RARE_POLL, key, manager, unhurried, waiting};

/// All of these, if all are free.
async fn try_all(locks: &LockManager, names: &[&str]) -> Option<LockGuard> {
    locks.lock_all(names.iter().copied()).ttl(LONG).try_acquire().await.unwrap()
}

/// How many keys of locks any server has.
fn left(servers: &Servers) -> usize {
    servers.iter().map(|server| server.probe().keys_like("redlock:ConfigurableLock.*").len()).sum()
}

async fn nothing_left(servers: &Servers) {
    eventually_async("no key is left", async || left(servers) == 0).await;
}

#[tokio::test]
async fn all_are_acquired_or_none() {
    for count in [1, 3, 5] {
        let servers = Servers::start(count);
        let (locks, others) = (manager(&servers), manager(&servers));
        let guard = try_all(&locks, &["b", "a", "b"]).await.expect("all are free");
        assert_eq!(guard.name(), "a + b");
        for name in ["a", "b"] {
            eventually_async("every node holds it", async || servers.holding(&key(name)) == count).await;
            assert!(others.lock(name).try_acquire().await.unwrap().is_none(), "{name} on {count}");
        }
        assert!(try_all(&others, &["b", "c"]).await.is_none() && try_all(&others, &["0", "a"]).await.is_none());
        assert_eq!(
            (servers.holding(&key("c")), servers.holding(&key("0"))),
            (0, 0),
            "nothing stays of what was refused"
        );
        let other = try_all(&others, &["c", "0"]).await.expect("they are free");
        guard.release().await.unwrap();
        assert!(try_all(&others, &["a", "0"]).await.is_none());
        other.release().await.unwrap();
        nothing_left(&servers).await;
    }
}

#[tokio::test]
async fn one_round_trip_asks_for_all_of_them_and_one_releases_them() {
    let servers = Servers::start(1);
    let locks = manager(&servers);
    try_all(&locks, &["a", "b"]).await.expect("they are free").release().await.unwrap();
    let monitor = Monitor::start(&servers[0]);
    try_all(&locks, &["a", "b", "c"]).await.expect("they are free").release().await.unwrap();
    let sent = monitor.sent_about(&key("c"));
    assert_eq!(sent.len(), 2, "{sent:?}");
}

#[tokio::test]
async fn they_are_renewed_together_and_lost_together() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    // A busy machine may be a second late with a renewal.
    let ttl = Duration::from_secs(3);
    let guard = locks.lock_all(["a", "b"]).ttl(ttl).acquire().await.unwrap();
    tokio::time::timeout(2 * ttl, guard.lost()).await.expect_err("it is renewed for longer than its TTL");
    assert!(guard.is_valid() && servers.holding(&key("a")) == 3 && servers.holding(&key("b")) == 3);
    servers.iter().for_each(|server| {
        server.probe().del(&key("b"));
    });
    let lost = tokio::time::timeout(LIMIT, guard.lost()).await.expect("a majority lost one of them");
    assert!(matches!(lost, Error::Lost { .. }), "{lost}");
    drop(guard);
    nothing_left(&servers).await;
    let guard = locks.lock_all(["a", "b"]).ttl(ttl).renew(false).acquire().await.unwrap();
    let lost = tokio::time::timeout(LIMIT, guard.lost()).await.expect("it is not renewed");
    assert!(matches!(lost, Error::Lost { reason: LostReason::Expired, .. }), "{lost}");
}

#[tokio::test]
async fn a_node_that_lost_one_of_them_gets_it_again_unless_another_has_it() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    let guard = locks.lock_all(["a", "b"]).ttl(Duration::from_secs(6)).acquire().await.unwrap();
    eventually_async("every node holds them", async || left(&servers) == 6).await;
    let (a, b) = (servers.values(&key("a")), servers.values(&key("b")));
    assert_eq!(a, b, "one owner");
    servers[0].probe().del(&key("b"));
    eventually_async("it is set again", async || servers.values(&key("b")) == b).await;
    servers[0].probe().set_for(&key("b"), "another", LONG);
    eventually_async("the other's keys end there", async || !servers[0].probe().exists(&key("a"))).await;
    assert!(guard.is_valid());
    guard.release().await.unwrap();
    assert_eq!(servers[0].probe().get(&key("b")).as_deref(), Some("another"));
}

#[tokio::test]
async fn a_reset_of_one_of_them_takes_all_at_once() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    let guard = try_all(&locks, &["a", "b"]).await.expect("they are free");
    eventually_async("every node holds them", async || left(&servers) == 6).await;
    assert_eq!(locks.reset("b").await.unwrap(), 3);
    let lost = guard.lost().await;
    assert!(matches!(lost, Error::Lost { reason: LostReason::Reset, .. }), "{lost}");
    assert!(locks.lock("a").try_acquire().await.unwrap().is_none(), "it is held until its guard is gone");
    drop(guard);
    nothing_left(&servers).await;
}

#[tokio::test]
async fn their_token_is_greater_than_any_before_of_each_of_them() {
    for count in [1, 3] {
        let servers = Servers::start(count);
        let (locks, others) = (manager(&servers), manager(&servers));
        let mut last = 0;
        for round in 0..12 {
            let locks = if round % 2 == 0 { &locks } else { &others };
            let guard = match round % 3 {
                0 => locks.lock("a").ttl(LONG).acquire().await,
                1 => locks.lock_all(["a", "b"]).ttl(LONG).acquire().await,
                _ => locks.lock_all(["b", "c", "a"]).ttl(LONG).acquire().await,
            };
            let guard = guard.unwrap();
            assert!(guard.fencing_token() > last, "{round} on {count}: {} after {last}", guard.fencing_token());
            last = guard.fencing_token();
            guard.release().await.unwrap();
        }
        for name in ["b", "c"] {
            let guard = locks.lock(name).acquire().await.unwrap();
            assert!(guard.fencing_token() > last - 2, "{name}: {} after {last}", guard.fencing_token());
        }
    }
}

#[tokio::test]
async fn who_waits_for_several_is_woken_by_the_release_of_one_and_the_other_way_round() {
    let servers = Servers::start(3);
    let (locks, others) = (manager(&servers), manager(&servers));
    for owner in [&locks, &others] {
        let single = owner.lock("b").ttl(LONG).acquire().await.unwrap();
        let waiter = tokio::spawn(locks.lock_all(["a", "b", "c"]).ttl(LONG).timeout(LIMIT).acquire());
        eventually_async("it waits", async || waiting(&locks, "a + b + c").await == 1).await;
        single.release().await.unwrap();
        let (guard, took) = timed(waiter).await;
        let guard = guard.unwrap().unwrap();
        assert!(took < RARE_POLL / 2, "woken after {took:?}");
        let waiter = tokio::spawn(owner.lock("c").ttl(LONG).timeout(LIMIT).acquire());
        eventually_async("it waits", async || waiting(&locks, "c").await == 1).await;
        guard.release().await.unwrap();
        let (guard, took) = timed(waiter).await;
        let guard = guard.unwrap().unwrap();
        assert!(took < RARE_POLL / 2, "woken after {took:?}");
        guard.release().await.unwrap();
    }
    nothing_left(&servers).await;
}

/// Five at a table, each of whom wants two of five forks, named in an order of his own; nobody ever has one that another has.
async fn dine(managers: Vec<LockManager>) {
    let forks: Arc<[AtomicU8; 5]> = Arc::default();
    let diners = managers.into_iter().cycle().take(5).enumerate().map(|(seat, locks)| {
        let forks = Arc::clone(&forks);
        tokio::spawn(async move {
            for _ in 0..8 {
                let mine = [seat, (seat + 1) % 5];
                let guard = locks.lock_all(mine.map(|fork| format!("fork:{fork}"))).ttl(LONG).timeout(LIMIT).acquire();
                let guard = guard.await.expect("nobody starves");
                for fork in mine {
                    assert_eq!(forks[fork].fetch_add(1, Ordering::SeqCst), 0, "two have fork {fork}");
                }
                tokio::task::yield_now().await;
                for fork in mine {
                    forks[fork].fetch_sub(1, Ordering::SeqCst);
                }
                guard.release().await.unwrap();
            }
        })
    });
    for diner in diners.collect::<Vec<_>>() {
        diner.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_starves_whatever_the_order_in_which_they_name_them() {
    let servers = Servers::start(3);
    dine((0..5).map(|_| manager(&servers)).collect()).await;
    dine(vec![manager(&servers)]).await;
    nothing_left(&servers).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_starves_on_nodes_in_memory() {
    let locks =
        || LockManager::builder().nodes(["memory://dine-1", "memory://dine-2", "memory://dine-3"]).build().unwrap();
    dine((0..5).map(|_| locks()).collect()).await;
}

#[test]
fn a_python_process_that_has_one_keeps_all_from_others() {
    let Some(python) = Python::in_directory(Path::new(env!("CARGO_TARGET_TMPDIR"))) else { return };
    let servers = Servers::start(3);
    let locks = patient(servers.urls());
    let mut holds = python.start("holder.py", Class::Sync, &servers, &["name=b", "timeout=0"]);
    assert_eq!(holds.line(), "acquired");
    assert!(locks.lock_all(["a", "b"]).try_acquire_blocking().unwrap().is_none());
    eventually("none is left behind", || servers.holding(&key("a")) == 0);
    holds.tell("");
    let guard = locks.lock_all(["a", "b"]).timeout(LIMIT).acquire_blocking().unwrap();
    assert_eq!(holds.line(), "released");
    guard.release_blocking().unwrap();
}

#[tokio::test]
async fn names_in_different_slots_of_a_cluster_are_acquired_together_too() {
    let cluster = Cluster::start();
    let builder = || unhurried().nodes([cluster.url()]).build().unwrap();
    let (locks, others) = (builder(), builder());
    let names: Vec<_> = (0..7).map(|name| format!("n{name}")).collect();
    let mut last = 0;
    for _ in 0..3 {
        let guard = locks.lock_all(names.clone()).ttl(LONG).acquire().await.unwrap();
        assert!(guard.fencing_token() > last);
        last = guard.fencing_token();
        for name in &names {
            assert!(others.lock(name).try_acquire().await.unwrap().is_none(), "{name}");
        }
        assert!(others.lock_all(["z", &names[3], "y"]).try_acquire().await.unwrap().is_none());
        let others_guard =
            others.lock_all(["y", "z"]).try_acquire().await.unwrap().expect("nothing stays of what was refused");
        others_guard.release().await.unwrap();
        guard.extend(2 * LONG).await.unwrap();
        guard.release().await.unwrap();
        for name in &names {
            let guard = others.lock(name).ttl(LONG).acquire().await.unwrap();
            assert!(guard.fencing_token() > last, "{name}: {} after {last}", guard.fencing_token());
            guard.release().await.unwrap();
        }
    }
    eventually_async("no key is left", async || {
        let keys = |server: &redlock_tests::RedisServer| server.probe().keys_like("redlock:ConfigurableLock.*").len();
        cluster.masters().into_iter().map(keys).sum::<usize>() == 0
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_asked_for_is_refused_in_helpful_words() {
    let locks = LockManager::builder().nodes(["memory://"]).build().unwrap();
    let none: [&str; 0] = [];
    let check = |error: Error, expect: &str| assert!(error.to_string().contains(expect), "{error}");
    check(locks.lock_all(none).acquire().await.unwrap_err(), "name at least one");
    check(locks.lock_all((0..65).map(|name| name.to_string())).acquire().await.unwrap_err(), "64 at most");
    check(locks.lock_all(["a", ""]).acquire().await.unwrap_err(), "empty");
    check(locks.lock_all(["a", "b"]).permits(2).acquire().await.unwrap_err(), "`permits`");
    let guard = locks.lock_all(["x".repeat(500), "y".repeat(500)]).timeout(Timeout::Skip).acquire().await.unwrap();
    assert!(guard.name().len() <= 512 && guard.name().ends_with(" + 1 more"), "{}", guard.name());
}
