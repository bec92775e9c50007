//! The peers of redlock, each used as its documentation says; started by `redlock-compare`.
//!
//! A program and a workspace of its own, so that nobody else compiles what the peers depend on.

use std::future::{Future, ready};
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use distributed_lock_core::prelude::{DistributedLock as _, LockHandle as _, LockProvider as _};
use distributed_lock_redis::{RedisLockHandle, RedisLockProvider};
use redlock::{RedLock, RedLockGuard};
use redlock_compare::{Contestant, Orders, serve};
use tokio::task::block_in_place;
use tokio::time::sleep;

/// Until something is tried again that failed at once.
const PAUSE: Duration = Duration::from_millis(1);

fn main() -> anyhow::Result<()> {
    let Some(orders) = Orders::read(std::env::args().skip(1))? else {
        bail!("this program is started by redlock-compare");
    };
    match orders.contestant.as_str() {
        "rslock" => serve(&orders, Rslock::connect),
        "redlock" => serve(&orders, Redlock::connect),
        "distributed-lock-redis" => serve(&orders, DistributedLock::connect),
        unknown => bail!("no peer is called {unknown:?}"),
    }
}

/// rslock, with its defaults. It waits by asking again after a random time.
#[derive(Clone)]
struct Rslock {
    locks: rslock::LockManager,
    ttl: Duration,
}

impl Rslock {
    async fn connect(orders: &Orders) -> Self {
        let nodes = orders.nodes.iter().map(String::as_str).collect();
        Self { locks: rslock::LockManager::new(nodes), ttl: orders.ttl }
    }
}

impl Contestant for Rslock {
    type Held = rslock::LockGuard;

    async fn acquire(&self, name: &str) -> rslock::LockGuard {
        let key = self.key(name);
        until_ok(|| self.locks.acquire(key.as_str(), self.ttl)).await
    }

    async fn release(&self, held: rslock::LockGuard) {
        held.release().await;
    }

    fn key(&self, name: &str) -> String {
        // It takes names as they are, as redlock does: what one of them left behind must not keep the other waiting.
        format!("rslock:{name}")
    }
}

/// redlock, with its defaults. It blocks the thread; tokio is told so.
#[derive(Clone)]
struct Redlock {
    /// Guards borrow it, and are kept by whoever acquires.
    locks: &'static RedLock,
    ttl: usize,
}

impl Redlock {
    async fn connect(orders: &Orders) -> Self {
        let locks = Box::leak(Box::new(RedLock::new(orders.nodes.clone())));
        Self { locks, ttl: usize::try_from(orders.ttl.as_millis()).unwrap_or(usize::MAX) }
    }
}

impl Contestant for Redlock {
    type Held = RedLockGuard<'static>;

    async fn acquire(&self, name: &str) -> RedLockGuard<'static> {
        let key = self.key(name);
        until_ok(|| ready(block_in_place(|| self.locks.acquire(key.as_bytes(), self.ttl)))).await
    }

    async fn release(&self, held: RedLockGuard<'static>) {
        block_in_place(|| drop(held));
    }

    fn key(&self, name: &str) -> String {
        format!("redlock:{name}")
    }
}

/// distributed-lock-redis, with its defaults: it renews. It does not wait for a lock that is held.
#[derive(Clone)]
struct DistributedLock(Arc<RedisLockProvider>);

impl DistributedLock {
    async fn connect(orders: &Orders) -> Self {
        // The proportions of its defaults.
        let builder = RedisLockProvider::builder().urls(&orders.nodes).expiry(orders.ttl);
        let builder = builder.extension_cadence(orders.ttl / 3).min_validity(orders.ttl / 10 * 9);
        Self(Arc::new(builder.build().await.expect("the servers are up")))
    }
}

impl Contestant for DistributedLock {
    type Held = RedisLockHandle;

    async fn acquire(&self, name: &str) -> RedisLockHandle {
        let lock = self.0.create_lock(name);
        until_ok(|| lock.acquire(None)).await
    }

    async fn release(&self, held: RedisLockHandle) {
        // What it could not release is not its user's business either.
        let _ = held.release().await;
    }

    fn key(&self, name: &str) -> String {
        format!("distributed-lock:{name}")
    }

    fn is_valid(&self, held: &RedisLockHandle) -> bool {
        !*held.lost_token().borrow()
    }
}

/// Tries until it succeeds: a node that is down makes some of them fail for as long as it is.
async fn until_ok<T, E, F: Future<Output = Result<T, E>>>(attempt: impl Fn() -> F) -> T {
    loop {
        if let Ok(held) = attempt().await {
            return held;
        }
        sleep(PAUSE).await;
    }
}
