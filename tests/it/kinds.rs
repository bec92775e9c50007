//! What is promised of every kind of lock is tried with each, by the same tests.

use redlock_runtime::{LockManager, LockRequest};

use crate::common::key;
use crate::permits::slot;

/// A kind of lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One holder at a time.
    Mutex,
    /// Two.
    Permits,
}

impl Kind {
    pub(crate) const ALL: [Self; 2] = [Self::Mutex, Self::Permits];

    /// The lock "x" of this kind.
    pub(crate) fn request(self, locks: &LockManager) -> LockRequest {
        match self {
            Self::Mutex => locks.lock("x"),
            Self::Permits => locks.lock("x").permits(2),
        }
    }

    /// The keys under which its owners stand: nobody gets it who finds all of them taken.
    pub(crate) fn keys(self) -> Vec<String> {
        match self {
            Self::Mutex => vec![key("x")],
            Self::Permits => (0..2).map(|permit| slot("x", permit)).collect(),
        }
    }
}
