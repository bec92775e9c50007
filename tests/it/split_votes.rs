//! Of several who ask at once for a lock that is free, one gets it.

use std::sync::Arc;
use std::time::Duration;

use redlock_tests::Servers;
use redlock_tests::clock::timed;
use tokio::sync::Barrier;

use crate::common::waiters::{LONG, PROMPT, run};
use crate::common::{key, manager, none_has_x};

/// Contenders that do not wait, with managers of their own as in processes of their own.
const CONTENDERS: usize = 4;

async fn check(servers: &Servers, rounds: usize) {
    let managers: Vec<_> = (0..CONTENDERS).map(|_| manager(servers)).collect();
    for round in 0..rounds {
        let barrier = Arc::new(Barrier::new(CONTENDERS));
        let contend = |locks: &redlock_runtime::LockManager| {
            let (request, barrier) = (locks.lock("x").ttl(Duration::from_secs(60)), Arc::clone(&barrier));
            tokio::spawn(async move {
                barrier.wait().await;
                request.try_acquire().await.unwrap()
            })
        };
        let contenders: Vec<_> = managers.iter().map(contend).collect();
        let mut guards = Vec::new();
        for contender in contenders {
            guards.extend(contender.await.unwrap());
        }
        assert_eq!(guards.len(), 1, "in round {round}");
        for guard in guards {
            guard.release().await.unwrap();
        }
        none_has_x(servers).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn among_contenders_who_do_not_wait_exactly_one_gets_a_free_lock() {
    for count in [3, 5] {
        check(&Servers::start(count), 40).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn also_when_a_node_is_down() {
    let servers = Servers::start(3);
    servers[1].kill();
    check(&servers, 40).await;
}

/// Somebody's key is on one node alone: he died, or his release does not come through. Whoever has lost a race asks one node first, and
/// nothing happens on that one.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_key_that_was_left_on_one_node_keeps_nobody_from_the_lock_who_waits() {
    for (node, names) in
        [(0, &["x"][..]), (1, &["x"]), (2, &["x"]), (0, &["x", "y"]), (1, &["x", "y"]), (2, &["x", "y"])]
    {
        let servers = Servers::start(3);
        run(&servers[node].probe(), &["SET", &key("x"), "somebody", "PX", "60000"]);
        let contender = |locks: redlock_runtime::LockManager| {
            tokio::spawn(async move {
                for turn in 0..15 {
                    let (guard, took) = timed(locks.lock_all(names.iter().copied()).ttl(LONG).acquire()).await;
                    assert!(took < PROMPT, "left on {node}, turn {turn}: {took:?}");
                    guard.unwrap().release().await.unwrap();
                }
            })
        };
        let contenders: Vec<_> = (0..CONTENDERS).map(|_| contender(manager(&servers))).collect();
        for contender in contenders {
            contender.await.unwrap();
        }
    }
}
