//! The fire that a lock is asked for, and that of a held lock.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::shared::Shared;
use crate::Error;
use crate::engine::{FireRefusal, NotConfirmed};
use crate::error::NodeFailures;
use crate::node::NewMark;
use crate::protocol::{self, FireQuestion, GREATEST_FIRE, StoredMark};
use crate::shown::{rounded, shown};
use crate::values::fire::{Fire, FireKind, OnceAt};
use crate::values::name::Name;

/// The fire that a request is for, checked.
#[derive(Clone, Debug)]
pub(super) struct RequestedFire {
    /// What the marks of the nodes are asked about.
    pub(super) question: Arc<FireQuestion>,
    /// When it is marked as completed.
    at: OnceAt,
}

/// The fire that a held lock is for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeldFire {
    /// What is marked.
    pub(super) mark: NewMark,
    /// When.
    pub(super) at: OnceAt,
    /// Until when the lock's key stays once the fire is marked. Behind a run that failed it does not stay, for another to make up for it.
    pub(super) keep_until: Option<Instant>,
}

impl RequestedFire {
    /// Checks the fire that a request is for, at the moment from which its timeout counts.
    pub(super) fn resolve(fire: Fire, at: OnceAt, shared: &Shared, began: Instant) -> Result<Self, Error> {
        if let Some(node) = shared.engine.nodes().iter().find(|node| !node.keeps_marks()) {
            let node = node.label();
            let reason = format!(
                "`once` needs nodes that keep marks of completed fires, which the custom node {node} cannot; use Redis servers, or \
                         `memory://` in tests, as the nodes of such jobs"
            );
            return Err(Error::Config { reason });
        }
        let mut terms = shared.once_terms;
        let now = shared.since_1970();
        let fire = checked(fire, terms.retention, now)?;
        let early = fire.asked_in(now, terms.max_clock_skew);
        if !early.is_zero() {
            let reason = format!(
                "the fire {} is asked for {} too early: it may be asked for at most `max_clock_skew` before it is due, which is {:?}; use \
                 the moment that the job is scheduled for, or raise `max_clock_skew` in all processes if the clocks differ by more",
                fire.number(),
                rounded(early),
                fire.may_be_ahead(terms.max_clock_skew)
            );
            return Err(Error::Config { reason });
        }
        terms.retention = fire.kept_for(terms.retention);
        let question = Arc::new(FireQuestion { fire, terms, clock: (began, now) });
        Ok(Self { question, at })
    }

    /// The fire of a lock that was acquired for it, with this fencing token.
    pub(super) fn held(&self, token: u64, keep_until: Option<Instant>) -> HeldFire {
        let FireQuestion { fire, terms, .. } = *self.question;
        let stored = StoredMark { fire: fire.number(), token };
        HeldFire { mark: NewMark { stored, retention: terms.retention }, at: self.at, keep_until }
    }

    /// Tells of a fire that was waited for while a later one was completed: whoever ran it may have failed, and nobody makes up for it.
    pub(super) fn tell_if_overtaken(&self, error: &Error) {
        let Error::AlreadyRan { name, fire, completed } = error else { return };
        if self.question.fire.is_overtaken_by(*completed) {
            tracing::warn!(
                lock = %shown(name),
                fire,
                completed,
                "a later fire was completed while this one was waited for; it does not run, and was missed unless somebody else ran it"
            );
        }
    }

    /// The error of an attempt that ended with this about its fire; `failures`: what nodes said that cannot know.
    pub(super) fn error(&self, name: &Name, refusal: FireRefusal, failures: NodeFailures) -> Error {
        let (name, fire) = (name.as_str().to_owned(), self.question.fire.number());
        match refusal {
            FireRefusal::AlreadyRan { completed } => Error::AlreadyRan { name, fire, completed },
            FireRefusal::Spread { mark, .. } => {
                Error::FireInDoubt { name, fire, covered_by: Some(mark.stored.fire), source: failures }
            }
            FireRefusal::Shown => Error::FireInDoubt { name, fire, covered_by: None, source: failures },
            FireRefusal::Doubt { shown, .. } => Error::FireInDoubt { name, fire, covered_by: shown, source: failures },
        }
    }
}

/// A fire as the nodes know it, if it can be one.
fn checked(fire: Fire, retention: Duration, now: Duration) -> Result<protocol::Fire, Error> {
    let refuse = |reason: String| Err(Error::Config { reason });
    match fire.0 {
        FireKind::Number(0) => refuse("a fire of 0 stands for none; count from 1".to_owned()),
        FireKind::Number(number) => protocol::Fire::counted(number).map_or_else(
            || {
                refuse(format!(
                    "a fire of {number} is too great; use a number up to 2^53 - 1, which is {GREATEST_FIRE}"
                ))
            },
            Ok,
        ),
        FireKind::At(moment) => match moment.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(since_1970) if since_1970.as_millis() == 0 => {
                refuse("a fire that is due at the beginning of 1970 has no number; use the moment that the job is scheduled for".to_owned())
            }
            Ok(since_1970) => Ok(protocol::Fire::due_at(since_1970)),
            Err(_) => refuse(
                "a fire that is due before 1970 has no number; use the moment that the job is scheduled for".to_owned(),
            ),
        },
        FireKind::Every(period) if period < SHORTEST_PERIOD => {
            refuse(format!("a fire every {period:?} comes too often; use a period of at least {SHORTEST_PERIOD:?}"))
        }
        FireKind::Every(period) if period > retention => refuse(format!(
            "a period of {period:?} is longer than the marks of completed fires are kept, which is {retention:?}; set \
             `marks_retention` of the builder to at least the period, in all processes"
        )),
        FireKind::Every(_) if now.as_millis() == 0 => refuse(
            "a fire that recurs goes by this machine's clock, which shows 1970 or earlier; set the clock first".to_owned(),
        ),
        FireKind::Every(period) => Ok(protocol::Fire::called_at(now, period)),
    }
}

/// No job is called more often than that for each of its fires.
const SHORTEST_PERIOD: Duration = Duration::from_secs(1);

/// The error of a completion that too few confirmed.
pub(super) fn not_completed(shared: &Shared, name: &Name, fire: u64, not: NotConfirmed) -> Error {
    let NotConfirmed { confirmed, failures } = not;
    let quorum = shared.engine.quorum();
    let (needed, nodes) = (quorum.needed(), quorum.nodes());
    Error::NotCompleted { name: name.as_str().to_owned(), fire, confirmed, needed, nodes, source: failures }
}
