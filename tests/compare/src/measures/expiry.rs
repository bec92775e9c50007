use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::try_join_all;
use redis::RedisResult;
use redlock_tests::clock::monotonic_nanoseconds;
use tokio::task::JoinSet;

use super::{between, nanoseconds};
use crate::Contestant;

/// How much longer each key lives than the one before it, so that waiters do not meet.
const APART: Duration = Duration::from_millis(7);

/// Names are used once: what was seen of one must not tell about the next.
static NEXT: AtomicUsize = AtomicUsize::new(0);

/// Tasks wait for the keys of holders that crashed; returns how late each was acquired.
///
/// A key is believed to live from before it was sent, so that what is measured is rather too long than too short.
pub(crate) async fn expire(
    contestant: impl Contestant,
    nodes: Vec<String>,
    waiters: usize,
    ttl: Duration,
) -> RedisResult<Vec<i64>> {
    let mut connections = Vec::new();
    for node in nodes {
        connections.push(redis::Client::open(node)?.get_multiplexed_async_connection().await?);
    }
    let mut waiting = JoinSet::new();
    for waiter in 0..waiters {
        let name = format!("crashed-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let ttl = ttl + APART * u32::try_from(waiter).unwrap_or(u32::MAX);
        let mut set = redis::cmd("SET");
        set.arg(contestant.key(&name)).arg("a holder that crashed").arg("PX").arg(ttl.as_millis());
        let expired = monotonic_nanoseconds() + nanoseconds(ttl);
        try_join_all(connections.iter_mut().map(|node| set.query_async::<()>(node))).await?;
        let contestant = contestant.clone();
        waiting.spawn(async move {
            let held = contestant.acquire(&name).await;
            let late = between(expired, monotonic_nanoseconds());
            contestant.release(held).await;
            late
        });
    }
    Ok(waiting.join_all().await)
}
