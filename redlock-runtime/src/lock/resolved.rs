use std::time::{Duration, Instant};

use super::fire::RequestedFire;
use crate::Error;
use crate::engine::AttemptFailed;
use crate::protocol::Needs;
use crate::values::name::Name;
use crate::values::subject::Subject;

/// A request as one acquisition has it: every setting checked, the manager's where the request sets none.
#[derive(Debug)]
pub(super) struct Resolved {
    /// What a lease has to be like that is taken from another holder of this process; `None` if none is, nor passed on.
    pub(super) needs: Option<Needs>,
    /// The lock's name, as errors and its guard tell it.
    pub(super) name: Name,
    /// What is asked for, the same on every node.
    pub(super) subject: Subject,
    /// How long the lock lives without renewal.
    pub(super) ttl: Duration,
    /// How long the nodes are asked to keep the key: at least for the TTL, and for `min_hold` unless it is for a fire.
    pub(super) key_ttl: Duration,
    /// How long the key stays at least, from the attempt that is won.
    pub(super) min_hold: Option<Duration>,
    /// How long the lock may be held at most, from the attempt that is won.
    pub(super) max_hold: Option<Duration>,
    /// Whether the caller waits for a lock that is held.
    pub(super) waits: bool,
    /// When the acquisition began, from which the caller's timeout counts.
    pub(super) began: Instant,
    /// When a caller that waits gives up; `None`: never.
    pub(super) deadline: Option<Instant>,
    /// The fire that the lock is asked for, if it is for one.
    pub(super) fire: Option<RequestedFire>,
}

impl Resolved {
    /// Until when the key stays, even if the lock is released before, after an attempt that began then; `None`: no longer than
    /// the lock is held.
    pub(super) fn keep_until(&self, began: Instant) -> Option<Instant> {
        self.min_hold.and_then(|least| began.checked_add(least))
    }

    /// The error of an attempt after which nobody can know whether the fire was completed; `None` for any other.
    pub(super) fn in_doubt(&self, failed: &AttemptFailed) -> Option<Error> {
        match (&self.fire, failed.fire.as_deref()) {
            (Some(fire), Some(refusal)) => Some(fire.error(&self.name, *refusal, failed.failures.clone())),
            _ => None,
        }
    }

    /// Beyond which moment the lock is not extended after an attempt that began then; `None`: as long as its guard lives.
    pub(super) fn max_until(&self, began: Instant) -> Option<Instant> {
        self.max_hold.and_then(|most| began.checked_add(most))
    }
}
