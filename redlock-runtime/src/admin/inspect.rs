use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::holding::{Holding, ask_who_holds};
use super::last_run::LastRun;
use super::permits::PermitInfo;
use super::sharing::SharedInfo;
use crate::Error;
use crate::error::NodeFailures;
use crate::manager::LockManager;
use crate::node::inspect::{LockRecord, PermitsRecord, SharedRecord};
use crate::platform::background::block_on;
use crate::protocol::{LockState, Quorum, StoredMark};
use crate::shown::{rounded, shown};
use crate::values::keys::Keys;
use crate::values::name::Name;

/// A lock as the nodes have it.
///
/// Given by [`LockManager::inspect`]. It tells what was, not what is: whoever needs the lock acquires it.
///
/// ```
/// # use std::time::Duration;
/// # use redlock_runtime::{LockManager, LockState};
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
/// let guard = locks.lock("report").min_hold(Duration::from_secs(60)).acquire().await?;
/// let info = locks.inspect("report").await?;
/// assert!(info.is_held() && info.is_locked());
/// assert_eq!((info.votes, info.needed, info.nodes), (1, 1, 1));
///
/// guard.release().await?;
/// let info = locks.inspect("report").await?;
/// assert!(!info.is_held() && info.is_locked()); // nobody gets it for the rest of the minute
/// assert_eq!(info.state, LockState::Kept);
/// # Ok::<(), redlock_runtime::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LockInfo {
    /// The lock's name.
    pub name: String,
    /// Whether it is held.
    pub state: LockState,
    /// What its owner is called: host, process and task unless
    /// [`owner_label`](crate::LockManagerBuilder::owner_label) says otherwise. `None` if it is not held, or for less than
    /// about 100 ms, or by a Python process.
    pub owner_label: Option<String>,
    /// How long ago it was acquired, by the clock of the node that noted it; known where the label is.
    pub held_for: Option<Duration>,
    /// How long a majority of the nodes still has the key if nobody extends it, which renewal does. `None` if it is not held,
    /// or a majority of the keys, which somebody set by hand, never expires.
    pub remaining: Option<Duration>,
    /// How many nodes have the key of the owner that most of them have.
    pub votes: usize,
    /// How many a majority needs.
    pub needed: usize,
    /// How many nodes are configured.
    pub nodes: usize,
    /// The fencing token of the owner, if it has one; noted with the label, so not before the lock was held for 100 ms, or
    /// was detached.
    pub fencing_token: Option<u64>,
    /// The last run that was completed of a job that acquires it with [`once`](crate::LockRequest::once), if a node knows of one.
    pub last_run: Option<LastRun>,
    /// Its [permits](crate::LockRequest::permits), as far as anybody said lately that it has some, or somebody holds one. What is said
    /// above is about the lock of this name that has none.
    pub permits: Vec<PermitInfo>,
    /// Who has the lock of this name that [readers share](crate::LockManager::read), which is another one; `None`: nobody.
    pub shared: Option<SharedInfo>,
    /// How many wait for it, in all processes; those that wait under a `stats_name` of their own are counted under that
    /// name only, by [`LockManager::statistics`].
    pub waiting: u64,
    /// The nodes that did not answer, and why.
    pub failures: NodeFailures,
    /// Whether nobody gets it, as far as the nodes that answered can tell.
    is_taken: Option<bool>,
}

impl LockInfo {
    /// Whether it is taken, so that whoever wants it does not get it: held, kept from others until its `min_hold` is over, or
    /// [unsettled](LockState::Unsettled) while so many nodes have a key, whoever's it is, that no majority can be had. Where that
    /// depends on nodes that did not answer ([`failures`](Self::failures)), it is `false`, and
    /// [`LockManager::is_locked`] an error.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.is_taken == Some(true)
    }

    /// What follows from what the nodes have that answered.
    pub(super) fn of(quorum: Quorum, name: &Name, looked: &[NodeRecord], waiting: u64, failures: NodeFailures) -> Self {
        let records: Vec<_> = looked.iter().map(|looked| looked.record.as_ref()).collect();
        let Holding { census, label, fencing_token } = Holding::of(quorum, &records);
        let permits: Vec<_> = looked.iter().map(|looked| &looked.permits).collect();
        let shared: Vec<_> = looked.iter().map(|looked| &looked.shared).collect();
        Self {
            shared: SharedInfo::of(quorum, &shared),
            permits: PermitInfo::of_each(quorum, &permits),
            state: census.state,
            is_taken: census.is_taken,
            owner_label: label.map(|label| label.label.clone()),
            held_for: label.map(|label| label.held_for),
            remaining: census.remaining,
            votes: census.votes,
            needed: quorum.needed(),
            nodes: quorum.nodes(),
            fencing_token,
            last_run: LastRun::of(quorum, looked.iter().map(|looked| looked.mark)),
            waiting,
            failures,
            name: name.as_str().to_owned(),
        }
    }

    /// Whether somebody holds the lock, as far as the nodes that answered know.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.state == LockState::Held
    }
}

impl fmt::Display for LockInfo {
    /// One line; control and bidirectional characters, which anybody can write into a name or a label, are escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, state, votes, nodes, last_run, permits, shared, waiting, .. } = self;
        write!(f, "{}: {state}", shown(name))?;
        if let Some(label) = &self.owner_label {
            write!(f, " by {}", shown(label))?;
        }
        if let Some(held_for) = self.held_for {
            write!(f, ", for {}", rounded(held_for))?;
        }
        if let Some(remaining) = self.remaining {
            write!(f, ", {} left", rounded(remaining))?;
        }
        write!(f, ", on {votes} of {nodes} nodes")?;
        if let Some(token) = self.fencing_token {
            write!(f, ", fencing token {token}")?;
        }
        if let Some(LastRun { fire, .. }) = last_run {
            write!(f, ", last completed fire {fire}")?;
        }
        if !permits.is_empty() {
            let taken = permits.iter().filter(|permit| permit.is_taken()).count();
            write!(f, ", {taken} of {} permits taken", permits.len())?;
        }
        if let Some(shared) = shared {
            write!(f, ", as a shared lock: {shared}")?;
        }
        write!(f, ", {waiting} waiting")
    }
}

/// What one node answered.
#[derive(Default)]
pub(super) struct NodeRecord {
    /// What it has of the lock.
    pub(super) record: Option<LockRecord>,
    /// How many wait there.
    pub(super) waiting: u64,
    /// The greatest completed fire there, as far as that can be told.
    pub(super) mark: Option<StoredMark>,
    /// What it has of the permits, as far as that can be told.
    pub(super) permits: PermitsRecord,
    /// What it has of the lock that readers share, as far as that can be told.
    pub(super) shared: SharedRecord,
}

impl LockManager {
    /// Who holds a lock, since when and for how long, and how many wait for it.
    ///
    /// Asks all nodes, and waits for each as long as for any answer. Whether a Rust or a Python process holds it makes no
    /// difference, except that a Python process has no label. Of a lock with [permits](crate::LockRequest::permits) it tells who holds
    /// each.
    ///
    /// ```
    /// # use redlock_runtime::LockManager;
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
    /// let guard = locks.lock("invoice:7").acquire().await?;
    /// let info = locks.inspect("invoice:7").await?;
    /// assert!(info.is_held());
    /// println!("{info}"); // invoice:7: held by worker-3 pid 4711 task 29, for 1.2s, 28s left, …
    /// # Ok::<(), redlock_runtime::Error>(())
    /// # })?;
    /// # Ok::<(), redlock_runtime::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::QuorumUnreachable`] if no majority answered; [`Error::InvalidName`]; [`Error::ShutDown`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it only looks.
    pub async fn inspect(&self, name: impl Into<String>) -> Result<LockInfo, Error> {
        self.check_open()?;
        let name = Name::of_any_client(name.into())?;
        let (looked, failures) = self.look(&name).await;
        let quorum = self.shared.engine.quorum();
        let counted = looked.iter().fold(0, |counted: u64, looked| counted.saturating_add(looked.waiting));
        // Nodes learn of a waiter a little later.
        let waiting = counted.max(self.shared.statistics.here_under(name.as_str()));
        let is_answered = looked.len() >= quorum.needed();
        let info = LockInfo::of(quorum, &name, &looked, waiting, failures);
        if is_answered { Ok(info) } else { Err(self.shared.engine.unreachable(&name, info.votes, info.failures)) }
    }

    /// [`Self::inspect`] for code that is not async: blocks the thread.
    ///
    /// # Errors
    ///
    /// Those of [`Self::inspect`].
    pub fn inspect_blocking(&self, name: impl Into<String>) -> Result<LockInfo, Error> {
        let name = name.into();
        block_on(self.inspect(name))
    }

    /// Whether the lock without permits is taken, so that whoever wants it does not get it: fewer nodes than a majority are without a key of it. Either
    /// a majority has the key of one owner, whoever that is; or it keeps the lock from others until its `min_hold` is over; or several owners have some
    /// nodes each. [`inspect`](Self::inspect) tells which. It may be different when this returns: to
    /// do something only if nobody else does, acquire the lock.
    ///
    /// ```
    /// # use redlock_runtime::LockManager;
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
    /// assert!(!locks.is_locked("report").await?);
    /// let guard = locks.lock("report").acquire().await?;
    /// assert!(locks.is_locked("report").await?);
    /// # drop(guard);
    /// # Ok::<(), redlock_runtime::Error>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::QuorumUnreachable`] if too few nodes answered; [`Error::InvalidName`]; [`Error::ShutDown`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it only looks.
    pub async fn is_locked(&self, name: impl Into<String>) -> Result<bool, Error> {
        self.check_open()?;
        let name = Name::of_any_client(name.into())?;
        ask_who_holds(&self.shared, &name, |Holding { census, .. }| census.is_taken).await
    }

    /// [`Self::is_locked`] for code that is not async: blocks the thread.
    ///
    /// # Errors
    ///
    /// Those of [`Self::is_locked`].
    pub fn is_locked_blocking(&self, name: impl Into<String>) -> Result<bool, Error> {
        let name = name.into();
        block_on(self.is_locked(name))
    }

    /// What the nodes have that answered, and what the others said.
    async fn look(&self, name: &Name) -> (Vec<NodeRecord>, NodeFailures) {
        let key = Arc::from(self.shared.keys.lock(name));
        let keys = Arc::new(Keys::around(&key));
        let reply_timeout = self.shared.engine.node_timeout();
        let statistics = &self.shared.statistics;
        let (answers, failures) = self
            .shared
            .engine
            .survey_all(|index, node| {
                let (keys, name, statistics) = (Arc::clone(&keys), name.clone(), Arc::clone(statistics));
                async move {
                    let marked = node.mark(Arc::clone(&keys.lock), reply_timeout);
                    let permits = node.permits(Arc::clone(&keys.lock), reply_timeout);
                    let shared = node.shared(Arc::clone(&keys.lock), reply_timeout);
                    let looking = node.look(keys, reply_timeout);
                    let (record, waiting, mark, permits, shared) =
                        tokio::join!(looking, statistics.count_one(name.as_str(), index), marked, permits, shared);
                    let shared = shared.unwrap_or_default();
                    // Few locks have a mark, or permits, and not every user may read one.
                    let (mark, permits) = (mark.ok().flatten(), permits.unwrap_or_default());
                    record.map(|record| NodeRecord { record, waiting, mark, permits, shared })
                }
            })
            .await;
        (answers.into_iter().map(|(_, looked)| looked).collect(), failures)
    }
}
