//! What an operator asks of a log: one line for each trouble, at the level that it is worth, with its name, its cause and its cure.

use std::sync::LazyLock;
use std::time::Duration;

use redlock_runtime::{LockManager, Timeout, redlock};
use redlock_tests::proxy::Flow;
use redlock_tests::wait::eventually_async;
use redlock_tests::{Proxy, RedisServer, Servers};
use tracing::Level;

use crate::common::events::{Events, node_at};
use crate::common::key;

static LOCKS: LazyLock<LockManager> = LazyLock::new(|| LockManager::builder().nodes(["memory://"]).build().unwrap());

const LEVELS: [Level; 4] = [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG];

/// Expects one event that has all of this in it, at this level, and none at another that has the first part.
#[track_caller]
fn check_one(events: &Events, level: Level, parts: &[&str]) {
    events.assert_one(level, parts);
    for other in LEVELS.into_iter().filter(|other| *other < level) {
        let found = events.find(other, &parts[..1]);
        assert!(found.is_empty(), "worse than {level}: {found:#?}");
    }
}

#[redlock(name = "told-skipped", manager = &LOCKS, timeout = -1, silent)]
async fn skipped() -> Option<()> {
    Some(())
}

#[redlock(name = "told-misconfigured", manager = &LOCKS, timeout = -1, silent, ttl = "1h")]
async fn misconfigured() -> Option<()> {
    Some(())
}

#[tokio::test]
async fn a_silent_job_that_is_skipped_or_wrongly_configured_says_so_once() {
    let events = Events::from_now();
    let guard = LOCKS.lock("told-skipped").acquire().await.unwrap();
    assert_eq!(skipped().await, None);
    guard.release().await.unwrap();
    let function = concat!(module_path!(), "::skipped");
    check_one(&events, Level::DEBUG, &["lock=told-skipped", function, "held elsewhere"]);

    // However often it is called.
    for _ in 0..5 {
        assert_eq!(misconfigured().await, None);
    }
    let function = concat!(module_path!(), "::misconfigured");
    check_one(&events, Level::ERROR, &["lock=told-misconfigured", function, "use a shorter one"]);
}

#[tokio::test]
async fn whoever_waited_and_whoever_lost_a_lock_is_told_once() {
    let events = Events::from_now();
    let server = RedisServer::start();
    let locks = LockManager::builder().nodes([server.url()]).build().unwrap();
    let guard = locks.lock("told-waited").acquire().await.unwrap();
    let waiting = tokio::spawn(locks.lock("told-waited").acquire());
    let is_counted = async || locks.statistics().await.unwrap().get("told-waited").is_some();
    eventually_async("it waits", is_counted).await;
    guard.release().await.unwrap();
    let guard = waiting.await.unwrap().unwrap();
    check_one(&events, Level::DEBUG, &["lock=told-waited", "acquired after waiting", "waited="]);
    guard.release().await.unwrap();

    let guard = locks.lock("told-lost").ttl(Duration::from_millis(300)).acquire().await.unwrap();
    server.probe().del(&key("told-lost"));
    guard.lost().await;
    drop(guard);
    check_one(&events, Level::WARN, &["lock=told-lost", "lock lost", "no longer has this owner's key"]);
}

#[tokio::test]
async fn a_shutdown_under_held_locks_names_them_once() {
    let events = Events::from_now();
    let locks = LockManager::builder().nodes(["memory://"]).build().unwrap();
    let guard = locks.lock("told-shutdown").acquire().await.unwrap();
    assert_eq!(locks.shutdown_within(Duration::from_millis(10)).await.still_held, ["told-shutdown"]);
    drop(guard);
    check_one(&events, Level::WARN, &["`told-shutdown`", "still held", "for the rest of their TTL"]);
}

#[tokio::test]
async fn a_node_that_restarts_is_told_to_abstain_and_one_that_comes_and_goes_not_more_than_once_a_minute() {
    let server = RedisServer::start();
    let (url, node) = node_at(server.port());
    let locks = LockManager::builder().nodes([url]).build().unwrap();
    let works = async || locks.lock("x").timeout(Duration::from_millis(100)).acquire().await.is_ok();
    eventually_async("it works", works).await;
    let events = Events::from_now();
    for round in 1..=3 {
        server.kill();
        eventually_async("it is down", async || !works().await).await;
        server.restart();
        eventually_async("it is back", works).await;
        // Each restart is told, because nobody should restart another meanwhile.
        let restarts = || events.count(Level::INFO, &[&node, "it may have forgotten locks", "restart no other"]);
        eventually_async("the restart is told", async || restarts() >= round).await;
    }
    let troubles = events.find(Level::WARN, &[&node, "node="]);
    assert_eq!(troubles.len(), 1, "{troubles:#?}");
    assert_eq!(events.count(Level::INFO, &[&node, "node answers again"]), 1);
}

#[tokio::test]
async fn a_lock_that_too_few_nodes_can_be_reached_for_is_told_once_a_minute_however_often_it_is_wanted() {
    let events = Events::from_now();
    let server = RedisServer::start();
    let proxy = Proxy::start(&server);
    proxy.refuse();
    let locks = LockManager::builder().nodes([proxy.url()]).build().unwrap();
    for _ in 0..5 {
        assert!(locks.lock("told-again").timeout(Duration::from_millis(50)).acquire().await.is_err());
    }
    check_one(&events, Level::WARN, &["lock=told-again", "too few nodes can be reached"]);
    events.assert_one(Level::INFO, &["lock=told-again", "nobody tries any more"]);
}

#[tokio::test]
async fn a_node_that_is_slow_is_told_once_with_how_slow_and_so_is_that_it_is_not_any_more() {
    let servers = Servers::start(3);
    let proxy = Proxy::start(&servers[0]);
    let (url, node) = node_at(proxy.port());
    let urls = [url, servers[1].url(), servers[2].url()];
    let locks = LockManager::builder().nodes(urls).node_timeout(Duration::from_millis(100)).build().unwrap();
    drop(locks.lock("x").acquire().await.unwrap());
    let events = Events::from_now();
    proxy.set_both(Flow::Delay(Duration::from_millis(300)));
    let is_told = async || {
        drop(locks.lock("x").timeout(Timeout::Skip).acquire().await);
        events.count(Level::WARN, &[&node]) > 0
    };
    eventually_async("it is told", is_told).await;
    proxy.set_both(Flow::Forward);
    eventually_async("it answers in time", async || events.count(Level::INFO, &[&node, "answers again"]) == 1).await;
    events.assert_one(Level::WARN, &[&node, "node=", "reason="]);
}

#[tokio::test(start_paused = true)]
async fn an_hour_in_which_all_is_well_tells_nothing() {
    let events = Events::from_now();
    let locks = LockManager::builder().nodes(["memory://", "memory://", "memory://"]).build().unwrap();
    let guard = locks.lock("told-idle").acquire().await.unwrap();
    for _ in 0..60 {
        tokio::time::sleep(Duration::from_secs(60)).await;
        locks.lock("told-idle-now-and-then").acquire().await.unwrap().release().await.unwrap();
    }
    assert!(guard.is_valid());
    guard.release().await.unwrap();
    for level in [Level::ERROR, Level::WARN, Level::INFO] {
        let found = events.find(level, &["told-idle"]);
        assert!(found.is_empty(), "{found:#?}");
    }
}
