//! One computes, everybody has the value.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;

use super::body::{caught, tell_end, until_lost};
use super::request::LockRequest;
use crate::Error;
use crate::held::deadlock::within;

impl LockRequest {
    /// Gets a value from a cache, or computes it under this lock, so that of all callers in the whole fleet one computes it
    /// (no cache stampede).
    ///
    /// Looks (`get`); if there is nothing, acquires the lock and looks again, because somebody else may have computed
    /// meanwhile; if there is still nothing, computes. `compute` must store the value where `get` finds it: the others look
    /// there as soon as the lock is released. A value that was stored in time is returned whatever became of the lock.
    ///
    /// The request's `timeout` is for the lock, not for `get` and `compute`: a caller whose time is over looks once more
    /// before it gets the error. With [`Timeout::Skip`](crate::Timeout::Skip) nobody waits for a value that another one computes.
    ///
    /// If the lock is lost while `compute` runs, its future is dropped at its next await, as the body of an annotated function
    /// is: another caller may be computing by then.
    ///
    /// ```
    /// # use std::collections::HashMap;
    /// # use std::sync::Mutex;
    /// # use redlock_runtime::{Error, LockManager};
    /// # async fn read_from_disk() -> Result<String, Error> { Ok("hello".to_owned()) }
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
    /// let cache: Mutex<HashMap<&str, String>> = Mutex::default();
    /// let greeting = locks
    ///     .lock("greeting")
    ///     .get_or_compute(
    ///         async || Ok::<_, Error>(cache.lock().unwrap().get("greeting").cloned()),
    ///         async || {
    ///             let greeting = read_from_disk().await?;
    ///             cache.lock().unwrap().insert("greeting", greeting.clone());
    ///             Ok(greeting)
    ///         },
    ///     )
    ///     .await?;
    /// assert_eq!(greeting, "hello");
    /// # Ok::<(), Error>(())
    /// # }).unwrap();
    /// ```
    ///
    /// With [`permits`](Self::permits), as many may compute at once. With [`once`](Self::once) a value that was found or computed completes
    /// the fire; whoever comes later looks once more, and gets [`Error::AlreadyRan`] if nothing is there.
    ///
    /// # Errors
    ///
    /// Those of `get` and `compute`, at once: the lock is released, and the next caller computes. Those of [`Self::acquire`],
    /// and [`Error::Lost`].
    ///
    /// # Cancel safety
    ///
    /// Dropped at any await, the closure's future that runs is dropped, and then the lock is released in the background.
    // `get` is no `AsyncFnMut`: with references among what it captures, no task could be spawned that waits for this ("Send
    // is not general enough").
    pub async fn get_or_compute<T, E, G>(
        self,
        mut get: impl FnMut() -> G,
        compute: impl AsyncFnOnce() -> Result<T, E>,
    ) -> Result<T, E>
    where
        E: From<Error>,
        G: Future<Output = Result<Option<T>, E>>,
    {
        if let Some(value) = get().await? {
            return Ok(value);
        }
        let guard = match self.acquire().await {
            Ok(guard) => guard,
            Err(error) if may_be_there(&error) => return get().await?.ok_or_else(|| error.into()),
            Err(error) => return Err(error.into()),
        };
        let computing = async {
            match get().await {
                Ok(Some(value)) => Ok(value),
                Ok(None) => until_lost(&guard, pin!(compute())).await,
                Err(error) => Err(error),
            }
        };
        let value = caught(computing).await;
        let name = guard.name().to_owned();
        tell_end(&name, guard.finish(matches!(value, Ok(Ok(_)))).await);
        // Behind the release: whoever catches a panic may try again at once.
        value.unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// [`Self::get_or_compute`] for code that is not async: blocks the thread. What computes is not stopped by the loss of the
    /// lock.
    ///
    /// # Errors
    ///
    /// Those of [`Self::get_or_compute`], but [`Error::Lost`].
    pub fn get_or_compute_blocking<T, E: From<Error>>(
        self,
        mut get: impl FnMut() -> Result<Option<T>, E>,
        compute: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        if let Some(value) = get()? {
            return Ok(value);
        }
        let guard = match self.acquire_blocking() {
            Ok(guard) => guard,
            Err(error) if may_be_there(&error) => return get()?.ok_or_else(|| error.into()),
            Err(error) => return Err(error.into()),
        };
        let computing = || get().and_then(|found| found.map_or_else(|| within(guard.lease(), compute), Ok));
        let value = catch_unwind(AssertUnwindSafe(computing));
        let name = guard.name().to_owned();
        tell_end(&name, guard.finish_blocking(matches!(value, Ok(Ok(_)))));
        value.unwrap_or_else(|panic| resume_unwind(panic))
    }
}

/// Whether somebody may have computed while this caller tried to get the lock.
fn may_be_there(error: &Error) -> bool {
    matches!(error, Error::NotAcquired { .. } | Error::QuorumUnreachable { .. } | Error::AlreadyRan { .. })
}
