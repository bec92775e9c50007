//! What is told as events: each node's end and return once, however many connections it has, and in pairs.

use std::time::Duration;

use redis::cmd;
use redlock_runtime::{Error, LockManager, Timeout};
use redlock_tests::gateway::Answer;
use redlock_tests::wait::eventually_async;
use redlock_tests::{Gateway, Proxy, RedisServer, Servers};
use tracing::Level;

use crate::common::counters::LIST;
use crate::common::events::{DATABASE, Events, NO_BUSY_MACHINE, node_at};
use crate::common::unhurried;

/// Whether no lock is left on a server.
fn is_released(server: &RedisServer) -> bool {
    let keys = format!("redis.call('SELECT', {DATABASE}); return redis.call('KEYS', 'redlock:*')");
    server.probe().run::<Vec<String>>(cmd("EVAL").arg(keys).arg(0)).unwrap().is_empty()
}

/// A connection of this runtime and one of the background runtime to each node.
async fn connect_twice(locks: &LockManager, servers: &[RedisServer]) {
    drop(locks.lock("twice").acquire().await.unwrap());
    let are_released = async || servers.iter().all(is_released);
    eventually_async("the background has connections too", are_released).await;
}

#[tokio::test]
async fn a_hung_node_is_told_once_and_so_is_that_it_answers_again() {
    let servers = Servers::start(3);
    let nodes: Vec<_> = servers.iter().map(|server| node_at(server.port())).collect();
    let locks = LockManager::builder()
        .nodes(nodes.iter().map(|(url, _)| url.clone()))
        .node_timeout(Duration::from_secs(1))
        .connect_timeout(Duration::from_secs(1))
        .build()
        .unwrap();
    connect_twice(&locks, &servers).await;
    let node = &nodes[0].1;
    // On a busy machine one may have been late up to now.
    let events = Events::from_now();
    servers[0].hang();
    let is_given_up = async || {
        drop(locks.lock("x").timeout(Timeout::Skip).acquire().await);
        // Both connections, and attempts to make others.
        events.count(Level::DEBUG, &[node, "on another connection"]) >= 4
    };
    eventually_async("the node is given up on both connections", is_given_up).await;
    servers[0].resume();
    let answers = async || events.count(Level::INFO, &[node, "node answers again"]) > 0;
    eventually_async("it is told that it answers again", answers).await;
    events.assert_one(Level::WARN, &[node]);
    events.assert_one(Level::WARN, &[node, "node does not answer"]);
    events.assert_one(Level::INFO, &[node]);
}

#[tokio::test]
async fn a_lost_node_is_told_once_though_it_has_two_connections() {
    let events = Events::from_now();
    let server = RedisServer::start();
    let proxy = Proxy::start(&server);
    let (url, node) = node_at(proxy.port());
    let locks = unhurried().nodes([url]).node_timeout(NO_BUSY_MACHINE).build().unwrap();
    connect_twice(&locks, std::slice::from_ref(&server)).await;
    let guard = locks.lock("x").acquire().await.unwrap();
    proxy.refuse();
    // Its release is tried by the other connection.
    drop(guard);
    let is_lost = async || {
        let attempt = locks.lock("y").timeout(Timeout::Skip).acquire().await;
        assert!(matches!(attempt, Err(Error::QuorumUnreachable { .. })), "{attempt:?}");
        events.count(Level::DEBUG, &[&node, "on another connection"]) >= 2
    };
    eventually_async("both connections are lost", is_lost).await;
    events.assert_one(Level::WARN, &[&node, "redis://"]);
    proxy.take();
    let answers = async || locks.lock("y").timeout(Timeout::Skip).acquire().await.is_ok();
    eventually_async("it can be locked again", answers).await;
    eventually_async("both connections are there again", async || is_released(&server)).await;
    events.assert_one(Level::WARN, &[&node, "node="]);
    events.assert_one(Level::INFO, &[&node, "node="]);
}

#[tokio::test]
async fn that_an_acquisition_keeps_trying_is_told_in_pairs_also_when_it_is_granted_at_last() {
    let events = Events::from_now();
    let server = RedisServer::start();
    let proxy = Proxy::start(&server);
    let locks = unhurried().nodes([proxy.url()]).build().unwrap();
    proxy.refuse();
    let (begins, ends) = (
        |name: &str| events.count(Level::WARN, &[&format!("lock={name}"), "too few nodes can be reached"]),
        |name: &str, how: &str| events.count(Level::INFO, &[&format!("lock={name}"), how]),
    );

    let given_up = locks.lock("told-given-up").timeout(Duration::from_millis(300)).acquire().await;
    assert!(matches!(given_up, Err(Error::QuorumUnreachable { .. })), "{given_up:?}");
    assert_eq!(begins("told-given-up"), 1);
    assert_eq!(ends("told-given-up", "nobody tries any more"), 1);

    let waiting = tokio::spawn(locks.lock("told-granted").acquire());
    eventually_async("it is told that it keeps trying", async || begins("told-granted") > 0).await;
    assert_eq!(ends("told-granted", ""), 0);
    proxy.take();
    waiting.await.unwrap().unwrap().release().await.unwrap();
    assert_eq!(begins("told-granted"), 1);
    assert_eq!(ends("told-granted", "enough nodes can be reached again"), 1);
    assert_eq!(ends("told-granted", ""), 1);
}

/// What somebody writes to direct the terminal of whoever reads it: it clears that, and turns around what comes after it.
const WRITTEN: &str = "mallory\u{1b}[2J\u{202e}";

/// How that is told.
const ESCAPED: &str = r"mallory\u{1b}[2J\u{202e}";

/// Waits for such an event about what was written, and expects that each is escaped.
async fn check_escaped(events: &Events, level: Level, message: &str) {
    let found = || events.find(level, &[message, "mallory"]);
    eventually_async(message, async || !found().is_empty()).await;
    for line in found() {
        assert!(line.contains(ESCAPED) && !line.contains(['\u{1b}', '\u{202e}']), "{line:?}");
    }
}

#[tokio::test]
async fn what_a_server_or_another_client_wrote_directs_no_terminal_by_an_event() {
    let events = Events::from_now();
    let refusal = || Answer::error(&format!("ERR {WRITTEN}"));
    let (ttl, brief) = (Duration::from_secs(6), Timeout::After(Duration::from_secs(3)));

    let server = RedisServer::start();
    let gateway = Gateway::start(&server);
    gateway.answer("HELLO", Answer::error(&format!("WRONGPASS {WRITTEN}")));
    let locks = unhurried().nodes([node_at(gateway.port()).0]).build().unwrap();
    assert!(locks.lock("x").timeout(brief).acquire().await.is_err());
    check_escaped(&events, Level::WARN, "node cannot be reached").await;
    check_escaped(&events, Level::WARN, "too few nodes can be reached").await;

    let gateway = Gateway::start(&server);
    let locks = unhurried().nodes([node_at(gateway.port()).0]).build().unwrap();
    let guard = locks.lock("x").ttl(ttl).acquire().await.unwrap();
    for command in ["EVALSHA", "EVAL"] {
        gateway.answer(command, refusal());
    }
    check_escaped(&events, Level::DEBUG, "extension failed").await;
    check_escaped(&events, Level::DEBUG, "owners of locks were not labelled").await;
    for command in ["EVALSHA", "EVAL"] {
        gateway.answer(command, Answer::Passed);
    }
    drop(guard);

    // Those who wait are listed, in what any client can write to.
    let holder = unhurried().nodes([server.url()]).build().unwrap();
    let locks = unhurried().nodes([gateway.url()]).build().unwrap();
    for (name, command, message) in [
        ("told-unlisted", "TTL", "contended names were not listed"),
        ("told-untidied", "LLEN", "the list of contended names was not tidied"),
    ] {
        let guard = holder.lock(name).acquire().await.unwrap();
        gateway.answer(command, refusal());
        let waiting = tokio::spawn(locks.lock(name).acquire());
        check_escaped(&events, Level::DEBUG, message).await;
        gateway.answer(command, Answer::Passed);
        waiting.abort();
        guard.release().await.unwrap();
    }
    let counter = format!("Waiting.ConfigurableLock.{WRITTEN}");
    let listed = counter.replace('\u{1b}', r"\u001b").replace('\u{202e}', r"\u202e");
    server.probe().append(LIST, &format!("\"{listed}\""));
    server.probe().run::<()>(cmd("HSET").arg(&counter).arg("a").arg("b")).unwrap();
    let _ = holder.statistics().await.unwrap();
    check_escaped(&events, Level::DEBUG, "a waiting counter cannot be read").await;

    // What a report of all nodes shows of them.
    gateway.answer("INFO", Answer::edited(|info| info.replace("redis_version:", &format!("redis_version:{WRITTEN}"))));
    let report = locks.check().await.unwrap().to_string();
    assert!(report.contains(ESCAPED) && !report.contains(['\u{1b}', '\u{202e}']), "{report:?}");
}

#[tokio::test]
async fn a_node_that_hangs_while_a_lock_is_only_renewed_is_told() {
    let servers = Servers::start(3);
    let nodes: Vec<_> = servers.iter().map(|server| node_at(server.port())).collect();
    let locks = unhurried().nodes(nodes.iter().map(|(url, _)| url.clone())).build().unwrap();
    let guard = locks.lock("x").ttl(Duration::from_secs(6)).acquire().await.unwrap();
    eventually_async("it is labelled", async || locks.inspect("x").await.unwrap().owner_label.is_some()).await;
    let events = Events::from_now();
    servers[2].hang();
    let node = &nodes[2].1;
    eventually_async("it is told", async || events.count(Level::WARN, &[node, "node does not answer"]) == 1).await;
    assert!(guard.is_valid());
    servers[2].resume();
    eventually_async("it is told", async || events.count(Level::INFO, &[node, "node answers again"]) == 1).await;
    guard.release().await.unwrap();
}

#[tokio::test]
async fn a_node_is_told_to_be_back_though_the_runtime_that_found_it_down_has_ended() {
    let server = RedisServer::start();
    let (url, node) = node_at(server.port());
    let locks = LockManager::builder().nodes([url]).node_timeout(NO_BUSY_MACHINE).build().unwrap();
    connect_twice(&locks, std::slice::from_ref(&server)).await;
    // Asked on the runtime of whoever calls, and nowhere else.
    let token = locks.lock("x").renew(false).acquire().await.unwrap().detach();
    let ttl = Duration::from_secs(20);
    let events = Events::from_now();
    std::thread::scope(|threads| {
        threads.spawn(|| {
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
                locks.extend(&token, ttl).await.unwrap();
                server.hang();
                let is_told = async || {
                    let _ = locks.extend(&token, ttl).await;
                    events.count(Level::WARN, &[&node, "node does not answer"]) == 1
                };
                eventually_async("it is told", is_told).await;
            });
        });
    });
    server.resume();
    let answers = async || events.count(Level::INFO, &[&node, "node answers again"]) == 1;
    eventually_async("it is told that it answers again", answers).await;
    events.assert_one(Level::WARN, &[&node]);
}

#[tokio::test]
async fn two_processes_that_differ_in_how_many_permits_a_lock_has_are_told_once() {
    let events = Events::from_now();
    let build = || LockManager::builder().nodes(["memory://told-permits"]).build().unwrap();
    let (few, many) = (build(), build());
    let name = "two-or-five";
    for _ in 0..3 {
        for (locks, permits) in [(&few, 2), (&many, 5)] {
            locks.lock(name).permits(permits).acquire().await.unwrap().release().await.unwrap();
        }
    }
    let lock = format!("lock={name}");
    events.assert_one(Level::WARN, &[&lock, "here=2", "elsewhere=5"]);
    events.assert_one(Level::WARN, &[&lock, "here=5", "elsewhere=2"]);
}

#[tokio::test]
async fn what_a_lock_is_called_directs_no_terminal_by_an_event_or_a_report() {
    /// Not text of somebody else alone: names are made from arguments.
    const NAME: &str = "told-\u{202e}named";

    let events = Events::from_now();
    let is_told = async |level, message| {
        let parts = [r"told-\u{202e}named", message];
        eventually_async(message, async || events.count(level, &parts) > 0).await;
        assert_eq!(events.count(level, &[NAME]), 0);
    };
    let server = RedisServer::start();
    let gateway = Gateway::start(&server);
    let locks = unhurried().nodes([node_at(gateway.port()).0]).build().unwrap();
    let guard = locks.lock(NAME).ttl(Duration::from_secs(3)).acquire().await.unwrap();
    for command in ["EVALSHA", "EVAL"] {
        gateway.answer(command, Answer::error("ERR not now"));
    }
    is_told(Level::DEBUG, "extension failed").await;
    is_told(Level::WARN, "lock lost").await;
    assert!(locks.lock(NAME).timeout(Timeout::After(Duration::from_millis(300))).acquire().await.is_err());
    is_told(Level::WARN, "too few nodes can be reached").await;
    is_told(Level::INFO, "nobody tries any more").await;
    for command in ["EVALSHA", "EVAL"] {
        gateway.answer(command, Answer::Passed);
    }
    drop(guard);
    let guard = locks.lock(NAME).acquire().await.unwrap();
    let report = locks.shutdown_within(Duration::from_millis(10)).await;
    assert_eq!(report.still_held, [NAME]);
    let shown = report.to_string();
    assert!(shown.contains(r"`told-\u{202e}named`") && !shown.contains(NAME), "{shown}");
    drop(guard);
}

#[tokio::test]
async fn that_a_server_tells_no_age_is_told_once_however_many_connections_there_are() {
    let server = RedisServer::start();
    let gateway = Gateway::start(&server);
    gateway.answer("INFO", Answer::edited(|info| info.replace("uptime_in_seconds:", "up_for:")));
    let (url, node) = node_at(gateway.port());
    let locks = unhurried().nodes([url]).build().unwrap();
    let events = Events::from_now();
    for _ in 0..3 {
        // The caller's connection, and that of the background, each made anew.
        let guard = locks.lock("x").acquire().await.unwrap();
        assert!(locks.is_locked("x").await.unwrap());
        guard.release().await.unwrap();
        gateway.cut();
        eventually_async("it is asked again", async || locks.lock("x").acquire().await.is_ok()).await;
    }
    events.assert_one(Level::WARN, &[&node, "does not tell its age"]);
}
