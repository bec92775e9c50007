use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::mem;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::time::sleep;

use super::changes::Announcements;
use super::inspect::LockInfo;
use crate::Error;
use crate::lock::shared::Shared;
use crate::manager::LockManager;
use crate::platform::background::on_any_executor;
use crate::platform::clock;
use crate::protocol::LockState;
use crate::values::keys::{Keys, LockKeys};
use crate::values::name::Name;
use crate::waiting::watchers::Bell;

/// How often it is looked what a lock is, where no node reports changes.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How many locks are looked at at once.
const AT_ONCE: usize = 32;

/// Of the locks whose changes are reported, so many in one are looked at with each list all the same: a server may not report.
const LOOK_AGAIN: usize = 10;

/// A lock, as it changes; given by [`LockManager::watch`].
///
/// ```
/// # use redlock_runtime::{Error, LockManager};
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
/// let guard = locks.lock("deploy").acquire().await?;
/// let mut watch = locks.watch("deploy");
/// let until_free = async {
///     while watch.next().await?.is_locked() {}
///     Ok::<(), Error>(())
/// };
/// tokio::try_join!(until_free, guard.release())?;
/// # Ok::<(), Error>(())
/// # }).unwrap();
/// ```
#[must_use = "nothing is looked at until `next` is called"]
pub struct LockWatch {
    locks: LockManager,
    name: Arc<str>,
    watched: Watched,
    /// What was told last; `None`: nothing yet.
    told: Option<Seen>,
    /// How long to wait for news before looking all the same; `None`: a look is due.
    patience: Option<Duration>,
}

/// All locks, as they change; given by [`LockManager::watch_all`].
///
/// ```
/// # use redlock_runtime::LockManager;
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
/// let guard = locks.lock("deploy").acquire().await?;
/// let mut watch = locks.watch_all();
/// let lock = watch.next().await?;
/// assert!(lock.name == "deploy" && lock.is_held());
///
/// guard.release().await?;
/// while watch.next().await?.is_held() {} // what changed meanwhile is told first
/// # Ok::<(), redlock_runtime::Error>(())
/// # }).unwrap();
/// ```
#[must_use = "nothing is looked at until `next` is called"]
pub struct LocksWatch {
    locks: LockManager,
    watched: Watched,
    announcements: Announcements,
    /// What was told last of the locks that are not free.
    told: BTreeMap<Arc<str>, Sight>,
    /// Those to be looked at.
    due: BTreeSet<Arc<str>>,
    /// What is to be told.
    news: VecDeque<LockInfo>,
    /// When they are listed next.
    list_at: Option<Instant>,
    /// Of those that are known, the one behind which looking again goes on.
    looked_again: Option<Arc<str>>,
    /// Whether it was told that the list is not complete.
    is_blind: bool,
}

/// What was told of a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    /// That nobody can tell.
    Nothing,
    /// This.
    Sight(Sight),
}

/// What makes a difference to those who look on.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sight {
    holder: (LockState, Option<String>, Option<u64>),
    permits: Vec<(LockState, Option<String>, Option<u64>)>,
    /// Of the lock of this name that readers share.
    shared: Option<(LockState, Option<String>, u64)>,
}

impl Sight {
    fn of(info: &LockInfo) -> Self {
        let permits = info.permits.iter();
        Self {
            holder: (info.state, info.owner_label.clone(), info.fencing_token),
            permits: permits.map(|permit| (permit.state, permit.owner_label.clone(), permit.fencing_token)).collect(),
            shared: info.shared.as_ref().map(|shared| (shared.writer, shared.owner_label.clone(), shared.readers)),
        }
    }

    fn is_free(&self) -> bool {
        let is_shared =
            self.shared.as_ref().is_some_and(|(writer, _, readers)| *writer != LockState::Free || *readers > 0);
        let is_free = |state: LockState| state == LockState::Free;
        is_free(self.holder.0) && self.permits.iter().all(|(state, ..)| is_free(*state)) && !is_shared
    }
}

/// The keys whose changes somebody is told of.
struct Watched {
    shared: Arc<Shared>,
    bell: Arc<Bell>,
    keys: BTreeMap<Arc<str>, Vec<Arc<str>>>,
}

impl Watched {
    fn new(shared: &Arc<Shared>) -> Self {
        Self { shared: Arc::clone(shared), bell: Arc::default(), keys: BTreeMap::new() }
    }

    /// Has the next change of this lock reported, by the nodes that can.
    async fn arm(&mut self, name: &Arc<str>, permits: usize) -> Result<(), Error> {
        let lock: Arc<str> = self.shared.keys.lock(&Name::of_any_client(name.to_string())?).into();
        let of_permits = Keys::all_permits(&lock).take(permits).map(|(_, key)| Arc::from(key));
        let mut keys = vec![Arc::from(Keys::permits(&lock)), Arc::from(Keys::readers(&lock))];
        for key in [Arc::clone(&lock), Arc::from(Keys::writer(&lock))].into_iter().chain(of_permits) {
            let LockKeys { lock, label } = Keys::around(&key);
            keys.extend([lock, Arc::from(label)]);
        }
        self.shared.wait_queues.watchers().watch(&keys, name, &self.bell);
        let (engine, asked) = (&self.shared.engine, keys.clone());
        self.keys.insert(Arc::clone(name), keys);
        // Whoever does not report is looked at all the same.
        let _ = engine
            .survey_all(|_, node| {
                let (keys, reply_timeout) = (asked.clone(), engine.node_timeout());
                async move { node.watch(keys, reply_timeout).await }
            })
            .await;
        Ok(())
    }

    fn forget(&mut self, name: &str) {
        if let Some(keys) = self.keys.remove(name) {
            self.shared.wait_queues.watchers().forget(&keys, &self.bell);
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        for keys in mem::take(&mut self.keys).into_values() {
            self.shared.wait_queues.watchers().forget(&keys, &self.bell);
        }
    }
}

impl LockManager {
    /// A lock as it changes: who holds it, who holds its [permits](crate::LockRequest::permits), and who has the lock of this name that
    /// [readers share](Self::read).
    ///
    /// The nodes report changes, so that they are told a round trip or two later; once a second, and when the lock would expire, it is
    /// looked at all the same. It tells what was, and not every change: of several that follow one another at once, the last.
    ///
    /// ```
    /// # use redlock_runtime::LockManager;
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
    /// let mut watch = locks.watch("deploy");
    /// assert!(!watch.next().await?.is_held());
    /// let _guard = locks.lock("deploy").acquire().await?;
    /// assert!(watch.next().await?.is_held());
    /// # Ok::<(), redlock_runtime::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn watch(&self, name: impl Into<String>) -> LockWatch {
        let (locks, watched) = (self.clone(), Watched::new(&self.shared));
        LockWatch { locks, name: name.into().into(), watched, told: None, patience: None }
    }

    /// All locks that [`list`](Self::list) names, as they change: first those that there are, one after the other; then each that
    /// changes, as [`watch`](Self::watch) does. The nodes report new ones, too; names are listed once a second all the same.
    ///
    /// ```
    /// # use redlock_runtime::LockManager;
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
    /// let _guard = locks.lock("deploy").acquire().await?;
    /// let mut watch = locks.watch_all();
    /// assert_eq!(watch.next().await.unwrap().name, "deploy");
    /// # Ok::<(), redlock_runtime::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn watch_all(&self) -> LocksWatch {
        let watched = Watched::new(&self.shared);
        LocksWatch {
            locks: self.clone(),
            announcements: Announcements::new(&self.shared, &watched.bell),
            watched,
            told: BTreeMap::new(),
            due: BTreeSet::new(),
            news: VecDeque::new(),
            list_at: None,
            looked_again: None,
            is_blind: false,
        }
    }
}

impl LockWatch {
    /// What the lock is: at once for the first time, and then when that has changed.
    ///
    /// # Errors
    ///
    /// [`Error::QuorumUnreachable`] when it can no longer be told what the lock is; once, and the next call waits until it can.
    /// [`Error::InvalidName`]; [`Error::ShutDown`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: what changed is told by the next call.
    pub async fn next(&mut self) -> Result<LockInfo, Error> {
        let uses = self.locks.shared.engine.uses();
        on_any_executor(uses, pin!(self.change())).await
    }

    async fn change(&mut self) -> Result<LockInfo, Error> {
        loop {
            if let Some(patience) = self.patience {
                tokio::select! {
                    () = self.watched.bell.rung() => {}
                    () = sleep(patience) => {}
                }
                self.patience = None;
            }
            let permits = match &self.told {
                Some(Seen::Sight(sight)) => sight.permits.len(),
                _ => 0,
            };
            // Before it is looked, so that no change is missed.
            self.watched.arm(&self.name, permits).await?;
            let _ = self.watched.bell.take_changed();
            let looked = self.locks.inspect(&*self.name).await;
            let (seen, patience) = match &looked {
                Ok(info) => (Seen::Sight(Sight::of(info)), patience(info)),
                Err(Error::QuorumUnreachable { .. }) => (Seen::Nothing, LOOK_EVERY),
                Err(_) => return looked,
            };
            self.patience = Some(patience);
            if self.told.as_ref() != Some(&seen) {
                self.told = Some(seen);
                return looked;
            }
        }
    }
}

/// How long nothing need be looked at that nobody reports.
fn patience(info: &LockInfo) -> Duration {
    let remaining = info.permits.iter().filter_map(|permit| permit.remaining).chain(info.remaining).min();
    // An expiry is not reported.
    remaining.map_or(LOOK_EVERY, |remaining| LOOK_EVERY.min(remaining.saturating_add(Duration::from_millis(20))))
}

impl LocksWatch {
    /// The next lock that is held, or has changed.
    ///
    /// # Errors
    ///
    /// [`Error::ListIncomplete`] when so few nodes listed their locks that some may be missing; once, and the next call goes on.
    /// [`Error::ShutDown`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: what changed is told by the next call.
    pub async fn next(&mut self) -> Result<LockInfo, Error> {
        let uses = self.locks.shared.engine.uses();
        on_any_executor(uses, pin!(self.change())).await
    }

    async fn change(&mut self) -> Result<LockInfo, Error> {
        loop {
            if let Some(info) = self.news.pop_front() {
                return Ok(info);
            }
            self.due.extend(self.watched.bell.take_changed());
            if !self.due.is_empty() {
                self.look().await?;
                continue;
            }
            match self.list_at.filter(|moment| *moment > clock::now()) {
                None => self.list().await?,
                Some(moment) => tokio::select! {
                    () = self.watched.bell.rung() => {}
                    () = clock::sleep_until(moment) => {}
                },
            }
        }
    }

    /// Looks at some of those that are due.
    async fn look(&mut self) -> Result<(), Error> {
        let names: Vec<_> = self.due.iter().take(AT_ONCE).cloned().collect();
        // What all nodes announce is reported without being asked for.
        for name in names.iter().filter(|_| !self.announcements.are_complete()) {
            let permits = self.told.get(name).map_or(0, |sight| sight.permits.len());
            self.watched.arm(name, permits).await?;
        }
        let looked = join_all(names.iter().map(|name| self.locks.inspect(&**name))).await;
        for (name, looked) in names.into_iter().zip(looked) {
            self.due.remove(&name);
            let info = match looked {
                Ok(info) => info,
                // The list tells that nodes are missing.
                Err(Error::QuorumUnreachable { .. }) => continue,
                Err(error) => return Err(error),
            };
            let sight = Sight::of(&info);
            let is_free = sight.is_free();
            let before =
                if is_free { self.told.remove(&name) } else { self.told.insert(Arc::clone(&name), sight.clone()) };
            if before.as_ref().map_or(!is_free, |before| *before != sight) {
                self.news.push_back(info);
            }
            if is_free {
                self.watched.forget(&name);
            }
        }
        Ok(())
    }

    /// Notes which are new, and which are gone.
    async fn list(&mut self) -> Result<(), Error> {
        // Before they are listed, so that no change is missed.
        self.announcements.go_on().await;
        let (mut names, mut listed) = (self.locks.list(), BTreeSet::new());
        let mut incomplete = None;
        while let Some(name) = names.next().await {
            match name {
                Ok(name) => drop(listed.insert(Arc::from(name))),
                Err(error @ Error::ListIncomplete { .. }) => incomplete = Some(error),
                Err(error) => return Err(error),
            }
        }
        self.locks.check_open()?;
        let known = |name: &Arc<str>| self.told.contains_key(name);
        let new: Vec<_> = listed.iter().filter(|name| !known(name)).cloned().collect();
        let gone: Vec<_> = self.told.keys().filter(|name| !listed.contains(*name)).cloned().collect();
        let again = self.told.len().div_ceil(LOOK_AGAIN);
        let behind = self.told.keys().filter(|name| self.looked_again.as_ref().is_none_or(|last| *name > last));
        let again: Vec<_> = behind.chain(self.told.keys()).take(again).cloned().collect();
        self.looked_again = again.last().cloned();
        self.due.extend(new.into_iter().chain(gone).chain(again));
        self.list_at = Some(clock::now() + LOOK_EVERY);
        let was_blind = mem::replace(&mut self.is_blind, incomplete.is_some());
        incomplete.filter(|_| !was_blind).map_or(Ok(()), Err)
    }
}

impl fmt::Debug for LockWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockWatch").field("name", &self.name).finish_non_exhaustive()
    }
}

impl fmt::Debug for LocksWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocksWatch").field("held", &self.told.len()).finish_non_exhaustive()
    }
}
