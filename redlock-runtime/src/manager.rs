use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::Error;
use crate::background::block_on;
use crate::config::LockManagerBuilder;
use crate::lock::LockRequest;
use crate::shared::Shared;
use crate::statistics::WaitingStatistics;

/// The way to the nodes: acquires locks and answers for them until they are released.
///
/// Cheap to clone; clones share everything. It may be used from any number of tokio runtimes and threads at once and
/// outlives each of them: connections are made, and made anew, for each runtime that asks.
#[derive(Clone)]
pub struct LockManager {
    /// What its requests and guards share with it.
    pub(crate) shared: Arc<Shared>,
}

/// What `#[redlock]` uses when no manager is named.
static INSTALLED: OnceLock<LockManager> = OnceLock::new();

/// Taken to install, so that the default is built once.
static INSTALLING: Mutex<()> = Mutex::new(());

/// The variable that names the nodes when nothing is installed.
const NODES_VARIABLE: &str = "REDLOCK_NODES";

/// The node when that variable is not set.
const DEFAULT_NODE: &str = "redis://127.0.0.1:6379";

impl LockManager {
    /// Starts to configure a manager.
    pub fn builder() -> LockManagerBuilder {
        LockManagerBuilder::default()
    }

    /// The manager of the nodes in the environment variable `REDLOCK_NODES` (URLs separated by commas) or, if that is
    /// not set, of `redis://127.0.0.1:6379`.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for an empty variable or a URL that cannot be used.
    pub fn from_env() -> Result<Self, Error> {
        let nodes = match std::env::var(NODES_VARIABLE) {
            Ok(nodes) => nodes,
            Err(std::env::VarError::NotPresent) => DEFAULT_NODE.to_owned(),
            Err(std::env::VarError::NotUnicode(_)) => {
                let reason = format!("{NODES_VARIABLE} is not valid UTF-8; set it to URLs separated by commas");
                return Err(Error::Config { reason });
            }
        };
        let nodes: Vec<&str> = nodes.split(',').map(str::trim).filter(|node| !node.is_empty()).collect();
        if nodes.is_empty() {
            let reason = format!(
                "{NODES_VARIABLE} is set but names no node; set it to URLs separated by commas, such as {DEFAULT_NODE}, \
                 or unset it"
            );
            return Err(Error::Config { reason });
        }
        Self::builder().nodes(nodes).build()
    }

    /// Makes this the manager of every `#[redlock]` function that names none.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if one is installed already, by an earlier call or because an annotated function was called
    /// before and took the default.
    pub fn install(&self) -> Result<(), Error> {
        let _installing = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
        INSTALLED.set(self.clone()).map_err(|_| Error::Config {
            reason: "a lock manager is installed already; install yours once, before the first call of an annotated \
                     function"
                .to_owned(),
        })
    }

    /// A lock to be acquired. The name is any UTF-8 without control characters, up to 512 bytes.
    pub fn lock(&self, name: impl Into<String>) -> LockRequest {
        LockRequest::new(Arc::clone(&self.shared), name.into())
    }

    /// Whether the nodes may be asked.
    pub(crate) fn check_open(&self) -> Result<(), Error> {
        if self.shared.is_shut_down() { Err(Error::ShutDown) } else { Ok(()) }
    }

    /// What tells this manager, and its clones, from others while it lives.
    pub(crate) fn address(&self) -> usize {
        Arc::as_ptr(&self.shared).addr()
    }

    /// How often the body of an annotated function lost its lock, since this manager was built: whether it was cancelled
    /// for that, or ran on and returned its own value. Clones count together.
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
    /// 100 ms after it began to wait; those of a process that was killed are counted for up to 10 s more.
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
    /// # Errors
    ///
    /// [`Error::Config`] for no nodes, too many, the same one twice, a URL that cannot be read, and times out of bounds.
    pub fn build(self) -> Result<LockManager, Error> {
        Ok(LockManager { shared: Arc::new(self.check()?) })
    }
}

/// The installed manager; the default one is made if there is none.
pub(crate) fn installed() -> Result<LockManager, Error> {
    if let Some(manager) = INSTALLED.get() {
        return Ok(manager.clone());
    }
    let _installing = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(manager) = INSTALLED.get() {
        return Ok(manager.clone());
    }
    let manager = LockManager::from_env()?;
    Ok(INSTALLED.get_or_init(|| manager).clone())
}

impl fmt::Debug for LockManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockManager")
            .field("nodes", &self.shared.engine)
            .field("ttl", &self.shared.ttl)
            .finish_non_exhaustive()
    }
}
