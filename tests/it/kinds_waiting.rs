//! Whoever waits for a lock of whatever kind gives up when his time is over, is counted meanwhile, and is skipped if he says so.

use std::time::Duration;

use redlock_runtime::{Error, LockGuard, LockManager, LockRequest, Timeout, redlock};
use redlock_tests::Servers;
use redlock_tests::clock::timed;
use redlock_tests::wait::{LIMIT, eventually_async};

use crate::common::kinds::Kind;
use crate::common::waiters::LONG;
use crate::common::{manager, waiting};

/// Those who keep everybody from it.
async fn in_the_way(kind: Kind, locks: &LockManager) -> Vec<LockGuard> {
    let requests = match kind {
        Kind::Mutex | Kind::Write => vec![kind.request(locks)],
        Kind::Permits => vec![kind.request(locks), kind.request(locks)],
        Kind::Read => vec![Kind::Write.request(locks)],
        Kind::Names => vec![locks.lock("y")],
    };
    let mut guards = Vec::new();
    for request in requests {
        guards.push(request.ttl(LONG).acquire().await.unwrap());
    }
    guards
}

/// Under which name those are counted who wait for it.
fn counted_as(kind: Kind) -> &'static str {
    if kind == Kind::Names { "x + y" } else { "x" }
}

fn wants(kind: Kind, locks: &LockManager) -> LockRequest {
    kind.request(locks).ttl(LONG)
}

#[tokio::test]
async fn whoever_waits_gives_up_in_time_is_counted_meanwhile_and_gets_it_when_it_is_free() {
    let servers = Servers::start(3);
    let (locks, others) = (manager(&servers), manager(&servers));
    for kind in Kind::ALL {
        let guards = in_the_way(kind, &others).await;
        assert!(wants(kind, &locks).try_acquire().await.unwrap().is_none(), "{kind:?}");
        // Longer than a busy machine takes to answer: an attempt that is cut short says nothing about the lock.
        let timeout = Duration::from_secs(1);
        let (given_up, took) = timed(wants(kind, &locks).timeout(timeout).acquire()).await;
        let error = given_up.unwrap_err();
        assert!(matches!(&error, Error::NotAcquired { name, .. } if name == counted_as(kind)), "{kind:?}: {error}");
        assert!(took >= timeout && took < LIMIT, "{kind:?}: {took:?}");

        let waiter = tokio::spawn(wants(kind, &locks).timeout(LIMIT).acquire());
        let elsewhere = tokio::spawn(wants(kind, &locks).stats_name("elsewhere").timeout(LIMIT).acquire());
        let is_counted =
            async || waiting(&others, counted_as(kind)).await == 1 && waiting(&others, "elsewhere").await == 1;
        eventually_async(format!("both are counted who want {kind:?}"), is_counted).await;
        elsewhere.abort();
        for guard in guards {
            guard.release().await.unwrap();
        }
        waiter.await.unwrap().expect("it is free").release().await.unwrap();
        let is_over = async || waiting(&others, counted_as(kind)).await + waiting(&others, "elsewhere").await == 0;
        eventually_async(format!("nobody is counted who wants {kind:?}"), is_over).await;
    }
}

#[redlock(name = "x", mode = "read", manager = locks, timeout = -1, silent)]
async fn reads(locks: &LockManager) -> bool {
    true
}

// Who waits keeps new readers out for a while, also when he has given up.
#[redlock(name = "x", mode = "write", manager = locks, timeout = -1, silent)]
async fn writes(locks: &LockManager) -> bool {
    true
}

#[redlock(names = ["x", "y"], manager = locks, timeout = -1, skip_value = 7)]
async fn has_both(locks: &LockManager) -> u32 {
    2
}

#[redlock(name = "x", mode = "read", manager = locks, timeout = -1, silent)]
fn reads_blocking(locks: &LockManager) -> bool {
    writes_blocking(locks).is_err()
}

#[redlock(name = "x", mode = "write", manager = locks, timeout = -1)]
fn writes_blocking(locks: &LockManager) -> Result<(), Error> {
    Ok(())
}

#[tokio::test]
async fn annotated_functions_of_other_kinds_are_skipped_while_somebody_is_in_their_way() {
    let names = ["memory://skipped-a", "memory://skipped-b", "memory://skipped-c"];
    let builder = LockManager::builder().nodes(names);
    let (locks, others) = (builder.clone().build().unwrap(), builder.build().unwrap());
    let writer = others.write("x").acquire().await.unwrap();
    assert!(!reads(&locks).await && !writes(&locks).await);
    let reader = writer.downgrade().await.unwrap();
    assert!(reads(&locks).await && !writes(&locks).await);
    reader.release().await.unwrap();
    assert!(reads(&locks).await && writes(&locks).await);
    let plain = others.lock("y").acquire().await.unwrap();
    assert_eq!(has_both(&locks).await, 7);
    plain.release().await.unwrap();
    assert_eq!(has_both(&locks).await, 2);
    let refused = tokio::task::spawn_blocking(move || reads_blocking(&locks));
    assert!(refused.await.unwrap(), "a reader's body does not get it as a writer");
}

#[redlock(name = "x", mode = "read", manager = locks)]
async fn reads_again(locks: &LockManager, timeout: Timeout) -> Result<Error, Error> {
    Ok(locks.read("x").timeout(timeout).acquire().await.expect_err("it is the caller's"))
}

#[redlock(names = ["x", "y"], manager = locks)]
async fn has_one_again(locks: &LockManager, timeout: Timeout) -> Result<Error, Error> {
    Ok(locks.lock_all(["y", "z"]).timeout(timeout).acquire().await.expect_err("one is the caller's"))
}

#[tokio::test]
async fn a_body_that_has_a_lock_does_not_wait_for_itself() {
    let locks = LockManager::builder().nodes(["memory://"]).build().unwrap();
    for (timeout, is_told) in [(Timeout::Forever, true), (Timeout::Skip, false)] {
        let errors = [reads_again(&locks, timeout).await, has_one_again(&locks, timeout).await];
        for error in errors.map(Result::unwrap) {
            assert_eq!(matches!(error, Error::WouldDeadlock { .. }), is_told, "{error}");
            assert_eq!(matches!(error, Error::NotAcquired { .. }), !is_told, "{error}");
        }
    }
}

#[tokio::test]
async fn what_a_token_cannot_say_is_not_detached_and_released_all_the_same() {
    let locks = LockManager::builder().nodes(["memory://"]).build().unwrap();
    for kind in [Kind::Permits, Kind::Read, Kind::Write, Kind::Names] {
        let guard = wants(kind, &locks).acquire().await.unwrap();
        let refused = tokio::spawn(async move { guard.detach() }).await.unwrap_err().into_panic();
        let words = refused.downcast::<&str>().expect("it says why");
        assert!(words.contains("cannot be detached") && words.contains("Hold it by its guard"), "{words}");
        let others = if kind == Kind::Read { Kind::Write } else { kind };
        wants(others, &locks).timeout(LIMIT).acquire().await.expect("it was released").release().await.unwrap();
    }
}
