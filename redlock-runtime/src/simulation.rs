//! What the tests that simulate use: the machine that they put in the place of the real one, the rules that they switch off, and
//! what a checker asks of locks and managers.
//!
//! Only a build with `--cfg redlock_simulated` has this module, and only tests make one. Everything else in the crate is
//! what ships.

#![allow(missing_docs, reason = "for the simulation alone")]

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::held::lease::Lease;
use crate::platform::clock;
use crate::{LockGuard, LockManager, Term};

pub use crate::platform::simulated::*;
pub use crate::rules::{Rule, switch_off};

/// A lock that somebody holds, for those who look on.
#[derive(Clone)]
pub struct Held {
    lease: Weak<Lease>,
    pub key: Arc<str>,
    /// All keys under which the owner's value stands.
    pub keys: Vec<Arc<str>>,
    /// Whether others can hold it beside this one.
    pub is_shared: bool,
    pub owner: Arc<str>,
    pub token: u64,
    /// When the attempt that won it began, by its holder's clock.
    pub began: Instant,
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Held").field("key", &self.key).field("owner", &self.owner).finish_non_exhaustive()
    }
}

impl Held {
    /// That of whoever leads.
    #[must_use]
    pub fn of_term(term: &Term) -> Self {
        Self::of(term.guard())
    }

    #[must_use]
    pub fn of(guard: &LockGuard) -> Self {
        let lease = guard.lease();
        let (key, owner) = (Arc::clone(lease.subject.key()), Arc::clone(&lease.owner));
        let subject = &lease.subject;
        let keys = subject.own_keys().cloned().collect();
        let is_shared = subject.is_shared();
        Self {
            lease: Arc::downgrade(lease),
            key,
            keys,
            is_shared,
            owner,
            token: lease.fencing_token,
            began: lease.began,
        }
    }

    /// For how long it counts as held by the clock of the process that asks, which is its holder's.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        let Some(lease) = self.lease.upgrade().filter(|lease| !lease.is_over()) else { return Duration::ZERO };
        let now = clock::now();
        match lease.lost_reason(now) {
            None => lease.valid_until().saturating_duration_since(now),
            Some(_) => Duration::ZERO,
        }
    }
}

/// How many attempts and releases are on their way.
#[must_use]
pub fn open_releases(locks: &LockManager) -> usize {
    locks.shared.engine.tracked_releases().open()
}
