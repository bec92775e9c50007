//! Waiters of locks with permits: whom the release of one reaches, whatever the nodes forgot, and whoever held it.

use std::time::Duration;

use redlock_runtime::testing::MemoryNode;
use redlock_runtime::{LockGuard, LockManager, LockManagerBuilder, LockRequest, Timeout};
use redlock_tests::wait::eventually_async;

use crate::common::waiting;

fn builder(prefix: &str) -> LockManagerBuilder {
    LockManager::builder().nodes(["a", "b", "c"].map(|node| format!("memory://{prefix}-{node}")))
}

async fn all_of(request: impl Fn() -> LockRequest, count: usize) -> Vec<LockGuard> {
    let mut guards = Vec::new();
    for _ in 0..count {
        guards.push(request().timeout(Timeout::Skip).acquire().await.expect("one is free"));
    }
    guards
}

/// Of eight permits seven are kept, which one node has forgotten. Whoever waits for the eighth, and was overtaken once, gets it.
#[tokio::test]
async fn a_waiter_gets_the_permit_that_is_free_everywhere_whatever_one_node_forgot() {
    for forgetful in ["a", "b", "c"] {
        let prefix = format!("forgot-{forgetful}");
        let manager = || builder(&prefix).build().unwrap();
        let (jobs, waits, other) = (manager(), manager(), manager());
        let one = |locks: &LockManager| locks.lock("x").permits(8).ttl(Duration::from_secs(60));
        for guard in all_of(|| one(&jobs).min_hold(Duration::from_secs(60)), 7).await {
            guard.release().await.unwrap();
        }
        MemoryNode::named(&format!("{prefix}-{forgetful}")).flush();
        let held = one(&jobs).timeout(Timeout::Skip).acquire().await.expect("the eighth");
        let waiter = tokio::spawn(one(&waits).timeout(Duration::from_secs(20)).acquire());
        eventually_async("it waits", async || waiting(&other, "x").await == 1).await;
        // Another process is quicker this time, or not; then the waiter has it, and everything is said.
        held.release().await.unwrap();
        if let Some(quicker) = one(&other).try_acquire().await.unwrap() {
            quicker.release().await.unwrap();
        }
        waiter.await.unwrap().expect("it is free on all nodes").release().await.unwrap();
    }
}

/// Whichever of those in this process loses its permit, whoever waits here is called: at its expiry, and at its reset.
#[tokio::test]
async fn a_waiter_is_woken_by_the_loss_of_any_permit_that_its_process_holds() {
    for place in 0..2 {
        let locks = builder(&format!("expires-{place}")).slow_poll(Duration::from_secs(100)).build().unwrap();
        let one = || locks.lock("x").permits(2).timeout(Timeout::Skip);
        let mut held = Vec::new();
        for number in 0..2 {
            let lives = if number == place { one().ttl(Duration::from_secs(1)).renew(false) } else { one() };
            held.push(lives.acquire().await.unwrap());
        }
        let waiter = one().timeout(Duration::from_secs(10)).acquire().await;
        waiter.expect("one has expired").release().await.unwrap();
    }
    for place in 0..2 {
        let locks = builder(&format!("reset-{place}")).slow_poll(Duration::from_secs(100)).build().unwrap();
        let one = || locks.lock("x").permits(2);
        let held = all_of(one, 2).await;
        let waiter = tokio::spawn(one().timeout(Duration::from_secs(10)).acquire());
        eventually_async("it waits", async || waiting(&locks, "x").await == 1).await;
        locks.reset_permit("x", held[place].permit()).await.unwrap();
        waiter.await.unwrap().expect("one was reset").release().await.unwrap();
    }
}
