//! A manager for a part of a program: one thread, one future, one closure. Tests have one each.

use std::cell::RefCell;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use crate::Error;
use crate::manager::{LockManager, installed};

thread_local! {
    /// The managers of the scopes that this thread is in, the innermost last.
    static SCOPES: RefCell<Vec<Rc<LockManager>>> = const { RefCell::new(Vec::new()) };
}

impl LockManager {
    /// The manager of a `#[redlock]` function that is called here and names none: that of the innermost
    /// [scope](Self::install_scoped), else the [installed](Self::install) one.
    ///
    /// ```
    /// # use redlock_runtime::LockManager;
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
    /// let _scope = locks.install_scoped();
    /// let guard = LockManager::current()?.lock("invoice:7").acquire().await?;
    /// assert!(locks.is_locked("invoice:7").await?);
    /// # drop(guard);
    /// # Ok::<(), redlock_runtime::Error>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`Self::from_env`], if none is installed.
    pub fn current() -> Result<Self, Error> {
        // A thread that is ending is in no scope.
        let innermost = SCOPES.try_with(|scopes| scopes.borrow().last().map(|manager| Self::clone(manager)));
        innermost.ok().flatten().map_or_else(installed, Ok)
    }

    /// Makes this the manager of every `#[redlock]` function that names none and is called on this thread, until what is
    /// returned is dropped. It goes before the [installed](Self::install) one, and before that of a scope around this one.
    ///
    /// In a `#[tokio::test]` of either flavour that is the test itself. Tasks are on this thread too with one thread
    /// (`current_thread`); else, and for other threads and `spawn_blocking`, [`scope`](Self::scope) and
    /// [`scope_fn`](Self::scope_fn) take it along.
    ///
    /// ```
    /// # use redlock_runtime::{Error, LockManager, redlock};
    /// #[redlock(name = "nightly-report", timeout = -1, silent)]
    /// async fn nightly_report() -> Option<u32> {
    ///     Some(365)
    /// }
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let locks = LockManager::builder().nodes(["memory://"]).build()?;
    /// let _scope = locks.install_scoped();
    /// let held = locks.lock("nightly-report").acquire().await?;
    /// assert_eq!(nightly_report().await, None);
    /// held.release().await?;
    /// assert_eq!(nightly_report().await, Some(365));
    /// # Ok::<(), Error>(())
    /// # }).unwrap();
    /// ```
    pub fn install_scoped(&self) -> InstallGuard {
        let manager = Rc::new(self.clone());
        // A thread that is ending is in no scope.
        let _ended = SCOPES.try_with(|scopes| scopes.borrow_mut().push(Rc::clone(&manager)));
        InstallGuard { manager }
    }

    /// Runs a future, on whatever thread it is polled, with this as the manager of the `#[redlock]` functions that it calls
    /// and that name none: a task that is to be spawned, for instance. What it spawns itself needs a scope of its own.
    ///
    /// # Cancel safety
    ///
    /// Dropping it drops the future, within the scope.
    ///
    /// ```
    /// # use redlock_runtime::{Error, LockManager};
    /// # async fn job() {}
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let locks = LockManager::builder().nodes(["memory://"]).build()?;
    /// let task = tokio::spawn(locks.scope(async {
    ///     job().await;
    ///     // The scope that this task is in, handed on.
    ///     tokio::spawn(LockManager::current()?.scope(job())).await.unwrap();
    ///     Ok::<(), Error>(())
    /// }));
    /// task.await.unwrap()
    /// # }).unwrap();
    /// ```
    pub fn scope<F: Future>(&self, future: F) -> Scoped<F> {
        Scoped { manager: self.clone(), future: Some(Box::pin(future)) }
    }

    /// A function that calls this one, on whatever thread, with this as the manager of the `#[redlock]` functions that it
    /// calls and that name none.
    ///
    /// ```
    /// # use redlock_runtime::{Error, LockManager};
    /// # fn migrate() {}
    /// let locks = LockManager::builder().nodes(["memory://"]).build()?;
    /// std::thread::spawn(locks.scope_fn(|| migrate())).join().unwrap();
    /// # Ok::<(), Error>(())
    /// ```
    pub fn scope_fn<F: FnOnce() -> R, R>(&self, function: F) -> impl FnOnce() -> R + use<F, R> {
        let manager = self.clone();
        move || {
            let _scope = manager.install_scoped();
            function()
        }
    }
}

/// A thread's scope, which ends when this is dropped. See [`LockManager::install_scoped`].
///
/// ```
/// # use redlock_runtime::{Error, LockManager};
/// # fn manager() -> Result<LockManager, Error> { LockManager::builder().nodes(["memory://"]).build() }
/// let (outer, inner) = (manager()?, manager()?);
/// let _outer = outer.install_scoped();
/// let scope = inner.install_scoped();
/// let _held = LockManager::current()?.lock("report").acquire_blocking()?;
/// assert!(inner.is_locked_blocking("report")?);
/// drop(scope); // from here on `outer` is the current one again
/// assert!(LockManager::current()?.lock("report").try_acquire_blocking()?.is_some());
/// # Ok::<(), Error>(())
/// ```
#[must_use = "the scope ends when this is dropped"]
pub struct InstallGuard {
    /// Also what keeps it on its thread.
    manager: Rc<LockManager>,
}

impl Drop for InstallGuard {
    fn drop(&mut self) {
        // Scopes need not end in the order in which they began.
        let _ended = SCOPES.try_with(|scopes| {
            let mut scopes = scopes.borrow_mut();
            let own = scopes.iter().rposition(|manager| Rc::ptr_eq(manager, &self.manager));
            own.map(|own| scopes.remove(own))
        });
    }
}

impl fmt::Debug for InstallGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("InstallGuard").field(&self.manager).finish()
    }
}

/// A future within a scope. See [`LockManager::scope`].
///
/// ```
/// # use redlock_runtime::{LockManager, redlock};
/// #[redlock(name = "stock:{article}", timeout = -1, silent)]
/// async fn restock(article: u32) -> Option<u32> {
///     Some(article)
/// }
///
/// # tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
/// let locks = LockManager::builder().nodes(["memory://"]).build()?;
/// let _held = locks.lock("stock:7").acquire().await?;
/// let restocking = [7, 8].map(|article| tokio::spawn(locks.scope(restock(article))));
/// let [seven, eight] = restocking;
/// assert_eq!((seven.await.unwrap(), eight.await.unwrap()), (None, Some(8)));
/// # Ok::<(), redlock_runtime::Error>(())
/// # }).unwrap();
/// ```
#[must_use = "futures do nothing unless polled"]
pub struct Scoped<F> {
    manager: LockManager,
    /// Taken when it is over, so that its end is within the scope too.
    future: Option<Pin<Box<F>>>,
}

impl<F: Future> Future for Scoped<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let Self { manager, future } = self.get_mut();
        let _scope = manager.install_scoped();
        let Some(running) = future else { panic!("polled after it was ready") };
        let output = ready!(running.as_mut().poll(context));
        *future = None;
        Poll::Ready(output)
    }
}

impl<F> Drop for Scoped<F> {
    fn drop(&mut self) {
        let _scope = self.manager.install_scoped();
        self.future = None;
    }
}

impl<F> fmt::Debug for Scoped<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scoped").field("manager", &self.manager).finish_non_exhaustive()
    }
}
