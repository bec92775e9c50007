//! What the tests of several files use.

pub(crate) mod counters;
pub(crate) mod cycles;
pub(crate) mod events;
pub(crate) mod foreign;
pub(crate) mod kinds;
pub(crate) mod once;
pub(crate) mod polls;
pub(crate) mod recorder;
pub(crate) mod seen;
pub(crate) mod waiters;

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client};
use redlock_runtime::{LockManager, LockManagerBuilder};
use redlock_tests::wait::{LIMIT, eventually_async};
pub(crate) use redlock_tests::{NODE_TIMEOUT, unhurried};
use redlock_tests::{Probe, RedisServer, Servers};

/// The key of a lock, as configurable-redlock writes it.
pub(crate) fn key(name: &str) -> String {
    format!("redlock:ConfigurableLock.{name}")
}

/// What probes ask; nothing of ours ends a connection's handshake with one of these, or locks by it.
const PROBES: [&str; 6] = ["client|list", "get", "scan", "pttl", "exists", "dbsize"];

/// How many connections a server has that are not of probes, which live for one command, and which the server may not have seen close.
pub(crate) fn connections(probe: &Probe) -> usize {
    let is_probe = |client: &&String| PROBES.iter().any(|asked| client.contains(&format!(" cmd={asked} ")));
    probe.client_list().iter().filter(|client| !is_probe(client)).count()
}

/// A slow poll that is rare: whoever gets a lock much sooner was woken, however slow the machine is. A node that was too busy to
/// answer the first attempt is asked with the next poll.
pub(crate) const RARE_POLL: Duration = Duration::from_secs(10);

/// A connection of a client that knows nothing of ours. That client's own patience, half a second, would end before a busy machine answers.
pub(crate) async fn client_of_its_own(server: &RedisServer) -> MultiplexedConnection {
    let patient = AsyncConnectionConfig::new().set_response_timeout(Some(LIMIT)).set_connection_timeout(Some(LIMIT));
    Client::open(server.url()).unwrap().get_multiplexed_async_connection_with_config(&patient).await.unwrap()
}

/// One that gives busy servers time to answer.
pub(crate) fn manager(servers: &Servers) -> LockManager {
    unhurried().nodes(servers.urls()).slow_poll(RARE_POLL).build().unwrap()
}

/// One that gives servers that hang no more time than it does by default.
pub(crate) fn prompt(servers: &Servers) -> LockManager {
    LockManager::builder().nodes(servers.urls()).slow_poll(RARE_POLL).build().unwrap()
}

/// Waits until each of the servers has the key of "x": a lock is held, or not, as soon as a majority has decided.
#[track_caller]
pub(crate) fn all_have_x(servers: &Servers) -> impl Future<Output = ()> {
    eventually_async("all nodes have it", async || servers.holding(&key("x")) == servers.len())
}

/// Waits until none of them has.
#[track_caller]
pub(crate) fn none_has_x(servers: &Servers) -> impl Future<Output = ()> {
    eventually_async("no node has it any more", async || servers.holding(&key("x")) == 0)
}

/// All that is done with locks, on whatever nodes.
pub(crate) async fn a_lock_lives(builder: LockManagerBuilder) {
    let builder = builder.node_timeout(NODE_TIMEOUT);
    a_lock_of_keys_lives(builder.clone()).await;
    a_shared_lock_lives(&builder.clone().build().unwrap(), &builder.build().unwrap()).await;
}

/// The same of all kinds whose keys expire by themselves; each reader of a lock expires by the clock of the server.
pub(crate) async fn a_lock_of_keys_lives(builder: LockManagerBuilder) {
    let builder = builder.node_timeout(NODE_TIMEOUT);
    let (locks, elsewhere) = (builder.clone().build().unwrap(), builder.build().unwrap());
    let guard = locks.lock("life").ttl(Duration::from_secs(20)).acquire().await.expect("the lock is free");
    let earlier = guard.fencing_token();
    guard.extend(Duration::from_secs(30)).await.expect("it is held");
    assert!(locks.lock("life").try_acquire().await.expect("the nodes answer").is_none());
    assert!(locks.is_locked("life").await.unwrap());
    eventually_async("its owner is noted", async || locks.inspect("life").await.unwrap().owner_label.is_some()).await;
    assert_eq!(listed(&locks).await, ["life"]);

    let request = locks.lock("life").timeout(Duration::from_secs(20));
    let waiter = tokio::spawn(async move { request.acquire().await });
    eventually_async("the waiter is counted", async || waiting(&elsewhere, "life").await == 1).await;
    guard.release().await.expect("it was held");
    let guard = waiter.await.unwrap().expect("it was released");
    assert!(guard.fencing_token() > earlier);

    let token = guard.detach();
    assert!(locks.lock("life").try_acquire().await.unwrap().is_none());
    locks.release(&token).await.expect("the token is the owner's");
    let guard = locks.lock("life").renew(false).acquire().await.unwrap();
    assert!(locks.reset("life").await.unwrap() > 0);
    assert!(!locks.is_locked("life").await.unwrap());
    drop(guard);
    a_permit_lives(&locks, &elsewhere).await;
    names_live(&locks, &elsewhere).await;
}

async fn a_permit_lives(locks: &LockManager, elsewhere: &LockManager) {
    let permit = |locks: &LockManager| locks.lock("permits").permits(2).ttl(Duration::from_secs(20));
    let (one, other) = (permit(locks).acquire().await.unwrap(), permit(elsewhere).acquire().await.unwrap());
    assert_ne!(one.permit(), other.permit());
    one.extend(Duration::from_secs(30)).await.expect("it is held");
    assert!(permit(locks).try_acquire().await.expect("the nodes answer").is_none());
    assert_eq!(listed(locks).await, ["permits"]);
    let request = permit(elsewhere).timeout(Duration::from_secs(20));
    let waiter = tokio::spawn(request.acquire());
    eventually_async("the waiter is counted", async || waiting(locks, "permits").await == 1).await;
    let permit = one.permit();
    one.release().await.expect("it was held");
    let guard = waiter.await.unwrap().expect("one was released");
    assert_eq!(guard.permit(), permit);
    let taken = locks.inspect("permits").await.unwrap().permits.iter().filter(|permit| permit.is_taken()).count();
    assert_eq!(taken, 2);
    assert!(locks.reset_permit("permits", permit).await.unwrap() > 0);
    assert!(locks.reset("permits").await.unwrap() > 0);
    drop((guard, other));
}

async fn a_shared_lock_lives(locks: &LockManager, elsewhere: &LockManager) {
    let read = |locks: &LockManager| locks.read("shared").ttl(Duration::from_secs(20));
    let write = |locks: &LockManager| locks.write("shared").ttl(Duration::from_secs(20));
    let (one, other) = (read(locks).acquire().await.unwrap(), read(elsewhere).acquire().await.unwrap());
    one.extend(Duration::from_secs(30)).await.expect("it is held");
    assert!(write(elsewhere).try_acquire().await.expect("the nodes answer").is_none());
    assert_eq!(listed(locks).await, ["shared"]);
    let waiter = tokio::spawn(write(elsewhere).timeout(Duration::from_secs(20)).acquire());
    eventually_async("the waiter is counted", async || waiting(locks, "shared").await == 1).await;
    one.release().await.expect("it was held");
    other.release().await.expect("it was held");
    let writer = waiter.await.unwrap().expect("nobody reads any more");
    assert!(read(locks).try_acquire().await.expect("the nodes answer").is_none());
    assert_eq!(listed(locks).await, ["shared"]);
    let reader = writer.downgrade().await.expect("it is held");
    let other = read(locks).acquire().await.expect("nobody writes any more");
    let readers = async || locks.inspect("shared").await.unwrap().shared.map(|shared| shared.readers);
    eventually_async("both are seen", async || readers().await == Some(2)).await;
    assert!(elsewhere.reset("shared").await.unwrap() > 0);
    assert_eq!(listed(locks).await, [""; 0]);
    drop((reader, other));
}

async fn names_live(locks: &LockManager, elsewhere: &LockManager) {
    let all = |locks: &LockManager| locks.lock_all(["one", "other", "third"]).ttl(Duration::from_secs(20));
    let guard = all(locks).acquire().await.expect("they are free");
    guard.extend(Duration::from_secs(30)).await.expect("they are held");
    assert!(elsewhere.lock("other").try_acquire().await.expect("the nodes answer").is_none());
    assert_eq!(listed(locks).await, ["one", "other", "third"]);
    let waiter = tokio::spawn(all(elsewhere).timeout(Duration::from_secs(20)).acquire());
    eventually_async("the waiter is counted", async || waiting(locks, guard.name()).await == 1).await;
    let earlier = guard.fencing_token();
    guard.release().await.expect("they were held");
    let guard = waiter.await.unwrap().expect("they were released");
    assert!(guard.fencing_token() > earlier);
    assert!(locks.reset("other").await.unwrap() > 0);
    elsewhere.lock("other").acquire().await.expect("it was taken from them").release().await.expect("it is held");
    drop(guard);
}

/// The names of all locks.
pub(crate) async fn listed(locks: &LockManager) -> Vec<String> {
    let (mut names, mut listed) = (locks.list(), Vec::new());
    while let Some(name) = names.next().await {
        listed.push(name.expect("the nodes answer"));
    }
    listed.sort_unstable();
    listed
}

/// How many wait for a lock, as the nodes say.
pub(crate) async fn waiting(locks: &LockManager, name: &str) -> u64 {
    let statistics = locks.statistics().await.expect("the nodes answer");
    statistics.get(name).map_or(0, |waiting| waiting.everywhere)
}

/// An error with all its causes.
pub(crate) fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
