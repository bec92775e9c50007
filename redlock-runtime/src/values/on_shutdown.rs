/// What a [shutdown](crate::LockManager::shutdown_within) does to those who hold a lock.
///
/// Set by [`LockManagerBuilder::on_shutdown`](crate::LockManagerBuilder::on_shutdown).
///
/// ```
/// use redlock_runtime::{LockManager, OnShutdown};
///
/// let locks = LockManager::builder().nodes(["redis://10.0.0.1"]).on_shutdown(OnShutdown::Cancel).build()?;
/// # Ok::<(), redlock_runtime::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnShutdown {
    /// They may finish within the shutdown's time. Those who have not shortly before its end are asked to let go.
    #[default]
    Drain,
    /// They are asked to let go at once.
    Cancel,
}
