//! Locks that several may hold at once.

use super::guard::LockGuard;
use super::request::LockRequest;

impl LockRequest {
    /// Lets up to so many hold the lock at once, from 1 to 64: each has a *permit*, which is a lock of its own, with its own TTL, renewal,
    /// loss and [fencing token](LockGuard::fencing_token). [`LockGuard::permit`] says which one. Default: a lock without permits.
    ///
    /// **Never** more hold permits at once than the greatest number that somebody says, under the same conditions as a lock excludes
    /// all others. Say the same number in all processes: where two differ the greater one counts, until nobody has said it for nine
    /// to ten minutes, and a WARN event names both.
    ///
    /// Permits are counted apart from locks: a lock of this name *without* permits is another lock, also if the number is 1.
    ///
    /// ```
    /// # use redlock_runtime::{LockManager, Timeout};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
    /// let importing = || locks.lock("import").permits(2).timeout(Timeout::Skip);
    /// let (one, other) = (importing().acquire().await?, importing().acquire().await?);
    /// assert_ne!(one.permit(), other.permit());
    /// assert!(importing().try_acquire().await?.is_none());
    /// one.release().await?;
    /// assert!(importing().try_acquire().await?.is_some());
    /// # Ok::<(), redlock_runtime::Error>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// Acquiring is an [`Error::Config`](crate::Error::Config) for another number, together with [`once`](Self::once), and on
    /// [custom nodes](crate::node::Node).
    pub fn permits(mut self, permits: u32) -> Self {
        self.permits = Some(permits);
        self
    }
}

impl LockGuard {
    /// Which of the lock's [permits](LockRequest::permits) this is, counted from zero: nobody else has the same at the same time, so
    /// that it can stand for a shard, a port or an account of which there are as many. Zero for a lock without permits.
    ///
    /// While another process says that there are more permits it may be as great as that number less one: check it before it is used
    /// as an index.
    ///
    /// ```
    /// # use redlock_runtime::LockManager;
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
    /// let accounts = ["north", "south"];
    /// let guard = locks.lock("account").permits(2).acquire().await?;
    /// let account = accounts[guard.permit() as usize]; // nobody else has this one
    /// # assert!(accounts.contains(&account));
    /// guard.release().await?;
    /// # Ok::<(), redlock_runtime::Error>(())
    /// # }).unwrap();
    /// ```
    #[must_use]
    pub fn permit(&self) -> u32 {
        u32::from(self.lease().subject.part())
    }
}
