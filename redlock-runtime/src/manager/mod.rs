//! A manager, from its settings to its end.

pub(crate) mod builder;
pub(crate) mod detached;
mod environment;
mod length;
pub(crate) mod nodes;
pub(crate) mod scope;
pub(crate) mod shutdown;

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use self::builder::LockManagerBuilder;
use crate::Error;
use crate::lock::request::LockRequest;
use crate::lock::shared::Shared;
use crate::platform::background::block_on;
use crate::platform::process;
use crate::platform::process::PerProcess;
use crate::waiting::counters::WaitingStatistics;

/// The way to the nodes: acquires locks and answers for them until they are released.
///
/// Cheap to clone; clones share everything. It may be used from any number of tokio runtimes and threads at once and
/// outlives each of them: connections are made, and made anew, for each runtime that asks.
///
/// What it needs of its process:
///
/// - One thread, and a file descriptor for each connection beside about ten for that thread. Where there is none left, a call is
///   an [`Error::Config`] that says so, and the next one tries again.
/// - Async calls use the tokio runtime that they are polled on, which must have timers and sockets (`.enable_all()`), or else the
///   call is an [`Error::Config`]; on other executors and in blocking calls it uses its own. Blocking calls also work in the
///   destructor of a thread-local, when tokio's own are gone.
/// - It serves one process. In a child that was forked after the first lock, every call is an [`Error::Config`] at once: the child
///   has neither the threads nor connections of its own. It builds its own manager, and makes its own tokio runtime for async
///   calls; a `#[redlock]` function that uses the default manager does the former by itself. What the parent holds stays the
///   parent's: copies of its guards hold nothing, and release nothing. A `memory://` node is another one in each process.
///
/// ```
/// use redlock_runtime::LockManager;
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let locks = LockManager::builder().nodes(["memory://a", "memory://b", "memory://c"]).build()?;
/// let elsewhere = locks.clone(); // the same manager
/// let guard = locks.lock("invoice:7").acquire().await?;
/// assert!(elsewhere.is_locked("invoice:7").await?);
/// guard.release().await?;
/// locks.shutdown().await;
/// # Ok::<(), redlock_runtime::Error>(())
/// # })?;
/// # Ok::<(), redlock_runtime::Error>(())
/// ```
#[derive(Clone)]
pub struct LockManager {
    /// What its requests and guards share with it.
    pub(crate) shared: Arc<Shared>,
}

/// What `#[redlock]` uses when no manager is named. A child that was forked uses its parent's, if nobody did before the fork, and
/// else its own.
static INSTALLED: PerProcess<Installed> = PerProcess::new();

#[derive(Default)]
struct Installed {
    /// The manager, and whether it is the default.
    manager: OnceLock<(LockManager, bool)>,
    /// Taken to install, so that the default is built once.
    installing: Mutex<()>,
}

impl LockManager {
    /// Starts to configure a manager.
    ///
    /// ```
    /// # use redlock_runtime::LockManager;
    /// let locks = LockManager::builder().nodes(["memory://a", "memory://b", "memory://c"]).build()?;
    /// let guard = locks.lock("invoice:7").acquire_blocking()?;
    /// guard.release_blocking()?;
    /// # Ok::<(), redlock_runtime::Error>(())
    /// ```
    pub fn builder() -> LockManagerBuilder {
        LockManagerBuilder::default()
    }

    /// The manager that the environment describes.
    ///
    /// The nodes are those of `REDLOCK_NODES`, or else `redis://127.0.0.1:6379`. The other variables are in
    /// [Settings](crate::pages::settings#the-environment).
    ///
    /// ```
    /// use redlock_runtime::LockManager;
    ///
    /// let locks = LockManager::from_env()?; // connects to nothing yet
    /// # Ok::<(), redlock_runtime::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for an empty variable, a URL that cannot be used, a length of time that is none, or a file that cannot be read.
    pub fn from_env() -> Result<Self, Error> {
        Self::builder_from_env()?.build()
    }

    /// Starts with what the [environment](Self::from_env) says, for the rest to be set in the program; what is set here
    /// replaces what was set there.
    ///
    /// ```
    /// use std::time::Duration;
    /// use redlock_runtime::LockManager;
    ///
    /// let locks = LockManager::builder_from_env()?.ttl(Duration::from_secs(20)).node_timeout(Duration::from_millis(100)).build()?;
    /// # Ok::<(), redlock_runtime::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for an empty variable, a length of time that is none, or a file that cannot be read; URLs are read by
    /// [`build`](LockManagerBuilder::build).
    pub fn builder_from_env() -> Result<LockManagerBuilder, Error> {
        environment::builder()
    }

    /// Makes this the manager of every `#[redlock]` function that names none.
    ///
    /// ```
    /// # use redlock_runtime::LockManager;
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use redlock_runtime::{Error, redlock};
    ///
    /// #[redlock(name = "migrate", timeout = 5)]
    /// async fn migrate() -> Result<&'static str, Error> {
    ///     Ok("migrated")
    /// }
    ///
    /// LockManager::builder().nodes(["memory://"]).build()?.install()?;
    /// assert_eq!(migrate().await?, "migrated");
    /// # Ok::<(), redlock_runtime::Error>(())
    /// # })?;
    /// # Ok::<(), redlock_runtime::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if one is installed already, by an earlier call or because an annotated function was called
    /// before and took the default. Tests that want one each use [`install_scoped`](Self::install_scoped).
    pub fn install(&self) -> Result<(), Error> {
        let installed = INSTALLED.get();
        let _installing = installed.installing.lock().unwrap_or_else(PoisonError::into_inner);
        installed.manager.set((self.clone(), false)).map_err(|_| Error::Config {
            reason: "a lock manager is installed already; install yours once, before the first call of an annotated \
                     function, or a test's own with `install_scoped`"
                .to_owned(),
        })
    }

    /// A lock to be acquired. The name is any UTF-8 without control characters, up to 512 bytes. For a name of several values
    /// that may contain its separator, use [`name_of!`](crate::name_of).
    ///
    /// ```
    /// # use redlock_runtime::LockManager;
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
    /// let guard = locks.lock("invoice:7").acquire().await?;
    /// assert_eq!(guard.name(), "invoice:7");
    /// guard.release().await?;
    /// # Ok::<(), redlock_runtime::Error>(())
    /// # })?;
    /// # Ok::<(), redlock_runtime::Error>(())
    /// ```
    pub fn lock(&self, name: impl Into<String>) -> LockRequest {
        LockRequest::new(Arc::clone(&self.shared), name.into())
    }

    /// The locks of all these names, to be acquired together: all or none. No deadlock comes of it, in whatever order others name
    /// theirs, because nobody keeps some of them while waiting for the others. Each excludes a plain lock of its name, and whoever
    /// else asks for that. A name that is said twice counts once; up to 64. One round trip if they are in one slot of a cluster, or
    /// there is none.
    ///
    /// The guard holds them with one TTL, and one [fencing token](crate::LockGuard::fencing_token), which is greater than any before it of each of
    /// the names. If one of them is lost, all are. Not on [custom nodes](crate::node::Node); neither
    /// [`once`](LockRequest::once) nor [`permits`](LockRequest::permits), and its guard cannot be [detached](crate::LockGuard::detach).
    ///
    /// ```
    /// # use redlock_runtime::LockManager;
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
    /// let (from, to) = (7, 12);
    /// let guard = locks.lock_all([format!("account:{from}"), format!("account:{to}")]).acquire().await?;
    /// assert!(locks.lock("account:12").try_acquire().await?.is_none());
    /// guard.release().await?;
    /// # Ok::<(), redlock_runtime::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn lock_all(&self, names: impl IntoIterator<Item = impl Into<String>>) -> LockRequest {
        LockRequest::of_all(Arc::clone(&self.shared), names)
    }

    /// A lock to be acquired by a reader: together with other readers, and not with a [writer](Self::write). It is another lock than the
    /// [plain](Self::lock) one of this name.
    ///
    /// Each reader has the lock with its own TTL and renewal. New readers wait while a writer waits, so that it is not
    /// starved; therefore a reader must not wait for the same lock again. Readers' [fencing tokens](crate::LockGuard::fencing_token) are not below
    /// that of any writer before, and below that of every writer after them. They need not be the number of a writer: readers raise no
    /// counter, so one gets the greatest number that its nodes know, which may be that of a writer's attempt that failed; and readers
    /// between two writers may have the same one. Not on
    /// [custom nodes](crate::node::Node), nor on servers whose scripts may not call TIME (acquiring is an
    /// [`Error::Config`] there, at once); neither
    /// [`once`](LockRequest::once) nor [`permits`](LockRequest::permits), and its guard cannot be [detached](crate::LockGuard::detach).
    ///
    /// ```
    /// # use redlock_runtime::LockManager;
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
    /// let writer = locks.write("catalogue").acquire().await?;
    /// assert!(locks.read("catalogue").try_acquire().await?.is_none());
    /// let reader = writer.downgrade().await?;
    /// let other = locks.read("catalogue").acquire().await?;
    /// # drop((reader, other));
    /// # Ok::<(), redlock_runtime::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn read(&self, name: impl Into<String>) -> LockRequest {
        LockRequest::to_read(Arc::clone(&self.shared), name.into())
    }

    /// A lock to be acquired by a writer: alone, without other writers and [readers](Self::read); [`downgrade`](crate::LockGuard::downgrade)
    /// lets readers in. The limits and an example are those of [`read`](Self::read).
    ///
    /// ```
    /// # use redlock_runtime::LockManager;
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
    /// let reader = locks.read("catalogue").acquire().await?;
    /// assert!(locks.write("catalogue").try_acquire().await?.is_none()); // somebody reads
    /// reader.release().await?;
    /// let writer = locks.write("catalogue").acquire().await?;
    /// assert!(locks.read("catalogue").try_acquire().await?.is_none()); // somebody writes
    /// writer.release().await?;
    /// # Ok::<(), redlock_runtime::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn write(&self, name: impl Into<String>) -> LockRequest {
        LockRequest::to_write(Arc::clone(&self.shared), name.into())
    }

    /// Whether the nodes may be asked.
    pub(crate) fn check_open(&self) -> Result<(), Error> {
        self.check_process()?;
        if self.shared.is_shut_down() { Err(Error::ShutDown) } else { Ok(()) }
    }

    /// Whether this is no child of the process that uses it.
    pub(crate) fn check_process(&self) -> Result<(), Error> {
        process::id();
        self.shared.engine.check_process()
    }

    /// How often the body of an annotated function lost its lock, since this manager was built: whether it was cancelled
    /// for that, or ran on and returned its own value, and also where only the release found that the key was somebody else's. Clones
    /// count together.
    ///
    /// ```
    /// # use redlock_runtime::{Error, LockManager, redlock};
    /// #[redlock(name = "import")]
    /// async fn import() -> Result<(), Error> {
    ///     LockManager::current()?.reset("import").await?; // as an operator would
    ///     std::future::pending().await
    /// }
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let locks = LockManager::builder().nodes(["memory://"]).build()?;
    /// let _scope = locks.install_scoped();
    /// assert!(matches!(import().await, Err(Error::Lost { .. })));
    /// assert_eq!(locks.losses(), 1);
    /// # Ok::<(), Error>(())
    /// # }).unwrap();
    /// ```
    #[must_use]
    pub fn losses(&self) -> u64 {
        self.shared.losses.load(Ordering::Relaxed)
    }

    pub(crate) fn count_loss(&self) {
        self.shared.losses.fetch_add(1, Ordering::Relaxed);
    }

    /// How many wait for what, in this process and in all.
    ///
    /// Asks all nodes and adds up what they say; those that cannot be reached are left out. A waiter is counted up to
    /// 100 ms after it began to wait; those of a process that was killed are counted for up to 15 s more. The names are read
    /// in pages, which together may take seconds if there are very many (an INFO event says how far it is, every 5 s); no page
    /// may take longer than `node_timeout`.
    ///
    /// ```
    /// # use redlock_runtime::LockManager;
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
    /// for name in locks.statistics().await?.iter() {
    ///     println!("{:?}: {} wait, {} of them in this process", name.name, name.everywhere, name.here);
    /// }
    /// # Ok::<(), redlock_runtime::Error>(())
    /// # })?;
    /// # Ok::<(), redlock_runtime::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::NoNodeAnswered`]; [`Error::ShutDown`] after the manager was shut down.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn statistics(&self) -> Result<WaitingStatistics, Error> {
        self.check_open()?;
        self.shared.statistics.count().await
    }

    /// [`Self::statistics`] for code that is not async: blocks the thread.
    ///
    /// # Errors
    ///
    /// Those of [`Self::statistics`].
    pub fn statistics_blocking(&self) -> Result<WaitingStatistics, Error> {
        block_on(self.statistics())
    }
}

impl LockManagerBuilder {
    /// Checks every setting. Connects to nothing: connections are made by the first lock.
    ///
    /// ```
    /// # use redlock_runtime::{Error, LockManager};
    /// let locks = LockManager::builder().nodes(["redis://10.0.0.1", "redis://10.0.0.2", "redis://10.0.0.3"]).build()?;
    ///
    /// let twice = LockManager::builder().nodes(["redis://10.0.0.1", "redis://10.0.0.1"]).build();
    /// assert!(matches!(twice, Err(Error::Config { .. })));
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for no nodes, too many, the same one twice, a URL that cannot be read, and times out of bounds.
    pub fn build(self) -> Result<LockManager, Error> {
        Ok(LockManager { shared: Arc::new(self.check()?) })
    }
}

/// The installed manager; the default one is made if there is none.
pub(crate) fn installed() -> Result<LockManager, Error> {
    let installed = INSTALLED.get();
    if let Some((manager, _)) = installed.manager.get() {
        return Ok(manager.clone());
    }
    let _installing = installed.installing.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((manager, _)) = installed.manager.get() {
        return Ok(manager.clone());
    }
    // One that somebody chose is used, or refuses to be: it stands for more than the environment says.
    let inherited = INSTALLED.inherited(|installed| installed.manager.get());
    let (manager, is_default) = match inherited {
        Some((manager, is_default)) if !is_default || manager.check_process().is_ok() => (manager.clone(), *is_default),
        Some(_) | None => (LockManager::from_env()?, true),
    };
    if !is_default {
        // The child may still install its own.
        return Ok(manager);
    }
    Ok(installed.manager.get_or_init(|| (manager, true)).0.clone())
}

impl fmt::Debug for LockManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockManager")
            .field("nodes", &self.shared.engine)
            .field("ttl", &self.shared.ttl)
            .finish_non_exhaustive()
    }
}
