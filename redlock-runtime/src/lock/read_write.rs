//! Locks that readers share.

use std::sync::Arc;

use super::guard::LockGuard;
use super::request::{Kind, LockRequest};
use super::shared::Shared;
use crate::Error;
use crate::held::lease::Lease;
use crate::platform::background::block_on;
use crate::values::subject;

impl LockRequest {
    /// See [`LockManager::read`](crate::LockManager::read).
    pub(crate) fn to_read(shared: Arc<Shared>, name: String) -> Self {
        Self::new(shared, name).into_read()
    }

    /// See [`LockManager::write`](crate::LockManager::write).
    pub(crate) fn to_write(shared: Arc<Shared>, name: String) -> Self {
        Self::new(shared, name).into_write()
    }

    pub(crate) fn into_read(self) -> Self {
        self.of_kind(Kind::Read)
    }

    pub(crate) fn into_write(self) -> Self {
        self.of_kind(Kind::Write)
    }
}

impl LockGuard {
    /// Lets other readers in, and stays a reader: nobody writes in between. A reader's guard comes back as it is. There is no way from
    /// reader to writer: two readers would wait for each other.
    ///
    /// Stop writing *before* you call this: other readers may get in before it returns. Each node is told in one round trip, together
    /// with an extension; one that cannot be reached now is told with the next renewal, and until then keeps readers out.
    ///
    /// ```
    /// # use redlock_runtime::LockManager;
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
    /// let writer = locks.write("catalogue").acquire().await?;
    /// // … write it, then read on together with others:
    /// let reader = writer.downgrade().await?;
    /// let other = locks.read("catalogue").acquire().await?;
    /// assert!(locks.write("catalogue").try_acquire().await?.is_none());
    /// # drop((reader, other));
    /// # Ok::<(), redlock_runtime::Error>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Lost`] if the lock is not held any more. [`Error::Config`] for a lock that readers cannot share.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it ended, the lock is released in the background.
    pub async fn downgrade(self) -> Result<Self, Error> {
        self.check_process()?;
        match self.lease().subject.kind() {
            Some(subject::Kind::Writer(_)) => {}
            Some(subject::Kind::Reader(_)) => return Ok(self),
            _ => {
                let reason = "only a lock that readers share can be downgraded: acquire it with `LockManager::write`";
                return Err(Error::Config { reason: reason.to_owned() });
            }
        }
        let ttl = self.lease().ttl;
        let guard = self.into_reader().await?;
        match guard.extend(ttl).await {
            // Those that did not answer follow with the renewal.
            Ok(()) | Err(Error::QuorumUnreachable { .. }) => Ok(guard),
            Err(error) => Err(error),
        }
    }

    /// [`Self::downgrade`] for code that is not async; blocks the thread.
    ///
    /// # Errors
    ///
    /// Those of [`Self::downgrade`].
    pub fn downgrade_blocking(self) -> Result<Self, Error> {
        block_on(self.downgrade())
    }

    /// The same lock, of which nothing is sent for the writer any more.
    async fn into_reader(self) -> Result<Self, Error> {
        let (shared, writer) = (Arc::clone(self.shared()), Arc::clone(self.lease()));
        shared.renewals.stop(&writer);
        // Extensions of the writer and the reader take turns.
        writer.end().await;
        let Some(mut acquisition) = writer.take_hold() else { return Err(Error::ShutDown) };
        acquisition.downgrade();
        let reader = Arc::new(writer.downgraded(acquisition.subject().clone()));
        // The writer's guard has nothing to release any more; its end lets the next in line of this process come forward.
        Self::new(reader, acquisition, &shared, None, |reader: &Arc<Lease>| {
            if writer.is_renewed() {
                shared.renewals.start(reader);
            }
            shared.wait_queues.hold_locally(reader)
        })
    }
}
