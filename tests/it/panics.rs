//! A body that panics has released its lock when the panic is caught: who tries again at once gets it.

use std::future::ready;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use futures::FutureExt as _;
use redlock_runtime::testing::MemoryNode;
use redlock_runtime::{Error, LockManager, redlock};
use redlock_tests::Servers;
use redlock_tests::clock::{now, timed};
use redlock_tests::wait::eventually_async;
use tokio::runtime::Builder;

use crate::common::{key, manager, none_has_x};

const TIMES: usize = 40;

/// What the body leaves behind panics, too, if that is asked for.
struct Leaves(bool);

impl Drop for Leaves {
    fn drop(&mut self) {
        assert!(!self.0, "on purpose, at its end");
    }
}

#[redlock(name = "x", manager = locks, ttl = 60)]
async fn panics(locks: &LockManager, at_its_end: bool) -> Result<(), Error> {
    let _leaves = Leaves(at_its_end);
    tokio::task::yield_now().await;
    assert!(at_its_end, "on purpose");
    Ok(())
}

#[redlock(name = "x", manager = locks, ttl = 60)]
fn panics_blocking(locks: &LockManager, at_its_end: bool) -> Result<(), Error> {
    let _leaves = Leaves(at_its_end);
    assert!(at_its_end, "on purpose");
    Ok(())
}

/// The panic's own words.
fn words(panic: &(dyn std::any::Any + Send)) -> &str {
    panic.downcast_ref::<&str>().copied().expect("it is the body's own")
}

async fn check_retries() {
    let servers = Servers::start(3);
    let (locks, others) = (manager(&servers), manager(&servers));
    for time in 0..TIMES {
        let panic = AssertUnwindSafe(panics(&locks, time % 2 == 0)).catch_unwind().await.unwrap_err();
        assert!(words(&*panic).starts_with("on purpose"));
        let retry = if time % 4 < 2 { &locks } else { &others };
        let guard = retry.lock("x").try_acquire().await.unwrap();
        guard.unwrap_or_else(|| panic!("refused the {time}th time")).release().await.unwrap();
    }
}

#[tokio::test]
async fn a_retry_right_after_a_panic_gets_the_lock() {
    check_retries().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_right_after_a_panic_gets_the_lock_on_many_threads() {
    tokio::spawn(check_retries()).await.unwrap();
}

#[test]
fn a_retry_right_after_a_panic_of_a_sync_body_gets_the_lock() {
    let servers = Servers::start(3);
    let (locks, others) = (manager(&servers), manager(&servers));
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    for time in 0..TIMES {
        let panic = catch_unwind(AssertUnwindSafe(|| panics_blocking(&locks, time % 2 == 0))).unwrap_err();
        assert!(words(&*panic).starts_with("on purpose"));
        let retry = async {
            let guard = others.lock("x").try_acquire().await.unwrap();
            guard.unwrap_or_else(|| panic!("refused the {time}th time")).release().await.unwrap();
        };
        // On connections of its own: behind the release on the same one, it would not show.
        runtime.block_on(retry);
    }
}

#[tokio::test]
async fn a_retry_right_after_a_computation_that_panicked_gets_the_lock() {
    let servers = Servers::start(3);
    let (locks, others) = (manager(&servers), manager(&servers));
    for time in 0..TIMES {
        let get = || ready(Ok::<Option<u8>, Error>(None));
        let computing = locks.lock("x").get_or_compute(get, async || panic!("on purpose"));
        assert!(AssertUnwindSafe(computing).catch_unwind().await.is_err());
        let guard = others.lock("x").try_acquire().await.unwrap();
        guard.unwrap_or_else(|| panic!("refused the {time}th time")).release().await.unwrap();

        let computing =
            || locks.lock("x").get_or_compute_blocking(|| Ok::<Option<u8>, Error>(None), || panic!("on purpose"));
        assert!(catch_unwind(AssertUnwindSafe(computing)).is_err());
        let guard = others.lock("x").try_acquire_blocking().unwrap();
        guard.unwrap_or_else(|| panic!("refused the {time}th time")).release_blocking().unwrap();
    }
}

#[redlock(name = "x", manager = locks, ttl = 60)]
async fn hangs_the_nodes_and_panics(locks: &LockManager, servers: &Servers) -> Result<(), Error> {
    servers[0].hang();
    servers[1].hang();
    tokio::task::yield_now().await;
    panic!("on purpose")
}

/// The nodes are given up after ten times as long, and the release after two minutes. How long it takes exactly is told by the
/// test behind this one.
#[tokio::test]
async fn a_panic_waits_for_nodes_that_hang_no_longer_than_a_node_may_take() {
    let servers = Servers::start(3);
    let node_timeout = Duration::from_secs(1);
    let locks = LockManager::builder().nodes(servers.urls()).node_timeout(node_timeout).build().unwrap();
    for is_dropped in [false, true] {
        let mut call = Box::pin(AssertUnwindSafe(hangs_the_nodes_and_panics(&locks, &servers)).catch_unwind());
        let (ended, took) = timed(async {
            if is_dropped {
                // The body has panicked when the release is on its way to the node that answers.
                tokio::select! {
                    biased;
                    ended = &mut call => Some(ended),
                    () = eventually_async("it is on its way", async || !servers[2].probe().exists(&key("x"))) => None,
                }
            } else {
                Some(call.as_mut().await)
            }
        })
        .await;
        assert!(ended.is_none_or(|ended| ended.is_err()));
        let began = now();
        drop(call);
        let took = took + began.elapsed();
        assert!(took < 5 * node_timeout, "{took:?}");
        servers[0].resume();
        servers[1].resume();
        none_has_x(&servers).await;
    }
}

#[redlock(name = "x", manager = locks, ttl = 60)]
async fn hangs_these_nodes_and_panics(locks: &LockManager, nodes: &[MemoryNode]) -> Result<(), Error> {
    nodes[..2].iter().for_each(MemoryNode::hang);
    tokio::task::yield_now().await;
    panic!("on purpose")
}

#[tokio::test(start_paused = true)]
async fn a_panic_waits_for_nodes_that_hang_exactly_as_long_as_a_node_may_take_and_a_drop_not_at_all() {
    let names = ["a", "b", "c"].map(|name| format!("panics-{name}"));
    let nodes = names.clone().map(|name| MemoryNode::named(&name));
    let node_timeout = Duration::from_secs(1);
    let urls = names.iter().map(|name| format!("memory://{name}"));
    let locks = LockManager::builder().nodes(urls).node_timeout(node_timeout).build().unwrap();
    for is_dropped in [false, true] {
        let (panicked, took) = timed(async {
            let mut call = Box::pin(AssertUnwindSafe(hangs_these_nodes_and_panics(&locks, &nodes)).catch_unwind());
            if is_dropped {
                let is_sent = || nodes[2].owner_of(&key("x")).is_none();
                // The one that answers has released it, so the body has panicked.
                while !is_sent() || nodes[0].owner_of(&key("x")).is_none() {
                    assert!(futures::poll!(&mut call).is_pending());
                    tokio::task::yield_now().await;
                }
                return None;
            }
            Some(call.await)
        })
        .await;
        assert!(panicked.is_none_or(|panicked| panicked.is_err()));
        // Timers are exact to a millisecond.
        let expect = if is_dropped { Duration::ZERO } else { node_timeout };
        assert!(took.abs_diff(expect) <= Duration::from_millis(2), "{took:?} instead of {expect:?}");
        nodes.iter().for_each(MemoryNode::recover);
        let is_free = async || nodes.iter().all(|node| node.owner_of(&key("x")).is_none());
        eventually_async("nothing is left", is_free).await;
    }
}
