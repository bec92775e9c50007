//! What is told as events: each node's end and return once, however many connections it has, and in pairs.

use std::io::Write;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use redlock_runtime::{Error, LockManager, Timeout};
use redlock_tests::wait::eventually_async;
use redlock_tests::{Proxy, RedisServer, Servers};
use tracing::Level;

/// What is told in this process, on whatever thread.
#[derive(Clone, Default)]
pub(crate) struct Events(Arc<Mutex<Vec<u8>>>);

impl Events {
    /// Those of all tests, from the first call on.
    pub(crate) fn of_all() -> &'static Self {
        static EVENTS: OnceLock<Events> = OnceLock::new();
        EVENTS.get_or_init(|| {
            let events = Self::default();
            let told = Self(Arc::clone(&events.0));
            let subscriber = tracing_subscriber::fmt()
                .with_writer(move || told.clone())
                .with_max_level(Level::DEBUG)
                .with_ansi(false)
                .finish();
            tracing::subscriber::set_global_default(subscriber).expect("no other test hears all threads");
            events
        })
    }

    /// How many events of this level have all of this in them.
    pub(crate) fn count(&self, level: Level, parts: &[&str]) -> usize {
        let events = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(&events);
        let level = format!(" {level} ");
        text.lines().filter(|line| line.contains(&level) && parts.iter().all(|part| line.contains(part))).count()
    }
}

impl Write for Events {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A connection of this runtime and one of the background runtime to each node.
async fn connect_twice(locks: &LockManager, servers: &[RedisServer]) {
    drop(locks.lock("twice").acquire().await.unwrap());
    let is_released = async || servers.iter().all(|server| server.probe().keys_like("redlock:*").is_empty());
    eventually_async("the background has connections too", is_released).await;
}

#[tokio::test]
async fn a_hung_node_is_told_once_and_so_is_that_it_answers_again() {
    let events = Events::of_all();
    let servers = Servers::start(3);
    let locks = LockManager::builder()
        .nodes(servers.urls())
        .node_timeout(Duration::from_millis(100))
        .connect_timeout(Duration::from_millis(300))
        .build()
        .unwrap();
    connect_twice(&locks, &servers).await;
    let node = servers[0].address();
    servers[0].hang();
    let is_given_up = async || {
        drop(locks.lock("x").timeout(Timeout::Skip).acquire().await);
        // Both connections, and attempts to make others.
        events.count(Level::DEBUG, &[&node, "on another connection"]) >= 4
    };
    eventually_async("the node is given up on both connections", is_given_up).await;
    servers[0].resume();
    let answers = async || events.count(Level::INFO, &[&node, "node answers again"]) > 0;
    eventually_async("it is told that it answers again", answers).await;
    assert_eq!(events.count(Level::WARN, &[&node]), 1);
    assert_eq!(events.count(Level::WARN, &[&node, "node does not answer"]), 1);
    assert_eq!(events.count(Level::INFO, &[&node]), 1);
}

#[tokio::test]
async fn a_lost_node_is_told_once_though_it_has_two_connections() {
    let events = Events::of_all();
    let server = RedisServer::start();
    let proxy = Proxy::start(&server);
    let locks = LockManager::builder().nodes([proxy.url()]).build().unwrap();
    connect_twice(&locks, std::slice::from_ref(&server)).await;
    let node = format!("127.0.0.1:{}", proxy.port());
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
    assert_eq!(events.count(Level::WARN, &[&node, "redis://"]), 1);
    proxy.take();
    let answers = async || locks.lock("y").timeout(Timeout::Skip).acquire().await.is_ok();
    eventually_async("it can be locked again", answers).await;
    let is_released = async || server.probe().keys_like("redlock:*").is_empty();
    eventually_async("both connections are there again", is_released).await;
    assert_eq!(events.count(Level::WARN, &[&node, "node="]), 1);
    assert_eq!(events.count(Level::INFO, &[&node, "node="]), 1);
}

#[tokio::test]
async fn that_an_acquisition_keeps_trying_is_told_in_pairs_also_when_it_is_granted_at_last() {
    let events = Events::of_all();
    let server = RedisServer::start();
    let proxy = Proxy::start(&server);
    let locks = LockManager::builder().nodes([proxy.url()]).build().unwrap();
    proxy.refuse();
    let (begins, ends) = (
        |name: &str| events.count(Level::WARN, &[&format!("lock=\"{name}\""), "too few nodes can be reached"]),
        |name: &str, how: &str| events.count(Level::INFO, &[&format!("lock=\"{name}\""), how]),
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
