//! Votes that count once replicas have them.

use std::time::Duration;

use redlock_runtime::{Error, LockManager, Timeout};
use redlock_tests::wait::{eventually, eventually_async};
use redlock_tests::{RedisServer, Servers};

use crate::common::key;
use crate::common::{causes, unhurried};

/// A master with a replica that is in step.
fn followed() -> (RedisServer, RedisServer) {
    let (master, replica) = (RedisServer::start(), RedisServer::start());
    replica.probe().replica_of(master.port());
    eventually("the replica is in step", || {
        let info = master.probe().info("replication");
        info.get("slave0").is_some_and(|replica| replica.contains("state=online"))
    });
    (master, replica)
}

#[tokio::test]
async fn a_granted_lock_is_on_the_replica() {
    let (master, replica) = followed();
    let locks = unhurried().nodes([master.url()]).wait_replicas(1, Duration::from_millis(200)).build().unwrap();
    for number in 0..100 {
        let name = format!("x{number}");
        let guard = locks.lock(&name).acquire().await.unwrap();
        assert!(replica.probe().exists(&key(&name)), "the replica has it as soon as it is held");
        guard.release().await.unwrap();
    }
}

#[tokio::test]
async fn many_are_granted_at_once() {
    let (master, _replica) = followed();
    let locks = unhurried().nodes([master.url()]).wait_replicas(1, Duration::from_millis(200)).build().unwrap();
    let tasks: Vec<_> = (0..100)
        .map(|number| {
            let request = locks.lock(format!("x{number}"));
            tokio::spawn(async move { request.acquire().await.unwrap().release().await.unwrap() })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

#[tokio::test]
async fn without_enough_replicas_there_is_no_vote_and_nothing_stays() {
    let (master, replica) = followed();
    let locks = unhurried().nodes([master.url()]).wait_replicas(1, Duration::from_millis(100)).build().unwrap();
    let held = locks.lock("held").acquire().await.unwrap();
    replica.hang();
    let refused = locks.lock("x").timeout(Timeout::Skip).acquire().await.unwrap_err();
    assert!(matches!(refused, Error::QuorumUnreachable { .. }), "{refused}");
    assert!(causes(&refused).contains("only 0 of the 1 replicas"), "{}", causes(&refused));
    eventually_async("nothing stays", async || !master.probe().exists(&key("x"))).await;
    let extended = held.extend(Duration::from_secs(60)).await;
    assert!(matches!(extended, Err(Error::QuorumUnreachable { .. })), "{extended:?}");
    replica.resume();
    let guard = locks.lock("x").timeout(Timeout::After(Duration::from_secs(10))).acquire().await.unwrap();
    guard.release().await.unwrap();
    held.release().await.unwrap();
}

#[tokio::test]
async fn a_minority_without_replicas_costs_nobody_a_lock() {
    let ((first, _one), (second, _other)) = (followed(), followed());
    let alone = Servers::start(1);
    let urls = [first.url(), second.url(), alone[0].url()];
    let locks = unhurried().nodes(urls).wait_replicas(1, Duration::from_millis(200)).build().unwrap();
    let guard = locks.lock("x").acquire().await.unwrap();
    guard.release().await.unwrap();
}

#[tokio::test]
async fn a_connection_on_which_replicas_are_counted_may_end_at_any_time() {
    let (master, _replica) = followed();
    let locks = unhurried().nodes([master.url()]).wait_replicas(1, Duration::from_millis(200)).build().unwrap();
    // A replica that is new may not answer for a moment.
    locks.lock("x").acquire().await.unwrap().release().await.unwrap();
    for _ in 0..3 {
        locks.lock("x").try_acquire().await.unwrap().expect("nobody has it").release().await.unwrap();
        let clients = master.probe().client_list();
        let counting = clients.iter().find(|client| client.contains(" cmd=wait ")).expect("replicas were counted");
        let id = counting.split(' ').find_map(|field| field.strip_prefix("id=")).unwrap();
        master.probe().run::<u64>(redis::cmd("CLIENT").arg("KILL").arg("ID").arg(id)).unwrap();
    }
}

#[test]
fn what_cannot_be_waited_for_is_refused_with_the_cure() {
    let builder = || LockManager::builder().nodes(["redis://127.0.0.1"]);
    for (builder, expect) in [
        (builder().wait_replicas(0, Duration::from_millis(1)), "at least one replica"),
        (builder().wait_replicas(1, Duration::from_secs(1)), "less than the node_timeout"),
        (LockManager::builder().nodes(["memory://"]).wait_replicas(1, Duration::from_millis(1)), "has no replicas"),
    ] {
        let error = builder.build().unwrap_err().to_string();
        assert!(error.contains(expect), "{error}");
    }
}
