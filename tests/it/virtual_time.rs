//! With `memory://` nodes alone a lock lives by the clock of its test's runtime, paused or not.

use std::mem;
use std::time::Duration;

use redlock_runtime::testing::MemoryNode;
use redlock_runtime::{Error, LockManager, Timeout, redlock};
use redlock_tests::clock::timed;
use tokio::time::sleep;

const TTL: Duration = Duration::from_secs(30);
const HOUR: Duration = Duration::from_secs(60 * 60);

/// How much more than promised may pass: the slow poll, and pauses between attempts.
const SLACK: Duration = Duration::from_secs(2);

/// A manager of these nodes in memory, which others of the same names share.
fn manager(test: &str) -> LockManager {
    let nodes = ["a", "b", "c"].map(|node| format!("memory://{test}-{node}"));
    LockManager::builder().nodes(nodes).ttl(TTL).build().unwrap()
}

#[redlock(name = "nightly", timeout = -1, manager = locks)]
async fn for_an_hour(locks: &LockManager) -> Result<u32, Error> {
    sleep(HOUR).await;
    Ok(7)
}

#[redlock(name = "nightly", timeout = -1, manager = locks)]
fn at_once(locks: &LockManager) -> Result<u32, Error> {
    Ok(8)
}

#[tokio::test(start_paused = true)]
async fn a_body_that_sleeps_an_hour_keeps_its_lock() {
    let (locks, others) = (manager("hour"), manager("hour"));
    let mut refused = 0;
    let (ran, ()) = tokio::join!(for_an_hour(&locks), async {
        for _ in 0..HOUR.as_secs() / 10 - 1 {
            sleep(Duration::from_secs(10)).await;
            assert!(others.lock("nightly").try_acquire().await.unwrap().is_none());
            refused += 1;
        }
    });
    assert_eq!((ran.unwrap(), refused), (7, HOUR.as_secs() / 10 - 1));
    assert_eq!(locks.losses(), 0);
    assert!(others.lock("nightly").try_acquire().await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_crashed_holders_key_expires_and_a_waiter_gets_the_lock() {
    let (locks, others) = (manager("crashed"), manager("crashed"));
    // Once at the machine's time, and once far ahead of it.
    for _ in 0..2 {
        mem::forget(locks.lock("x").renew(false).acquire().await.unwrap());
        let (next, waited) = timed(others.lock("x").timeout(2 * TTL).acquire()).await;
        assert!(waited + SLACK > TTL && waited < TTL + SLACK, "{waited:?}");
        next.unwrap().release().await.unwrap();
        sleep(HOUR).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_waiter_waits_as_long_as_its_timeout_says() {
    let (locks, others) = (manager("timeout"), manager("timeout"));
    let guard = locks.lock("x").acquire().await.unwrap();
    for waiting in [&locks, &others] {
        let timeout = HOUR / 2;
        let (refused, waited) = timed(waiting.lock("x").timeout(timeout).acquire()).await;
        assert!(matches!(refused, Err(Error::NotAcquired { .. })), "{refused:?}");
        assert!(waited >= timeout && waited < timeout + SLACK, "{waited:?}");
    }
    assert!(guard.is_valid());
}

#[tokio::test(start_paused = true)]
async fn a_key_stays_for_its_min_hold_and_not_longer() {
    let (locks, others) = (manager("min-hold"), manager("min-hold"));
    sleep(HOUR).await;
    let least = Duration::from_secs(120);
    for drops in [false, true] {
        let guard = locks.lock("x").min_hold(least).acquire().await.unwrap();
        if drops {
            drop(guard);
        } else {
            guard.release().await.unwrap();
        }
        let (next, waited) = timed(others.lock("x").acquire()).await;
        assert!(waited + SLACK > least && waited < least + SLACK, "{waited:?}");
        next.unwrap().release().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_guard_and_a_dropped_attempt_are_released_before_time_goes_on() {
    let (locks, others) = (manager("dropped"), manager("dropped"));
    for _ in 0..10 {
        drop(locks.lock("x").acquire().await.unwrap());
        let (next, waited) = timed(others.lock("x").timeout(Duration::from_secs(1)).acquire()).await;
        assert_eq!(waited, Duration::ZERO);
        drop(next.unwrap());
    }
    let task = tokio::spawn({
        let locks = locks.clone();
        async move { for_an_hour(&locks).await }
    });
    sleep(Duration::from_secs(60)).await;
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    let (next, waited) = timed(others.lock("nightly").try_acquire()).await;
    assert!(next.unwrap().is_some());
    assert_eq!(waited, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_cannot_be_renewed_is_lost_in_time() {
    let locks = manager("lost");
    let guard = locks.lock("x").acquire().await.unwrap();
    sleep(HOUR).await;
    assert!(guard.is_valid());
    for node in ["lost-a", "lost-b"] {
        MemoryNode::named(node).go_down();
    }
    let (lost, took) = timed(guard.lost()).await;
    assert!(matches!(lost, Error::Lost { .. }), "{lost:?}");
    assert!(took <= TTL && took > TTL / 2, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn blocking_calls_begin_at_the_runtimes_time() {
    let (locks, others) = (manager("blocking"), manager("blocking"));
    for _ in 0..2 {
        assert_eq!(at_once(&locks).unwrap(), 8);
        assert_eq!(locks.losses(), 0);
        let guard = locks.lock("x").acquire_blocking().unwrap();
        assert!(guard.remaining() <= TTL && guard.remaining() + SLACK > TTL, "{:?}", guard.remaining());
        assert!(others.lock("x").try_acquire_blocking().unwrap().is_none());
        sleep(HOUR).await;
        assert!(guard.is_valid());
        assert!(others.lock("x").try_acquire_blocking().unwrap().is_none());
        let waiting = others.lock("x").timeout(Duration::from_millis(20));
        assert!(matches!(waiting.acquire_blocking(), Err(Error::NotAcquired { .. })));
        assert!(others.is_locked_blocking("x").unwrap());
        guard.release_blocking().unwrap();
        assert!(!others.is_locked_blocking("x").unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn what_people_see_is_of_the_same_time() {
    let (locks, others) = (manager("seen"), manager("seen"));
    sleep(HOUR).await;
    let guard = locks.lock("x").owner_label("the test").acquire().await.unwrap();
    sleep(Duration::from_secs(10)).await;
    let seen = others.inspect("x").await.unwrap();
    assert_eq!(seen.owner_label.as_deref(), Some("the test"));
    let held_for = seen.held_for.unwrap();
    assert!((Duration::from_secs(10)..Duration::from_secs(11)).contains(&held_for), "{held_for:?}");
    assert!(seen.remaining.is_some_and(|remaining| remaining <= TTL), "{seen:?}");
    let waiting = tokio::spawn(others.lock("x").acquire());
    sleep(Duration::from_secs(100)).await;
    assert_eq!(locks.inspect("x").await.unwrap().waiting, 1);
    drop(guard);
    let began = tokio::time::timeout(SLACK, locks.shutdown()).await;
    assert!(began.is_ok(), "a shutdown takes no time by which others could be cut off");
    waiting.await.unwrap().unwrap().release().await.unwrap();
}

#[tokio::test]
async fn a_clock_that_is_not_paused_is_the_machines() {
    let (locks, others) = (manager("real"), manager("real"));
    let ttl = Duration::from_millis(300);
    let began = redlock_tests::clock::now();
    mem::forget(locks.lock("x").ttl(ttl).renew(false).acquire().await.unwrap());
    let next = others.lock("x").acquire().await;
    let waited = began.elapsed();
    assert!(waited > ttl / 2, "{waited:?}");
    let guard = next.unwrap();
    assert!(others.lock("x").timeout(Timeout::Skip).acquire().await.is_err());
    guard.release().await.unwrap();
}
