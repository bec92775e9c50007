//! Who gets a lock, who waits for it and who is refused, on real servers.

use std::time::Duration;

use redlock_runtime::{Error, Timeout};
use redlock_tests::Servers;
use redlock_tests::wait::{LIMIT, eventually_async};

use crate::common::waiters::Asked;
use crate::common::{key, manager};

#[tokio::test]
async fn a_held_lock_is_a_uuid_on_every_node_with_the_ttl_and_nothing_after_its_release() {
    for count in [1, 3, 5] {
        let servers = Servers::start(count);
        let locks = manager(&servers);
        let guard = locks.lock("report").ttl(Duration::from_secs(20)).acquire().await.unwrap();
        assert!(guard.is_valid());
        eventually_async("every node holds the key", async || servers.holding(&key("report")) == count).await;
        for server in &servers {
            let owner = server.probe().get(&key("report")).unwrap();
            assert!(is_uuid_v4(&owner), "{owner}");
            let remaining = server.probe().pttl(&key("report")).remaining().unwrap();
            assert!(remaining <= Duration::from_secs(20) && remaining > Duration::from_secs(15), "{remaining:?}");
        }
        guard.release().await.unwrap();
        eventually_async("no node holds the key", async || servers.holding(&key("report")) == 0).await;
    }
}

fn is_uuid_v4(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() == 36 && bytes[14] == b'4' && text.split('-').count() == 5
}

#[tokio::test]
async fn whoever_does_not_wait_is_refused_while_the_lock_is_held() {
    let servers = Servers::start(3);
    let (locks, others) = (manager(&servers), manager(&servers));
    let guard = locks.lock("x").acquire().await.unwrap();
    assert!(others.lock("x").try_acquire().await.unwrap().is_none());
    let error = others.lock("x").timeout(Timeout::Skip).acquire().await.unwrap_err();
    assert!(matches!(&error, Error::NotAcquired { name, .. } if name == "x"), "{error}");
    guard.release().await.unwrap();
    others.lock("x").try_acquire().await.unwrap().expect("it is free").release().await.unwrap();
}

#[tokio::test]
async fn a_waiter_gets_the_lock_after_its_release() {
    let servers = Servers::start(3);
    let (locks, others) = (manager(&servers), manager(&servers));
    let guard = locks.lock("x").acquire().await.unwrap();
    let asked = Asked::so_far(&servers);
    let waiter = tokio::spawn(others.lock("x").timeout(LIMIT).acquire());
    asked.again().await;
    assert!(!waiter.is_finished());
    guard.release().await.unwrap();
    waiter.await.unwrap().unwrap().release().await.unwrap();
}

#[tokio::test]
async fn a_waiter_gives_up_when_its_time_is_over() {
    let servers = Servers::start(3);
    let (locks, others) = (manager(&servers), manager(&servers));
    let _guard = locks.lock("x").acquire().await.unwrap();
    // Long enough to connect and to be refused on a busy machine.
    let limit = Duration::from_secs(2);
    match others.lock("x").timeout(limit).acquire().await.unwrap_err() {
        Error::NotAcquired { waited, .. } => assert!(waited >= limit && waited < LIMIT, "{waited:?}"),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_minority_of_dead_nodes_is_not_noticed() {
    let servers = Servers::start(3);
    servers[2].kill();
    let (locks, others) = (manager(&servers), manager(&servers));
    let guard = locks.lock("x").acquire().await.unwrap();
    assert!(others.lock("x").try_acquire().await.unwrap().is_none());
    guard.release().await.unwrap();
}

#[tokio::test]
async fn a_majority_of_dead_nodes_is_an_error_that_says_how_many_answered() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    servers[0].kill();
    servers[2].kill();
    let error = locks.lock("x").try_acquire().await.unwrap_err();
    let Error::QuorumUnreachable { granted, needed, nodes, source, .. } = &error else { panic!("{error}") };
    assert_eq!((*granted, *needed, *nodes, source.len()), (1, 2, 3, 2));
    assert!(error.to_string().contains("1 of 3 nodes answered"), "{error}");
    assert!(source.to_string().contains(&servers[0].port().to_string()), "{source}");
    eventually_async("the one grant is given back", async || servers[1].probe().keys_like("redlock:*").is_empty())
        .await;
}

#[tokio::test]
async fn a_lock_held_by_one_node_less_than_a_majority_is_free() {
    let servers = Servers::start(5);
    for server in servers.iter().take(2) {
        server.probe().set(&key("x"), "somebody");
    }
    let guard = manager(&servers).lock("x").try_acquire().await.unwrap().expect("three of five are free");
    guard.release().await.unwrap();
    let left: Vec<_> = servers.values(&key("x")).into_iter().flatten().collect();
    assert_eq!(left, ["somebody", "somebody"]);
}

#[tokio::test]
async fn a_refused_attempt_leaves_nothing_on_the_nodes_that_were_free() {
    let servers = Servers::start(5);
    for server in servers.iter().take(3) {
        server.probe().set(&key("x"), "somebody");
    }
    assert!(manager(&servers).lock("x").try_acquire().await.unwrap().is_none());
    eventually_async("both grants are given back", async || servers.holding(&key("x")) == 3).await;
}

#[test]
fn blocking_calls_work_on_a_plain_thread_and_in_every_kind_of_runtime() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    let cycle = || {
        let guard = locks.lock("x").acquire_blocking().unwrap();
        assert!(locks.lock("x").try_acquire_blocking().unwrap().is_none());
        guard.release_blocking().unwrap();
    };
    cycle();
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async { cycle() });
    let many = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    many.block_on(async { tokio::spawn(async {}).await.unwrap() });
    many.block_on(async { cycle() });
    let in_a_task = locks.clone();
    many.block_on(async move {
        tokio::spawn(async move {
            for _ in 0..300 {
                let guard = in_a_task.lock("y").acquire_blocking().unwrap();
                guard.release_blocking().unwrap();
            }
        })
        .await
        .unwrap();
    });
}

#[test]
fn a_manager_outlives_the_runtimes_it_is_used_on() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    for _ in 0..5 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { locks.lock("x").acquire().await.unwrap().release().await.unwrap() });
    }
}

#[test]
fn an_executor_that_is_not_tokio_will_do() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    futures::executor::block_on(async {
        let guard = locks.lock("x").acquire().await.unwrap();
        assert!(locks.lock("x").timeout(Duration::from_millis(50)).acquire().await.is_err());
        guard.release().await.unwrap();
    });
}
