//! What an operator asks of a log: one line for each trouble, at the level that it is worth, with its name, its cause and its cure.

use std::sync::LazyLock;
use std::time::Duration;

use redlock_runtime::testing::MemoryNode;
use redlock_runtime::{LockManager, Timeout, redlock};
use redlock_tests::clock::now;
use redlock_tests::proxy::Flow;
use redlock_tests::wait::eventually_async;
use redlock_tests::{Proxy, RedisServer, Servers};
use tracing::Level;

use crate::common::events::{Events, NO_BUSY_MACHINE, node_at};
use crate::common::seen::Seen;
use crate::common::{key, unhurried};

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

#[redlock(name = "told-blamed", manager = &LOCKS, timeout = -1, silent)]
async fn blamed() -> anyhow::Result<Option<()>> {
    LOCKS.lock("told-blamed-inside").timeout(Timeout::Skip).acquire().await?.release().await?;
    Ok(Some(()))
}

#[redlock(name = "told-ended", manager = locks, timeout = -1, silent)]
async fn ended(locks: &LockManager) -> Option<()> {
    Some(())
}

#[redlock(name = "told-cut-off", manager = locks, timeout = "150ms", silent)]
async fn cut_off(locks: &LockManager) -> Option<()> {
    Some(())
}

#[redlock(name = "told-cut-off-sync", manager = locks, timeout = "150ms", silent)]
fn cut_off_sync(locks: &LockManager) -> Option<()> {
    Some(())
}

#[tokio::test]
async fn a_silent_job_whose_body_meets_a_lock_that_is_held_or_whose_manager_has_ended_says_so_once() {
    let events = Events::from_now();
    let inside = LOCKS.lock("told-blamed-inside").acquire().await.unwrap();
    assert!(matches!(blamed().await, Ok(None)));
    inside.release().await.unwrap();
    let function = concat!(module_path!(), "::blamed");
    check_one(&events, Level::DEBUG, &["lock=told-blamed", function, "the body failed because a lock is held"]);

    let locks = LockManager::builder().nodes(["memory://"]).build().unwrap();
    locks.shutdown().await;
    assert_eq!(ended(&locks).await, None);
    let function = concat!(module_path!(), "::ended");
    check_one(&events, Level::INFO, &["lock=told-ended", function, "reason=", "was shut down"]);
}

#[tokio::test]
async fn a_silent_job_that_waits_in_vain_for_nodes_says_so_once_at_its_end_and_no_sooner() {
    let events = Events::from_now();
    let server = RedisServer::start();
    let proxy = Proxy::start(&server);
    proxy.refuse();
    let locks = LockManager::builder().nodes([proxy.url()]).build().unwrap();
    assert_eq!(cut_off(&locks).await, None);
    let of_thread = locks.clone();
    assert_eq!(tokio::task::spawn_blocking(move || cut_off_sync(&of_thread)).await.unwrap(), None);
    for name in ["cut_off", "cut_off_sync"] {
        let (function, lock) =
            (format!("{}::{name}\"", module_path!()), format!("lock=told-{} ", name.replace('_', "-")));
        check_one(&events, Level::ERROR, &[&lock, &function, "error=", "did not run to its end"]);
        for level in [Level::WARN, Level::INFO] {
            let found = events.find(level, &[&lock]);
            assert!(found.is_empty(), "told twice: {found:#?}");
        }
    }
}

#[tokio::test]
async fn whoever_waited_and_whoever_lost_a_lock_is_told_once() {
    let events = Events::from_now();
    let server = RedisServer::start();
    let locks = unhurried().nodes([server.url()]).build().unwrap();
    let guard = locks.lock("told-waited").acquire().await.unwrap();
    let waiting = tokio::spawn(locks.lock("told-waited").acquire());
    let is_counted = async || locks.statistics().await.unwrap().get("told-waited").is_some();
    eventually_async("it waits", is_counted).await;
    guard.release().await.unwrap();
    let guard = waiting.await.unwrap().unwrap();
    check_one(&events, Level::DEBUG, &["lock=told-waited", "acquired after waiting", "waited="]);
    guard.release().await.unwrap();

    let guard = locks.lock("told-lost").ttl(Duration::from_secs(9)).acquire().await.unwrap();
    server.probe().del(&key("told-lost"));
    guard.lost().await;
    drop(guard);
    // Whoever has to act on it knows before it is told.
    eventually_async("it is told", async || !events.find(Level::WARN, &["lock=told-lost"]).is_empty()).await;
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
    let locks = unhurried().nodes([url]).build().unwrap();
    let works = async || locks.lock("x").timeout(Duration::from_millis(100)).acquire().await.is_ok();
    eventually_async("it works", works).await;
    let events = Events::from_now();
    let restarts = || events.count(Level::INFO, &[&node, "it may have forgotten locks", "restart no other"]);
    for round in 1..=3 {
        server.kill();
        eventually_async("it is down", async || !works().await).await;
        server.restart();
        eventually_async("it is back", works).await;
        // Each restart is told, because nobody should restart another meanwhile.
        eventually_async("the restart is told", async || restarts() >= round).await;
    }
    assert_eq!(restarts(), 3, "each once");
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
    // A connection that is made meanwhile is slow as well, and would be told of in its place.
    let builder = LockManager::builder().nodes(urls).connect_timeout(Duration::from_secs(30));
    let locks = builder.node_timeout(Duration::from_millis(100)).build().unwrap();
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
    let told = events.find(Level::WARN, &[&node, "node=", "reason="]);
    assert!(told.len() == 1 && told[0].contains("no answer within 100ms"), "{told:#?}");
}

/// Expects that nothing that names one of these was told to anybody but who debugs.
#[track_caller]
fn check_nothing(events: &Events, names: &[String]) {
    for level in [Level::ERROR, Level::WARN, Level::INFO] {
        for name in names {
            let found = events.find(level, &[name]);
            assert!(found.is_empty(), "{name}: {found:#?}");
        }
    }
}

/// On real servers for 4 seconds, or as long as `REDLOCK_IDLE_SECONDS` says.
#[tokio::test]
async fn while_all_is_well_on_servers_nothing_is_told() {
    let seconds = std::env::var("REDLOCK_IDLE_SECONDS").map_or(4, |text| text.parse().expect("a number of seconds"));
    let servers = Servers::start(3);
    let (urls, mut names): (Vec<_>, Vec<_>) = servers.iter().map(|server| node_at(server.port())).unzip();
    names.push("told-well".to_owned());
    let seen = Seen::default();
    let manager = || {
        let builder = unhurried().nodes(&urls).node_timeout(NO_BUSY_MACHINE).observer(seen.clone());
        builder.ttl(Duration::from_secs(6))
    };
    let (locks, others) = (manager().build().unwrap(), manager().build().unwrap());
    let is_reached = async || locks.lock("told-well").timeout(Timeout::Skip).acquire().await.is_ok();
    eventually_async("all are reached", is_reached).await;
    let events = Events::from_now();
    let held = locks.lock("told-well-held").acquire().await.unwrap();
    let until = now() + Duration::from_secs(seconds);
    let mut rounds = 0;
    while now() < until || rounds < 10 {
        // One has it, and others wait for it: in this process, and in another's place.
        let guard = others.lock("told-well-wanted").acquire().await.unwrap();
        seen.take();
        let waiting = [&locks, &locks, &others].map(|locks| {
            let request = locks.lock("told-well-wanted");
            tokio::spawn(async move { request.acquire().await.unwrap().release().await.unwrap() })
        });
        eventually_async("all three wait", async || seen.count("wait+ ") == waiting.len()).await;
        assert!(locks.lock("told-well-wanted").timeout(Timeout::Skip).acquire().await.is_err());
        guard.release().await.unwrap();
        for waiting in waiting {
            waiting.await.unwrap();
        }
        rounds += 1;
    }
    assert!(held.is_valid());
    held.release().await.unwrap();
    locks.lock("told-well-last").acquire().await.unwrap().release().await.unwrap();
    check_nothing(&events, &names);
    assert!(events.count(Level::DEBUG, &["told-well-wanted", "acquired after waiting"]) >= rounds, "events are seen");
}

#[tokio::test(start_paused = true)]
async fn an_hour_in_which_all_is_well_tells_nothing() {
    let events = Events::from_now();
    let nodes = ["a", "b", "c"].map(|name| format!("memory://told-idle-{name}"));
    let locks = LockManager::builder().nodes(&nodes).build().unwrap();
    let guard = locks.lock("told-idle").acquire().await.unwrap();
    for _ in 0..60 {
        tokio::time::sleep(Duration::from_secs(60)).await;
        locks.lock("told-idle-now-and-then").acquire().await.unwrap().release().await.unwrap();
    }
    assert!(guard.is_valid());
    guard.release().await.unwrap();
    // The nodes have it in their names, too.
    check_nothing(&events, &["told-idle".to_owned()]);
}

#[tokio::test(start_paused = true)]
async fn releases_that_are_given_up_are_told_once_for_their_node_however_many_locks_were_held_on_it() {
    let events = Events::from_now();
    let nodes = ["a", "b", "c"].map(|name| format!("memory://told-given-up-{name}"));
    let locks = LockManager::builder().nodes(&nodes).build().unwrap();
    let mut guards = Vec::new();
    for number in 0..10 {
        guards.push(locks.lock(format!("told-given-up-{number}")).acquire().await.unwrap());
    }
    let node = MemoryNode::named("told-given-up-c");
    node.fail("it is full");
    drop(guards);
    // It waits for the releases, until they are confirmed or given up.
    let report = locks.shutdown_within(Duration::from_secs(600)).await;
    assert!(report.still_held.is_empty(), "{report}");
    events.assert_one(Level::WARN, &[&format!("node=\"{}\"", nodes[2]), "reason=it is full", "gave up a release"]);
    let others = events.find(Level::DEBUG, &[&format!("node=\"{}\"", nodes[2]), "gave up another release"]);
    assert_eq!(others.len(), 9, "{others:#?}");
}
