//! Faults on demand, to see what your own code does when a lock cannot be had or is lost.
//!
//! Needs the feature `testing`, which is for dev-dependencies. The rest of what tests want needs none: `memory://` nodes, and a
//! manager for each test, by [`LockManager::install_scoped`](crate::LockManager::install_scoped). [Testing your
//! code](crate::pages::testing) has examples of all.
//!
//! For those who write a node of their own, [`check_node`] tries out whether it keeps its promises.
//!
//! ```
//! use redlock_runtime::testing::MemoryNode;
//! use redlock_runtime::{Error, LockManager};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! let locks = LockManager::builder().nodes(["memory://first", "memory://second", "memory://third"]).build()?;
//! let (first, second) = (MemoryNode::named("first"), MemoryNode::named("second"));
//!
//! first.go_down();
//! let guard = locks.lock("invoice:7").acquire().await?; // two of three are enough
//!
//! second.go_down();
//! let error = locks.lock("invoice:8").try_acquire().await.unwrap_err();
//! assert!(matches!(error, Error::QuorumUnreachable { .. }));
//! # Ok::<(), Error>(())
//! # })?;
//! # Ok::<(), Error>(())
//! ```

mod contract;

pub use self::contract::{BrokenPromise, BrokenPromises, NodeReport, check_node};

use std::sync::Arc;
use std::time::Duration;

use crate::node::memory::{Condition, Server};

/// The node behind every `memory://NAME` of this process, to look at and to break.
///
/// ```
/// # use std::time::Duration;
/// # use redlock_runtime::LockManager;
/// use redlock_runtime::testing::MemoryNode;
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let locks = LockManager::builder().nodes(["memory://lone"]).build()?;
/// let node = MemoryNode::named("lone");
///
/// node.give_to("redlock:ConfigurableLock.import", "somebody", Duration::from_secs(30));
/// assert!(locks.lock("import").try_acquire().await?.is_none());
///
/// node.fail("OOM command not allowed");
/// assert!(locks.lock("import").try_acquire().await.is_err());
///
/// node.recover();
/// node.flush();
/// assert!(locks.lock("import").try_acquire().await?.is_some());
/// # Ok::<(), redlock_runtime::Error>(())
/// # })?;
/// # Ok::<(), redlock_runtime::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct MemoryNode {
    server: Arc<Server>,
}

impl MemoryNode {
    /// The node with this name. It forgets its keys and its faults when neither a manager nor one of these is left.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self { server: Server::named(name) }
    }

    /// Makes it answer at once, as at first. Commands that waited while it hung are carried out.
    pub fn recover(&self) {
        self.server.set(Condition::Well);
    }

    /// Makes it answer every command with this error, without carrying it out, as a server out of memory does.
    pub fn fail(&self, reason: &str) {
        self.server.set(Condition::Failing(Arc::from(reason)));
    }

    /// Makes it carry every command out and still answer with this error, as a script that fails after a write does.
    ///
    /// ```
    /// # use redlock_runtime::LockManager;
    /// # use redlock_runtime::testing::MemoryNode;
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let locks = LockManager::builder().nodes(["memory://fails-afterwards"]).build()?;
    /// let node = MemoryNode::named("fails-afterwards");
    /// node.fail_afterwards("ERR Error running script");
    /// assert!(locks.lock("import").try_acquire().await.is_err()); // the key was set, and released again
    /// node.recover();
    /// assert!(locks.lock("import").acquire().await?.is_valid());
    /// # Ok::<(), redlock_runtime::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn fail_afterwards(&self, reason: &str) {
        self.server.set(Condition::FailingAfterwards(Arc::from(reason)));
    }

    /// Makes it carry every command out, one after the other, and answer it, this much later.
    ///
    /// ```
    /// # use std::time::{Duration, Instant};
    /// # use redlock_runtime::LockManager;
    /// # use redlock_runtime::testing::MemoryNode;
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let builder = LockManager::builder().nodes(["memory://slow"]);
    /// let locks = builder.node_timeout(Duration::from_secs(5)).build()?;
    /// MemoryNode::named("slow").answer_after(Duration::from_millis(20));
    /// let began = Instant::now();
    /// let _guard = locks.lock("import").acquire().await?;
    /// assert!(began.elapsed() >= Duration::from_millis(20));
    /// # Ok::<(), redlock_runtime::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn answer_after(&self, delay: Duration) {
        self.server.set(Condition::Slow(delay));
    }

    /// Makes it take commands without carrying them out, until [`Self::recover`].
    ///
    /// ```
    /// # use redlock_runtime::{Error, LockManager};
    /// # use redlock_runtime::testing::MemoryNode;
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let locks = LockManager::builder().nodes(["memory://hangs"]).build()?;
    /// let node = MemoryNode::named("hangs");
    /// node.hang();
    /// let acquired = locks.lock("import").try_acquire().await; // for as long as the node timeout
    /// assert!(matches!(acquired, Err(Error::QuorumUnreachable { .. })));
    /// node.recover();
    /// assert!(locks.lock("import").acquire().await?.is_valid());
    /// # Ok::<(), Error>(())
    /// # }).unwrap();
    /// ```
    pub fn hang(&self) {
        self.server.set(Condition::Hung);
    }

    /// Makes it unreachable.
    ///
    /// ```
    /// # use redlock_runtime::{Error, LockManager};
    /// # use redlock_runtime::testing::MemoryNode;
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let locks = LockManager::builder().nodes(["memory://lost"]).build()?;
    /// MemoryNode::named("lost").go_down();
    /// let acquired = locks.lock("import").try_acquire().await;
    /// assert!(matches!(acquired, Err(Error::QuorumUnreachable { .. })));
    /// # Ok::<(), Error>(())
    /// # }).unwrap();
    /// ```
    pub fn go_down(&self) {
        self.server.set(Condition::Down);
    }

    /// Makes it forget every key, as a server that restarts without persistence does, and recover. It does not vote while
    /// it is younger than the manager's `longest_ttl` and an old node can be reached; a node that never restarted is old.
    ///
    /// ```
    /// # use redlock_runtime::{LockManager, NodeStanding};
    /// # use redlock_runtime::testing::MemoryNode;
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let locks = LockManager::builder().nodes(["memory://a", "memory://b", "memory://c"]).build()?;
    /// let guard = locks.lock("import").acquire().await?;
    /// MemoryNode::named("a").restart_empty();
    /// assert_eq!(locks.nodes().await?[0].standing, NodeStanding::Young);
    /// assert!(locks.lock("import").try_acquire().await?.is_none()); // the others remember
    /// # drop(guard);
    /// # Ok::<(), redlock_runtime::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn restart_empty(&self) {
        self.server.restart();
        self.recover();
    }

    /// Makes it forget every key without a restart, as `FLUSHALL` does.
    pub fn flush(&self) {
        self.server.clear();
    }

    /// The owner value that a key has, if the key exists. A lock's key is its name behind
    /// `redlock:ConfigurableLock.`, unless the manager has another prefix.
    ///
    /// ```
    /// # use redlock_runtime::LockManager;
    /// # use redlock_runtime::testing::MemoryNode;
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let locks = LockManager::builder().nodes(["memory://looked-at"]).build()?;
    /// let node = MemoryNode::named("looked-at");
    /// let guard = locks.lock("import").acquire().await?;
    /// assert!(node.owner_of("redlock:ConfigurableLock.import").is_some());
    /// guard.release().await?;
    /// assert!(node.owner_of("redlock:ConfigurableLock.import").is_none());
    /// # Ok::<(), redlock_runtime::Error>(())
    /// # }).unwrap();
    /// ```
    #[must_use]
    pub fn owner_of(&self, key: &str) -> Option<String> {
        self.server.owner_of(key).map(|owner| owner.to_string())
    }

    /// Gives a key to another owner, whoever has it, as an operator could.
    pub fn give_to(&self, key: &str, owner: &str, ttl: Duration) {
        self.server.hand_over(key, owner, ttl);
    }
}
