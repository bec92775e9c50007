//! What a node is asked to do about a lock.

use std::any::Any;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::ConnectionId;
use crate::protocol::{Asker, Proposal, RETENTION, StoredMark};
use crate::values::subject::{Kind, Subject, Which};

/// One request of one owner for one lock.
#[derive(Debug)]
pub(crate) struct Command {
    /// What to do with the key.
    pub(crate) action: Action,
    /// What it is about, the same on every node.
    pub(crate) subject: Subject,
    /// The owner's value.
    pub(crate) owner: Arc<str>,
    /// Which process asks, if this acquire comes from one that waits for the key: such processes are noted. Of a release: whether one
    /// goes on waiting behind an attempt that failed.
    pub(crate) contender: Option<Arc<str>>,
    /// Whether an acquire comes from somebody who has the lock, and whom this node has lost.
    pub(crate) asker: Asker,
    /// What an acquire that is made for a fire asks of the mark of completed fires, which it is told.
    pub(crate) mark: Option<MarkQuery>,
    /// The fire that a release, or a mark, marks as completed, if the key has the owner's value.
    pub(crate) new_mark: Option<NewMark>,
    /// What the lock's fencing counter is raised to at least, if it has one.
    pub(crate) fence: Option<Proposal>,
    /// Whose lock it was before this owner adopts it, or did.
    pub(crate) predecessor: Option<Arc<Predecessor>>,
    /// How long that counter stays when it is not used any more.
    pub(crate) retention: Duration,
    /// Set when nobody wants the command any more: a node that has not sent it yet then does not.
    recalled: AtomicBool,
    /// With which other one it is recalled as well.
    recalled_with: Option<Arc<Self>>,
    /// What it looks like to the first node that packed it, for others that are alike.
    pub(in crate::node) packed: OnceLock<Box<dyn Any + Send + Sync>>,
}

impl Command {
    pub(crate) fn new(action: Action, subject: &Subject, owner: &Arc<str>) -> Arc<Self> {
        Arc::new(Self::plain(action, subject, owner))
    }

    /// An acquire, or the commit behind it, with what else it does. By one of those who wait for the key: refused, it notes
    /// its process there; granted, it tells whether another process waits.
    pub(crate) fn acquire(
        action: Action,
        subject: &Subject,
        owner: &Arc<str>,
        contender: Option<Arc<str>>,
        fence: Option<Proposal>,
        mark: Option<MarkQuery>,
    ) -> Arc<Self> {
        Arc::new(Self { contender, mark, fence, ..Self::plain(action, subject, owner) })
    }

    /// A release behind an attempt that failed, whose owner's process goes on waiting.
    pub(crate) fn behind_failed(action: Action, subject: &Subject, owner: &Arc<str>) -> Arc<Self> {
        // Which process that is does not matter.
        Arc::new(Self { contender: Some(Arc::clone(owner)), ..Self::plain(action, subject, owner) })
    }

    /// The same acquire of the permits this one alone.
    pub(crate) fn narrowed(&self, slot: u8) -> Arc<Self> {
        let plain = Self::plain(self.action, &self.subject.about(Which::One(slot)), &self.owner);
        Arc::new(Self { fence: self.fence, retention: self.retention, ..plain })
    }

    /// A command of an owner who adopts the lock, or did.
    pub(crate) fn of_successor(
        action: Action,
        subject: &Subject,
        owner: &Arc<str>,
        predecessor: Option<&Arc<Predecessor>>,
        fence: Option<Proposal>,
    ) -> Arc<Self> {
        Arc::new(Self { fence, predecessor: predecessor.cloned(), ..Self::plain(action, subject, owner) })
    }

    /// The same about a part of what it is about.
    pub(crate) fn about(&self, part: &Subject) -> Arc<Self> {
        self.about_with(part, self.action)
    }

    /// Something else about a part of what it is about, for the same owner.
    pub(crate) fn about_with(&self, part: &Subject, action: Action) -> Arc<Self> {
        let (contender, retention) = (self.contender.clone(), self.retention);
        let asker = self.asker;
        Arc::new(Self { contender, asker, fence: self.fence, retention, ..Self::plain(action, part, &self.owner) })
    }

    /// An acquire that sets again what a node lost of a lock that the owner holds.
    pub(crate) fn set_again(ttl: Duration, subject: &Subject, owner: &Arc<str>) -> Arc<Self> {
        let action = Action::Acquire { ttl, is_watched: false };
        Arc::new(Self { asker: Asker::Holds, ..Self::plain(action, subject, owner) })
    }

    /// The same, recalled with the acquire that won the lock, if that may be.
    pub(crate) fn set_besides(
        ttl: Duration,
        subject: &Subject,
        owner: &Arc<str>,
        acquire: Option<&Arc<Self>>,
    ) -> Arc<Self> {
        let action = Action::Acquire { ttl, is_watched: false };
        let recalled_with = acquire.cloned();
        Arc::new(Self { asker: Asker::Holds, recalled_with, ..Self::plain(action, subject, owner) })
    }

    /// A release, or a mark, that marks a fire as completed.
    pub(crate) fn marking(action: Action, subject: &Subject, owner: &Arc<str>, new_mark: NewMark) -> Arc<Self> {
        Arc::new(Self { new_mark: Some(new_mark), ..Self::plain(action, subject, owner) })
    }

    fn plain(action: Action, subject: &Subject, owner: &Arc<str>) -> Self {
        let (subject, owner) = (subject.clone(), Arc::clone(owner));
        let (retention, recalled, packed) = (RETENTION, AtomicBool::new(false), OnceLock::new());
        let (contender, fence, predecessor) = (None, None, None);
        let (mark, new_mark) = (None, None);
        let asker = Asker::Comes;
        Self {
            action,
            subject,
            owner,
            contender,
            asker,
            mark,
            new_mark,
            fence,
            predecessor,
            retention,
            recalled,
            recalled_with: None,
            packed,
        }
    }

    /// A command on a lock that is tried out: its counter stays no longer than `retention`.
    pub(crate) fn tried_out(
        action: Action,
        subject: &Subject,
        owner: &Arc<str>,
        fence: Option<Proposal>,
        retention: Duration,
    ) -> Arc<Self> {
        Arc::new(Self { fence, retention, ..Self::plain(action, subject, owner) })
    }

    /// The key that stands for the lock.
    pub(crate) fn key(&self) -> &Arc<str> {
        self.subject.key()
    }

    /// Whether it can be asked of such a subject: readers' locks and those of several keys are not taken over, and mark no fires.
    pub(crate) fn is_offered(&self) -> bool {
        match (self.subject.kind(), self.action) {
            (Some(Kind::Reader(_) | Kind::Several(_)), Action::Adopt { .. } | Action::Mark) => false,
            (kind, _) => self.new_mark.is_none() || kind.is_none(),
        }
    }

    /// Whether the owner may be noted beside the key.
    pub(crate) fn is_noted(&self) -> bool {
        match self.action {
            Action::Acquire { .. } | Action::Adopt { .. } | Action::Commit { .. } | Action::Mark => false,
            Action::Extend { is_noted, .. } | Action::Release { is_noted, .. } => is_noted,
        }
    }

    /// Whether a key with this value is the owner's from this adoption on.
    pub(crate) fn is_to_adopt_from(&self, value: &Arc<str>) -> bool {
        *value == self.owner || self.predecessor.as_ref().is_some_and(|before| before.owner == *value)
    }

    /// Whose a key is again that this release is about.
    pub(crate) fn gives_back(&self) -> Option<&Predecessor> {
        self.predecessor.as_deref().filter(|before| before.gets_back.is_some())
    }

    /// Whether this release is about a key with this value.
    pub(crate) fn releases(&self, value: &Arc<str>) -> bool {
        let releases_both = self.predecessor.as_ref().is_some_and(|before| before.gets_back.is_none());
        *value == self.owner || releases_both && self.is_to_adopt_from(value)
    }

    pub(crate) fn recall(&self) {
        self.recalled.store(true, Ordering::Release);
    }

    pub(crate) fn is_recalled(&self) -> bool {
        self.recalled.load(Ordering::Acquire) || self.recalled_with.as_ref().is_some_and(|other| other.is_recalled())
    }
}

/// Whose a lock was before it was adopted.
#[derive(Debug)]
pub(crate) struct Predecessor {
    /// The value that the key had.
    pub(crate) owner: Arc<str>,
    /// Whether a release gives the key back, for so long at least where what is left of it is not known. Else it also releases
    /// the key where it is the predecessor's still.
    pub(crate) gets_back: Option<Duration>,
}

/// What a command does with its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Set the key to the owner's value if it does not exist.
    Acquire {
        /// How long the key lives.
        ttl: Duration,
        /// Whether the next change of the key is to be reported if this is refused.
        is_watched: bool,
    },
    /// Give the key to the owner if it is the predecessor's ([`Command::predecessor`]), or the owner's already, and let it live
    /// for the TTL from now, or for as long as it would if that is longer. A grant tells the fencing counter, and does not
    /// raise it. May be repeated at will.
    Adopt {
        /// How long the key lives from now.
        ttl: Duration,
    },
    /// Raise the lock's fencing counter to this token, if the key has the owner's value.
    Commit {
        /// The token.
        token: u64,
    },
    /// Let the key live for the TTL from now, if it has the owner's value.
    Extend {
        /// How long the key lives from now.
        ttl: Duration,
        /// Whether the owner is noted beside the key: the note lives as long.
        is_noted: bool,
    },
    /// Delete the key, if it has the owner's value.
    Release {
        /// If not zero, let the key live for this much longer instead of deleting it, under a value that no owner has.
        keep: Duration,
        /// A connection whose commands may still be travelling: it is killed first, so that none of them can be
        /// applied behind this release.
        behind: Option<ConnectionId>,
        /// Whether the owner may be noted beside the key: the note goes with it.
        is_noted: bool,
    },
    /// Mark a fire as completed ([`Command::new_mark`]), if the key has the owner's value, and leave the key.
    Mark,
}

/// What an acquire that is made for a fire asks of a node's mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MarkQuery {
    /// A node that has a mark as great as this does not set the key: the fire was completed, and nobody wants the lock. `None`: it
    /// sets it even so, because less than a majority says so.
    pub(crate) refuse_from: Option<u64>,
    /// What a mark has to live when it is written.
    pub(crate) retention: Duration,
}

impl MarkQuery {
    /// Whether a node that has this stored sets no key.
    pub(crate) fn refuses(self, stored: Option<StoredMark>) -> bool {
        self.refuse_from.zip(stored).is_some_and(|(least, stored)| stored.fire >= least)
    }
}

/// A fire that is marked as completed, unless a later one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NewMark {
    /// What is stored.
    pub(crate) stored: StoredMark,
    /// How long it is kept from now on, at least.
    pub(crate) retention: Duration,
}
