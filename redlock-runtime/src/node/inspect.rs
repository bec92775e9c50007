//! What a node knows of locks, for people: who holds one, which there are, and how to be rid of one. Nothing here is a vote.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::Changes;
use super::counters::Answer;
use crate::protocol::StoredMark;
use crate::values::keys::{Keys, LockKeys};

/// A node's keys, looked at and deleted past their owners.
///
/// Every request may be repeated, and an answer may be dropped at any time. `reply_timeout` is how long each round trip may take.
pub(crate) trait Inspecting {
    /// Writes beside locks who their owners are, for as long as the keys live; nothing beside those that their owners do not
    /// hold any more.
    fn record_labels(&self, labels: Vec<OwnerLabel>, reply_timeout: Duration) -> Answer<()>;

    /// What the node has of a lock; `None`: nothing.
    fn look(&self, keys: Arc<LockKeys>, reply_timeout: Duration) -> Answer<Option<LockRecord>>;

    /// Asks something cheap that changes nothing, about a lock that nobody has.
    fn answers(&self, nobodys: Arc<LockKeys>, reply_timeout: Duration) -> Answer<()> {
        let looking = self.look(nobodys, reply_timeout);
        Box::pin(async move { looking.await.map(drop) })
    }

    /// [`Self::look`] for each of these, in their order.
    fn look_at_each(&self, locks: &[Arc<LockKeys>], reply_timeout: Duration) -> Answer<Vec<Looked>> {
        let looking: Vec<_> = locks.iter().map(|keys| self.look(Arc::clone(keys), reply_timeout)).collect();
        Box::pin(async move { Ok(join_all(looking).await) })
    }

    /// [`Self::mark`] for each of these, in their order; for one whose mark cannot be read, as for one that has none.
    fn marks(&self, locks: &[Arc<str>], reply_timeout: Duration) -> Answer<Vec<Option<StoredMark>>> {
        let marks: Vec<_> = locks.iter().map(|lock| self.mark(Arc::clone(lock), reply_timeout)).collect();
        Box::pin(async move { Ok(join_all(marks).await.into_iter().map(|mark| mark.ok().flatten()).collect()) })
    }

    /// What the node has of the permits of the lock with this key.
    fn permits(&self, _lock: Arc<str>, _reply_timeout: Duration) -> Answer<PermitsRecord> {
        Box::pin(std::future::ready(Ok(PermitsRecord::default())))
    }

    /// What the node has of the lock that readers share and that has the name of the lock with this key.
    fn shared(&self, _lock: Arc<str>, _reply_timeout: Duration) -> Answer<SharedRecord> {
        Box::pin(std::future::ready(Ok(SharedRecord::default())))
    }

    /// Reports the next change of each of these keys, as [`report_to`](super::Voter::report_to) says; all are in one slot of a cluster.
    /// Where the node cannot, nothing is wrong: whoever watches looks now and then.
    fn watch(&self, _keys: Vec<Arc<str>>, _reply_timeout: Duration) -> Answer<()> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Reports to those who are named here whatever changes of keys that begin with one of these, for as long as what this gives lives;
    /// `None` where the node cannot, as [`Self::watch`].
    fn announce(&self, _prefixes: &Arc<[String]>, _changes: Changes) -> Option<Box<dyn Announcing>> {
        None
    }

    /// Such keys, from where the page before says. All pages together have every key that was there all the time, some of them
    /// twice; and none that is no lock's, by what it holds.
    fn page(&self, wanted: Listed, from: Cursor, reply_timeout: Duration) -> Answer<Page>;

    /// Deletes locks, whoever holds them, and what stands beside them.
    fn reset(&self, locks: Vec<Arc<LockKeys>>, reply_timeout: Duration) -> Answer<Vec<Deleted>>;

    /// The mark of the greatest completed fire of the lock with this key; `None`: no fire, as far as the node knows.
    fn mark(&self, lock: Arc<str>, reply_timeout: Duration) -> Answer<Option<StoredMark>>;

    /// Lets that mark say that no fire was completed, for so long; whether one was.
    fn reset_mark(&self, lock: Arc<str>, retention: Duration, reply_timeout: Duration) -> Answer<bool>;
}

/// A node that reports all changes of locks.
pub(crate) trait Announcing: Send + Sync {
    /// Sees to it that it reports, which is asked for again now and then: what it reports on may have ended. Whether it does.
    fn go_on(&mut self, reply_timeout: Duration) -> GoingOn<'_>;
}

/// Whether it goes on.
pub(crate) type GoingOn<'a> = Pin<Box<dyn Future<Output = bool> + Send + 'a>>;

/// Who holds a lock, in words.
#[derive(Clone, Debug)]
pub(crate) struct OwnerLabel {
    /// Which lock.
    pub(crate) keys: Arc<LockKeys>,
    /// The value that the key has while this is true.
    pub(crate) owner: Arc<str>,
    /// The words.
    pub(crate) label: Arc<str>,
    /// How long ago the lock was acquired.
    pub(crate) held_for: Duration,
    /// Its fencing token; zero if it has none.
    pub(crate) fencing_token: u64,
}

/// What a node has of a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LockRecord {
    /// The value of the key.
    pub(crate) owner: Arc<str>,
    /// How long the key lives; `None`: for ever.
    pub(crate) remaining: Option<Duration>,
    /// What this very owner noted about itself.
    pub(crate) label: Option<RecordedLabel>,
}

/// What a node has of one of several locks, or why it cannot tell.
pub(crate) type Looked = Result<Option<LockRecord>, Arc<str>>;

/// What a node has of a lock's permits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PermitsRecord {
    /// How many there are, if somebody said so lately.
    pub(crate) said: Option<u8>,
    /// Those that are held, by their numbers.
    pub(crate) held: Vec<(u8, LockRecord)>,
}

impl PermitsRecord {
    /// What it has of this one.
    pub(crate) fn of(&self, permit: u8) -> Option<&LockRecord> {
        self.held.iter().find(|(other, _)| *other == permit).map(|(_, record)| record)
    }
}

/// What a node has of a lock that readers share.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SharedRecord {
    /// The writer.
    pub(crate) writer: Option<LockRecord>,
    /// How many readers there are, and how long the last of them stays.
    pub(crate) readers: (u64, Duration),
}

impl SharedRecord {
    pub(crate) fn is_free(&self) -> bool {
        self.writer.is_none() && self.readers.0 == 0
    }
}

/// What an owner noted about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RecordedLabel {
    /// What it is called.
    pub(crate) label: String,
    /// How long ago it acquired the lock.
    pub(crate) held_for: Duration,
    /// The fencing token of the lock; zero if it has none.
    pub(crate) fencing_token: u64,
}

/// Which keys are listed.
#[derive(Clone, Debug)]
pub(crate) enum Listed {
    /// Those of locks, which begin with this.
    Locks(Arc<str>),
    /// Those of permits, of the writers of locks that readers share, and of their readers.
    Others,
}

impl Listed {
    /// Whether a key is called so.
    pub(crate) fn is_called(&self, key: &str) -> bool {
        match self {
            Self::Locks(prefix) => key.starts_with(&**prefix),
            Self::Others => Keys::OF_OTHER_KINDS.iter().any(|prefix| key.starts_with(prefix)),
        }
    }
}

/// Where a page begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// On which of the servers behind the node.
    pub(crate) server: usize,
    /// Where there.
    pub(crate) at: u64,
}

/// Some of the keys.
#[derive(Clone, Debug, Default)]
pub(crate) struct Page {
    /// In no order.
    pub(crate) keys: Vec<String>,
    /// Where the next page begins, if there is one.
    pub(crate) next: Option<Cursor>,
}

/// Whether there was such a key; or why it could not be deleted.
pub(crate) type Deleted = Result<bool, Arc<str>>;
