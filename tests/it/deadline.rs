//! A caller's time is his own: whatever the nodes do, he is back when it is over.

use std::time::Duration;

use redlock_runtime::testing::MemoryNode;
use redlock_runtime::{Error, LockManager};
use redlock_tests::clock::timed;
use redlock_tests::proxy::{Direction, Flow};
use redlock_tests::{Proxy, RedisServer, Servers};

use crate::common::{key, none_has_x};

const LIMIT: Duration = Duration::from_millis(50);
const NODE_TIMEOUT: Duration = Duration::from_millis(250);

/// What one of three nodes does.
#[derive(Clone, Copy, Debug)]
enum Node {
    Grants,
    Refuses,
    Hangs,
}
use Node::{Grants, Hangs, Refuses};

/// Asks nodes that behave like this with the limit; returns the error, after at most this long.
async fn check(label: &str, behaviour: [Node; 3], at_most: Duration) -> Error {
    let names = [1, 2, 3].map(|node| format!("deadline-{label}-{node}"));
    let urls = names.clone().map(|name| format!("memory://{name}"));
    let locks = LockManager::builder().nodes(urls).node_timeout(NODE_TIMEOUT).build().unwrap();
    let nodes = names.map(|name| MemoryNode::named(&name));
    for (node, does) in nodes.iter().zip(behaviour) {
        match does {
            Grants => {}
            Refuses => node.give_to(&key("x"), "somebody", Duration::from_secs(60)),
            Hangs => node.hang(),
        }
    }
    let (acquired, took) = timed(locks.lock("x").timeout(LIMIT).acquire()).await;
    let error = acquired.unwrap_err();
    assert!(took >= LIMIT && took <= at_most, "{took:?} with {behaviour:?}");

    nodes.iter().for_each(MemoryNode::recover);
    locks.shutdown().await;
    for node in nodes {
        let owner = node.owner_of(&key("x"));
        assert!(owner.is_none() || owner.as_deref() == Some("somebody"), "{owner:?} with {behaviour:?}");
    }
    error
}

/// A timer is up to a millisecond late, and an attempt has two.
const ALMOST_AT_ONCE: Duration = Duration::from_millis(55);

#[tokio::test(start_paused = true)]
async fn whoever_waits_shorter_than_a_node_may_take_is_back_in_time() {
    for (label, behaviour) in
        [("hung", [Hangs; 3]), ("majority", [Grants, Hangs, Hangs]), ("refused", [Refuses, Hangs, Hangs])]
    {
        let error = check(label, behaviour, ALMOST_AT_ONCE).await;
        assert!(matches!(error, Error::QuorumUnreachable { .. }), "{error} with {behaviour:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_a_majority_names_is_the_reason_also_when_the_time_is_short() {
    let error = check("held", [Refuses, Refuses, Hangs], ALMOST_AT_ONCE).await;
    assert!(matches!(error, Error::NotAcquired { .. }), "{error}");
}

#[tokio::test]
async fn hung_servers_keep_nobody_longer_than_he_wants_whether_there_are_connections_or_not() {
    let servers = Servers::start(3);
    let patient = Duration::from_secs(4);
    let locks = || LockManager::builder().nodes(servers.urls()).node_timeout(patient).connect_timeout(patient).build();
    let (cold, warm) = (locks().unwrap(), locks().unwrap());
    warm.lock("x").acquire().await.unwrap().release().await.unwrap();
    servers.iter().for_each(RedisServer::hang);
    for locks in [&cold, &warm] {
        let (acquired, took) = timed(locks.lock("x").timeout(LIMIT).acquire()).await;
        assert!(matches!(acquired, Err(Error::QuorumUnreachable { .. })), "{acquired:?}");
        assert!(took < patient / 2, "{took:?}");
    }
    servers.iter().for_each(RedisServer::resume);
    none_has_x(&servers).await;
}

#[tokio::test]
async fn a_node_is_not_taken_to_be_late_because_somebody_was_in_a_hurry() {
    let servers = Servers::start(3);
    let proxies: Vec<_> = servers.iter().map(Proxy::start).collect();
    let urls = proxies.iter().map(Proxy::url);
    let locks = LockManager::builder().nodes(urls).node_timeout(Duration::from_secs(4)).build().unwrap();
    let guard = locks.lock("held").renew(false).acquire().await.unwrap();
    for proxy in &proxies {
        proxy.set(Direction::Replies, Flow::Delay(LIMIT * 4));
    }
    let error = locks.lock("x").timeout(LIMIT).acquire().await.unwrap_err();
    assert!(matches!(error, Error::QuorumUnreachable { .. }), "{error}");
    guard.extend(Duration::from_secs(30)).await.unwrap();
    guard.release().await.unwrap();
}
