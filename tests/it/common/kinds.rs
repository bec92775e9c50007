//! The kinds of locks: what is promised of each is tried with every one of them, by the same tests.

use redlock_runtime::{LockManager, LockRequest};

use super::key;

/// A kind of lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One holder at a time.
    Mutex,
    /// Two.
    Permits,
    /// Any number who read.
    Read,
    /// One who writes, and nobody else.
    Write,
    /// One who holds two names.
    Names,
}

impl Kind {
    pub(crate) const ALL: [Self; 5] = [Self::Mutex, Self::Permits, Self::Read, Self::Write, Self::Names];

    /// The lock "x" of this kind.
    pub(crate) fn request(self, locks: &LockManager) -> LockRequest {
        match self {
            Self::Mutex => locks.lock("x"),
            Self::Permits => locks.lock("x").permits(2),
            Self::Read => locks.read("x"),
            Self::Write => locks.write("x"),
            Self::Names => locks.lock_all(["x", "y"]),
        }
    }

    /// The keys under which its owners stand.
    pub(crate) fn keys(self) -> Vec<String> {
        match self {
            Self::Mutex => vec![key("x")],
            Self::Permits => (0..2).map(|permit| slot("x", permit)).collect(),
            Self::Read => vec![readers_key("x")],
            Self::Write => vec![writers_key("x")],
            Self::Names => vec![key("x"), key("y")],
        }
    }

    /// The keys that keep everybody from it who finds all of them taken.
    pub(crate) fn taken(self) -> Vec<String> {
        match self {
            Self::Read => Self::Write.keys(),
            _ => self.keys(),
        }
    }
}

/// The key of a permit.
pub(crate) fn slot(name: &str, permit: u32) -> String {
    format!("redlock-permit-{permit}:{{{}}}", key(name))
}

pub(crate) fn writers_key(name: &str) -> String {
    format!("redlock-rw:{{{}}}", key(name))
}

pub(crate) fn readers_key(name: &str) -> String {
    format!("redlock-readers:{{{}}}", key(name))
}
