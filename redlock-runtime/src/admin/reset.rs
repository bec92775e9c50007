use std::collections::BTreeSet;
use std::iter;
use std::mem;
use std::pin::pin;
use std::sync::Arc;

use futures_util::future::join_all;

use super::holding::{Holding, ask_who_holds};
use crate::Error;
use crate::engine::Acquisition;
use crate::lock::shared::Shared;
use crate::manager::LockManager;
use crate::node::inspect::Deleted;
use crate::platform::background::{background, block_on, on_any_executor};
use crate::protocol::Verdict;
use crate::values::keys::{Keys, LockKeys};
use crate::values::name::Name;
use crate::values::subject::Subject;

/// So many locks are reset in one round of questions to the nodes.
const AT_ONCE: usize = 32;

impl LockManager {
    /// Takes a lock from whoever holds it, a Python process too: deletes its key on every node. Says on how many of them there
    /// was one; none is no error. All [permits](crate::LockRequest::permits) of this name are taken as well, each of which is counted;
    /// [`reset_permit`](Self::reset_permit) takes one. The lock of this name that [readers share](Self::read) is taken from its writer,
    /// which is counted, and from its readers, who are counted together. Of a lock of [several names](Self::lock_all) all of it is lost with
    /// one of them.
    ///
    /// Whoever waits for the lock gets it at once. A holder in this process that uses this manager is told at once
    /// ([`LostReason::Reset`](crate::LostReason::Reset)), one in another process when it extends the lock next, a Python process never; until then
    /// it goes on as if it held the lock. This is for a holder that is gone or stuck, after looking at
    /// [`inspect`](Self::inspect): whoever works under the lock may otherwise not be alone.
    ///
    /// ```
    /// # use redlock_runtime::LockManager;
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
    /// let _stuck = locks.lock("invoice:7").acquire().await?;
    /// assert_eq!(locks.reset("invoice:7").await?, 1); // nodes that had the key
    /// assert!(locks.lock("invoice:7").try_acquire().await?.is_some());
    /// # Ok::<(), redlock_runtime::Error>(())
    /// # })?;
    /// # Ok::<(), redlock_runtime::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::QuorumUnreachable`] if no majority confirmed: the lock may or may not be held still, and resetting it again
    /// does no harm. A node whose key holds what no lock holds does not confirm. [`Error::InvalidName`]; [`Error::ShutDown`].
    ///
    /// # Cancel safety
    ///
    /// Once polled, it goes on in the background if it is dropped.
    pub async fn reset(&self, name: impl Into<String>) -> Result<usize, Error> {
        self.check_open()?;
        let name = Name::of_any_client(name.into())?;
        let reset = reset_all_of(&self.shared, vec![name]).await;
        reset.into_iter().next().unwrap_or(Ok(0))
    }

    /// [`Self::reset`] for code that is not async: blocks the thread.
    ///
    /// # Errors
    ///
    /// Those of [`Self::reset`].
    pub fn reset_blocking(&self, name: impl Into<String>) -> Result<usize, Error> {
        let name = name.into();
        block_on(self.reset(name))
    }

    /// Takes a lock from this owner, and from nobody else: each node compares and deletes in one step. The owner is what
    /// [`inspect`](Self::inspect) shows, a fencing token or an owner's label, or the value of its key. For a lock that somebody has looked at, and
    /// decided to take: whoever acquired it since keeps it. It is about the lock of this name that has no
    /// [permits](crate::LockRequest::permits).
    ///
    /// A fencing token is one holder's alone. A label may be several holders'. The value of a key is that of all who have
    /// the lock one after another within a process ([hand-over](crate::LockManagerBuilder::local_hand_over)): by it, the lock is taken
    /// from whoever of them has it. A holder whose token and label are not shown yet, because it has had the lock for less than a tenth of a second, is not
    /// found by them.
    ///
    /// Waiters and the holder are notified as by [`reset`](Self::reset).
    ///
    /// ```
    /// # use redlock_runtime::{Error, LockManager};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
    /// let _stuck = locks.lock("invoice:7").acquire().await?;
    /// assert!(locks.is_locked("invoice:7").await?);
    /// let other = locks.reset_if_owner("invoice:7", "worker-3").await;
    /// assert!(matches!(other, Err(Error::NotHeld { .. })));
    /// # Ok::<(), Error>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::NotHeld`] if this owner does not hold it; nothing was changed. [`Error::QuorumUnreachable`] if too few nodes answered: it may
    /// or may not be held still, and resetting it again does no harm. [`Error::InvalidName`]; [`Error::ShutDown`].
    ///
    /// # Cancel safety
    ///
    /// Dropped before it ended, it may or may not be reset.
    pub async fn reset_if_owner(&self, name: impl Into<String>, owner: impl Into<String>) -> Result<(), Error> {
        self.check_open()?;
        let (name, owner) = (Name::of_any_client(name.into())?, owner.into());
        on_any_executor(self.shared.engine.uses(), pin!(reset_of(&self.shared, &name, &owner))).await
    }

    /// [`Self::reset_if_owner`] for code that is not async: blocks the thread.
    ///
    /// # Errors
    ///
    /// Those of [`Self::reset_if_owner`].
    pub fn reset_if_owner_blocking(&self, name: impl Into<String>, owner: impl Into<String>) -> Result<(), Error> {
        let (name, owner) = (name.into(), owner.into());
        block_on(self.reset_if_owner(name, owner))
    }

    /// [Resets](Self::reset) every lock that [`list`](Self::list) names: those of all processes that use these nodes with
    /// this prefix. Says how many there were.
    ///
    /// Refused with an empty [`lock_prefix`](crate::LockManagerBuilder::lock_prefix): every text of the database would count as a lock, and be
    /// deleted.
    ///
    /// ```
    /// # use redlock_runtime::LockManager;
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
    /// let _stuck = locks.lock("invoice:7").acquire().await?;
    /// let _busy = locks.lock("invoice:8").acquire().await?;
    /// assert_eq!(locks.reset_all().await?, 2); // locks
    /// # Ok::<(), redlock_runtime::Error>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::ListIncomplete`], and [`Error::QuorumUnreachable`] of a lock that could not be reset; those that could be are.
    /// [`Error::Config`] if the prefix is empty, and nothing was reset. [`Error::ShutDown`].
    ///
    /// # Cancel safety
    ///
    /// Dropped before it ended, some locks are reset and others are not.
    pub async fn reset_all(&self) -> Result<usize, Error> {
        self.check_open()?;
        if self.shared.keys.lock_prefix.is_empty() {
            let reason = "with an empty lock_prefix every text in the database counts as a lock, and reset_all would delete those of \
                          others, too; reset each lock by its name, or set a lock_prefix";
            return Err(Error::Config { reason: reason.to_owned() });
        }
        let (mut names, mut batch) = (self.list(), Vec::new());
        let (mut count, mut first_error) = (0, None);
        let mut note = |reset: Vec<Result<usize, Error>>| {
            for reset in reset {
                match reset {
                    Ok(nodes) => count += usize::from(nodes > 0),
                    Err(error) => drop(first_error.get_or_insert(error)),
                }
            }
        };
        while let Some(name) = names.next().await {
            match name.and_then(Name::of_any_client) {
                Ok(name) => batch.push(name),
                Err(error) => note(vec![Err(error)]),
            }
            if batch.len() == AT_ONCE {
                note(reset_all_of(&self.shared, mem::take(&mut batch)).await);
            }
        }
        note(reset_all_of(&self.shared, batch).await);
        first_error.map_or(Ok(count), Err)
    }

    /// [`Self::reset_all`] for code that is not async: blocks the thread.
    ///
    /// # Errors
    ///
    /// Those of [`Self::reset_all`].
    pub fn reset_all_blocking(&self) -> Result<usize, Error> {
        block_on(self.reset_all())
    }
}

/// Takes a lock from whoever is called this, or has this fencing token, or this value.
async fn reset_of(shared: &Arc<Shared>, name: &Name, whose: &str) -> Result<(), Error> {
    let engine = &shared.engine;
    let keys = Arc::new(Keys::around(&shared.keys.lock(name).into()));
    let not_held = || Error::NotHeld { name: name.as_str().to_owned() };
    let meant = |holding: Holding<'_>| {
        let is_held = holding.is_held()?;
        let Holding { census, label, fencing_token } = holding;
        let is_meant = |value: &&str| {
            let has_token = fencing_token.is_some_and(|token| token.to_string() == whose);
            *value == whose || has_token || label.is_some_and(|label| label.label == whose)
        };
        let held = census.owner.filter(|_| is_held);
        Some(held.filter(is_meant).map(Arc::<str>::from))
    };
    let owner = ask_who_holds(shared, name, meant).await?.ok_or_else(not_held)?;
    let holder = shared.wait_queues.local_holders_of(&keys.lock).into_iter().find(|lease| lease.owner == owner);
    // Released by its value, as its owner does: whoever has it since has another.
    let subject = Subject::Key(Arc::clone(&keys.lock));
    match Acquisition::adopted(Arc::clone(engine), subject, owner).release().await {
        Ok(()) => {
            if let Some(holder) = holder {
                holder.lose_to_reset();
            }
            Ok(())
        }
        Err(lost) if lost.verdict == Verdict::Refused => Err(not_held()),
        Err(lost) => Err(lost.into_unreachable(name, engine)),
    }
}

/// [Deletes](reset_each) these locks with all permits that any of the nodes has.
async fn reset_all_of(shared: &Arc<Shared>, names: Vec<Name>) -> Vec<Result<usize, Error>> {
    if names.is_empty() {
        return Vec::new();
    }
    let (count, shared) = (names.len(), Arc::clone(shared));
    in_background(count, async move {
        let locks = with_what_belongs_to_them(&shared, names).await;
        delete_each(&shared, locks).await
    })
    .await
}

/// Deletes these keys of locks, and tells their holders in this process; on how many nodes each lock was, in their order. Goes
/// on by itself once it was polled.
pub(super) async fn reset_each(shared: &Arc<Shared>, locks: Vec<(Name, Vec<Arc<str>>)>) -> Vec<Result<usize, Error>> {
    let (count, shared) = (locks.len(), Arc::clone(shared));
    in_background(count, async move { delete_each(&shared, locks).await }).await
}

/// What comes of resetting so many locks.
async fn in_background(
    count: usize,
    resetting: impl Future<Output = Vec<Result<usize, Error>>> + Send + 'static,
) -> Vec<Result<usize, Error>> {
    // It neither panics nor is aborted.
    match background() {
        Ok(background) => background.spawn(resetting).await.unwrap_or_default(),
        Err(error) => (0..count).map(|_| Err(error.clone())).collect(),
    }
}

/// The keys of these locks, of all their permits that any of the nodes has, and of what readers share.
async fn with_what_belongs_to_them(shared: &Shared, names: Vec<Name>) -> Vec<(Name, Vec<Arc<str>>)> {
    let locks: Vec<Arc<str>> = names.iter().map(|name| shared.keys.lock(name).into()).collect();
    let reply_timeout = shared.engine.node_timeout();
    // Whoever may not read permits has none.
    let (answers, _) = shared
        .engine
        .survey_all(|_, node| {
            let locks = locks.clone();
            async move {
                let permits = locks.clone().into_iter().map(|lock| node.permits(lock, reply_timeout));
                let shared = locks.into_iter().map(|lock| node.shared(lock, reply_timeout));
                let (permits, shared) = tokio::join!(join_all(permits), join_all(shared));
                Ok(permits.into_iter().zip(shared).collect::<Vec<_>>())
            }
        })
        .await;
    let keys_of = |(index, (name, lock)): (usize, (Name, &Arc<str>))| {
        let told = answers.iter().filter_map(|(_, answer)| answer.get(index)?.0.as_ref().ok());
        let shared = answers.iter().filter_map(|(_, answer)| answer.get(index)?.1.as_ref().ok());
        let is_shared = shared.clone().any(|shared| !shared.is_free());
        let shared = is_shared.then(|| [Keys::writer(lock), Keys::readers(lock)].map(Arc::from)).into_iter().flatten();
        let held: BTreeSet<u8> = told.flat_map(|permits| &permits.held).map(|(permit, _)| *permit).collect();
        let permits = held.into_iter().map(|permit| Keys::permit(lock, permit).into());
        (name, iter::once(Arc::clone(lock)).chain(permits).chain(shared).collect())
    };
    names.into_iter().zip(&locks).enumerate().map(keys_of).collect()
}

async fn delete_each(shared: &Shared, locks: Vec<(Name, Vec<Arc<str>>)>) -> Vec<Result<usize, Error>> {
    let keys: Vec<Arc<LockKeys>> =
        locks.iter().flat_map(|(_, keys)| keys).map(|key| Arc::new(Keys::around(key))).collect();
    // Those that hold them now: whoever acquires a lock behind its reset keeps it.
    let holders: Vec<_> = keys.iter().map(|keys| shared.wait_queues.local_holders_of(&keys.lock)).collect();
    let reply_timeout = shared.engine.node_timeout();
    let (answers, unreached): (Vec<(usize, Vec<Deleted>)>, _) = shared
        .engine
        .survey_all(|_, node| {
            let keys = keys.clone();
            async move { node.reset(keys, reply_timeout).await }
        })
        .await;
    let quorum = shared.engine.quorum();
    let of_one = |index: usize, name: &Name| {
        let (mut confirmed, mut deleted, mut failures) = (0, 0, unreached.clone());
        for (node, answer) in &answers {
            match answer.get(index) {
                Some(Ok(was_there)) => {
                    confirmed += 1;
                    deleted += usize::from(*was_there);
                }
                Some(Err(reason)) => failures.push(shared.engine.nodes()[*node].label(), &**reason),
                None => failures.push(shared.engine.nodes()[*node].label(), "an answer is missing"),
            }
        }
        if confirmed < quorum.needed() {
            return Err(shared.engine.unreachable(name, confirmed, failures));
        }
        holders[index].iter().for_each(|holder| holder.lose_to_reset());
        Ok(deleted)
    };
    let mut index = 0..;
    let outcome = |(name, keys): (Name, Vec<Arc<str>>)| {
        let each: Vec<_> = index.by_ref().take(keys.len()).map(|index| of_one(index, &name)).collect();
        each.into_iter().sum()
    };
    locks.into_iter().map(outcome).collect()
}
