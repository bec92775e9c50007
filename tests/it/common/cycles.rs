//! Locks that are taken and given back, and attempts that find too few nodes.

use std::time::Duration;

use redlock_runtime::{Error, LockManager, Timeout};
use redlock_tests::clock::timed;
use redlock_tests::unhurried;

use super::causes;

/// One that gives a busy machine time, and would wait for a hung server for long.
pub(crate) fn patient(urls: impl IntoIterator<Item = String>) -> LockManager {
    unhurried().nodes(urls).build().unwrap()
}

/// Longer than one round on a busy machine, and below what a hung server would cost, which is the whole of its timeout.
pub(crate) const AT_ONCE: Duration = Duration::from_millis(2_500);

/// However long the servers may take among themselves.
pub(crate) const PATIENT: Duration = Duration::from_secs(20);

/// What an attempt says that finds too few nodes.
pub(crate) async fn unreachable(locks: &LockManager, name: &str) -> String {
    let error = locks.lock(name).timeout(Timeout::Skip).acquire().await.expect_err("the deciding node cannot vote");
    assert!(matches!(error, Error::QuorumUnreachable { .. }), "{error}");
    causes(&error)
}

/// Takes and gives back a lock, within a time that no hung server leaves.
pub(crate) async fn cycle_at_once(locks: &LockManager, name: &str) {
    let (result, took) =
        timed(async { locks.lock(name).try_acquire().await?.expect("it is free").release().await }).await;
    result.unwrap();
    assert!(took < AT_ONCE, "{took:?}");
}

/// Whoever gets it soon gets it.
pub(crate) async fn cycle_soon(locks: &LockManager, name: &str) -> u64 {
    let guard = locks.lock(name).timeout(PATIENT).acquire().await.expect("it is free, or soon will be");
    let token = guard.fencing_token();
    guard.release().await.expect("it is held");
    token
}
