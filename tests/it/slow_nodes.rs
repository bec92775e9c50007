//! One slow node slows nobody.

use std::time::Duration;

use redlock_runtime::{Error, LockManager};
use redlock_tests::clock::timed;
use redlock_tests::wait::eventually_async;
use redlock_tests::{RedisServer, Servers};

use crate::common::{all_have_x, key, manager, none_has_x};

/// Far longer than anything takes that waits for no hung node.
const PATIENT: Duration = Duration::from_secs(20);

fn patient(servers: &Servers) -> LockManager {
    let builder = LockManager::builder().nodes(servers.urls());
    builder.node_timeout(PATIENT).connect_timeout(PATIENT).build().unwrap()
}

#[tokio::test]
async fn a_hung_minority_costs_nobody_anything() {
    for (count, hung) in [(3, 1), (5, 2)] {
        let servers = Servers::start(count);
        let locks = patient(&servers);
        let guard = locks.lock("x").acquire().await.unwrap();
        // A young fleet would wait for the first connection to a node.
        eventually_async("all have the key", async || servers.holding(&key("x")) == count).await;
        guard.release().await.unwrap();
        servers.iter().take(hung).for_each(RedisServer::hang);
        let ((), took) = timed(async {
            for _ in 0..20 {
                let guard = locks.lock("x").acquire().await.unwrap();
                guard.extend(Duration::from_secs(30)).await.unwrap();
                guard.release().await.unwrap();
            }
        })
        .await;
        assert!(took < PATIENT / 2, "{took:?} with {hung} of {count} hung");
        servers.iter().take(hung).for_each(RedisServer::resume);
        none_has_x(&servers).await;
    }
}

#[tokio::test]
async fn a_node_without_connection_says_no_at_once_also_where_that_decides() {
    let servers = Servers::start(3);
    let locks = patient(&servers);
    let guard = locks.lock("x").renew(false).acquire().await.unwrap();
    all_have_x(&servers).await;
    servers[0].kill();
    servers[1].kill();
    for _ in 0..3 {
        let (extended, took) = timed(guard.extend(Duration::from_secs(30))).await;
        assert!(matches!(extended, Err(Error::QuorumUnreachable { .. })), "{extended:?}");
        assert!(took < PATIENT / 2, "{took:?}");
    }
    let (released, took) = timed(guard.release()).await;
    assert!(matches!(released, Err(Error::QuorumUnreachable { .. })), "{released:?}");
    assert!(took < PATIENT / 2, "{took:?}");
}

#[tokio::test]
async fn the_body_goes_on_while_its_nodes_hang() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    let ttl = Duration::from_secs(6);
    let guard = locks.lock("x").ttl(ttl).acquire().await.unwrap();
    servers.iter().for_each(RedisServer::hang);
    // As long as the lock is valid: what is sent meanwhile, and never answered, takes nothing from the body.
    let mut steps = 0;
    while guard.is_valid() {
        tokio::time::sleep(Duration::from_millis(5)).await;
        steps += 1;
    }
    assert!(steps > 50, "{steps} steps in {ttl:?}");
    servers.iter().for_each(RedisServer::resume);
    drop(guard);
    none_has_x(&servers).await;
}

#[tokio::test]
async fn an_extension_does_not_wait_for_a_hung_node_that_a_renewal_listens_to() {
    let servers = Servers::start(3);
    let (locks, ttl) = (patient(&servers), Duration::from_secs(12));
    let guard = locks.lock("x").ttl(ttl).acquire().await.unwrap();
    eventually_async("it is labelled", async || locks.inspect("x").await.unwrap().owner_label.is_some()).await;
    servers[2].hang();
    // For longer than any extension takes, a renewal listens to the node that hangs: for 2.4 s.
    let mut before = Duration::MAX;
    eventually_async("a renewal has begun", async || {
        let left = servers[0].probe().pttl("redlock:ConfigurableLock.x").remaining().unwrap();
        left > std::mem::replace(&mut before, left)
    })
    .await;
    let (extended, took) = timed(guard.extend(ttl)).await;
    servers[2].resume();
    extended.unwrap();
    assert!(took < ttl / 10, "{took:?}");
}
