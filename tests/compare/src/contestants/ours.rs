use redlock_compare::{Contestant, Orders};
use redlock_runtime::{Error, LockGuard, LockManager, LockManagerBuilder, redlock};

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
