use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use redlock_compare::{Contestant, Orders};
use redlock_runtime::{Error, InDoubt, LockGuard, LockManager, LockManagerBuilder, redlock};

/// Ours as users have it: renewal, fencing and statistics are on unless they say otherwise.
#[derive(Clone)]
pub(super) struct Ours(LockManager);

impl Ours {
    pub(super) fn connect(orders: &Orders, configure: impl FnOnce(LockManagerBuilder) -> LockManagerBuilder) -> Self {
        let builder = LockManager::builder().nodes(&orders.nodes).ttl(orders.ttl);
        Self(configure(builder).build().expect("these nodes make a manager"))
    }
}

impl Contestant for Ours {
    type Held = LockGuard;

    async fn acquire(&self, name: &str) -> LockGuard {
        self.0.lock(name).acquire().await.expect("the lock can be had")
    }

    async fn release(&self, held: LockGuard) {
        held.release().await.expect("the lock is held");
    }

    fn key(&self, name: &str) -> String {
        format!("redlock:ConfigurableLock.{name}")
    }

    fn is_valid(&self, held: &LockGuard) -> bool {
        held.is_valid()
    }
}

/// Ours through the attribute.
#[derive(Clone)]
pub(super) struct Annotated(pub(super) Ours);

#[redlock(name = name, manager = locks)]
async fn annotated(locks: &LockManager, name: &str) -> Result<(), Error> {
    Ok(())
}

impl Contestant for Annotated {
    type Held = LockGuard;

    async fn acquire(&self, name: &str) -> LockGuard {
        self.0.acquire(name).await
    }

    async fn release(&self, held: LockGuard) {
        self.0.release(held).await;
    }

    async fn cycle(&self, name: &str) {
        annotated(&self.0.0, name).await.expect("the lock can be had");
    }

    fn key(&self, name: &str) -> String {
        self.0.key(name)
    }
}

/// Ours with one run per fire: each acquisition is for the next fire, and completes it.
#[derive(Clone)]
pub(super) struct Once(Ours, Arc<AtomicU64>);

impl Once {
    pub(super) fn connect(orders: &Orders) -> Self {
        // The servers were just started, and cannot know that the job never ran.
        Self(Ours::connect(orders, |builder| builder.in_doubt(InDoubt::Run)), Arc::new(AtomicU64::new(1)))
    }
}

impl Contestant for Once {
    type Held = LockGuard;

    async fn acquire(&self, name: &str) -> LockGuard {
        let fire = self.1.fetch_add(1, Ordering::Relaxed);
        self.0.0.lock(name).once(fire).acquire().await.expect("the lock can be had")
    }

    async fn release(&self, held: LockGuard) {
        held.complete().await.expect("the lock is held");
    }

    fn key(&self, name: &str) -> String {
        self.0.key(name)
    }
}
