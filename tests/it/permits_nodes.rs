//! Locks with permits where the nodes differ: in what they grant, in what they remember, and in how fast they answer.

use std::time::Duration;

use redlock_runtime::testing::MemoryNode;
use redlock_runtime::{LockManager, LockManagerBuilder};
use redlock_tests::wait::eventually_async;

use crate::common::key;
use crate::permits::slot;

/// A manager of three nodes in memory, and these.
fn nodes(prefix: &str) -> (LockManagerBuilder, [MemoryNode; 3]) {
    let names = ["a", "b", "c"].map(|node| format!("{prefix}-{node}"));
    let builder = LockManager::builder().nodes(names.each_ref().map(|name| format!("memory://{name}")));
    (builder, names.each_ref().map(|name| MemoryNode::named(name)))
}

/// One node refuses for a stale key, and one of those that grant has forgotten the fencing counters: the counters of a majority are
/// there, so that no clock is needed, for a permit as for any lock.
#[tokio::test]
async fn who_refuses_a_permit_tells_what_its_fencing_token_has_to_surpass() {
    let second = Duration::from_secs(1);
    for permits in [Some(1), Some(2), None] {
        let (builder, [_a, b, c]) = nodes(&format!("tokens-{permits:?}"));
        let locks = builder.ttl(second).longest_ttl(second).max_clock_skew(None).build().unwrap();
        let one = || match permits {
            Some(permits) => locks.lock("x").permits(permits),
            None => locks.lock("x"),
        };
        let mut tokens = Vec::new();
        for _ in 0..8 {
            let guard = one().acquire().await.unwrap();
            tokens.push((guard.fencing_token(), permits.map(|_| guard.permit())));
            guard.release().await.unwrap();
        }
        c.restart_empty();
        b.give_to(&permits.map_or_else(|| key("x"), |_| slot("x", 0)), "stale", Duration::from_secs(3600));
        for _ in 0..4 {
            let guard = eventually_some(async || one().try_acquire().await.ok().flatten()).await;
            let permit = permits.map(|_| guard.permit());
            let before = tokens.iter().filter(|(_, other)| *other == permit).map(|(token, _)| *token).max();
            assert!(Some(guard.fencing_token()) > before, "{permits:?}");
            tokens.push((guard.fencing_token(), permit));
            guard.release().await.unwrap();
        }
    }
}

/// Waits until something is found.
async fn eventually_some<T>(find: impl AsyncFn() -> Option<T>) -> T {
    let found = std::cell::Cell::new(None);
    eventually_async("it is found", async || {
        found.set(find().await);
        let is_found = found.take().map(|some| found.set(Some(some))).is_some();
        is_found
    })
    .await;
    found.take().expect("it was found")
}
