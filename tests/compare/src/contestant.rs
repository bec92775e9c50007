use std::future::Future;

/// A lock that takes part, connected to its nodes; clones share everything.
pub trait Contestant: Clone + Send + Sync + 'static {
    /// A lock that is held.
    type Held: Send + 'static;

    /// Acquires the lock with this name, however long that takes.
    fn acquire(&self, name: &str) -> impl Future<Output = Self::Held> + Send;

    /// Releases a lock, as far as users wait for that.
    fn release(&self, held: Self::Held) -> impl Future<Output = ()> + Send;

    /// Acquires and releases.
    fn cycle(&self, name: &str) -> impl Future<Output = ()> + Send {
        async move {
            let held = self.acquire(name).await;
            self.release(held).await;
        }
    }

    /// The key of a lock, on every node.
    fn key(&self, name: &str) -> String;

    /// Whether a lock is still held, as far as this contestant can tell.
    fn is_valid(&self, _: &Self::Held) -> bool {
        true
    }
}
