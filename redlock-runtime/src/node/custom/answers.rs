use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::super::{Delivery, Failure};
use crate::protocol::Role;

/// A node's answer to an acquire.
///
/// ```
/// use std::time::Duration;
/// use redlock_runtime::node::Vote;
///
/// /// The answer of a row: its owner and the milliseconds that are left to it, if it is somebody else's; and its counter.
/// fn vote(held: Option<(String, u64)>, counter: u64) -> Vote {
///     let vote = match held {
///         None => Vote::granted(),
///         Some((owner, left)) => Vote::held_by(owner, Some(Duration::from_millis(left))),
///     };
///     vote.with_counter(counter)
/// }
///
/// let refused = vote(Some(("somebody".to_owned(), 250)), 17);
/// // Without the owner: whoever reads it could release the lock.
/// assert_eq!(format!("{refused:?}"), "Vote { held: Some(Held { remaining: Some(250ms), .. }), counter: Some(17) }");
/// ```
#[derive(Clone)]
#[must_use = "it is the answer"]
pub struct Vote {
    /// Who holds the key instead; `None`: it was granted.
    pub(crate) held: Option<Held>,
    /// The fencing counter as it is now.
    pub(crate) counter: Option<u64>,
}

impl Vote {
    /// The key is the asker's.
    pub fn granted() -> Self {
        Self { held: None, counter: None }
    }

    /// The key is this owner's, for this long; `None`: for ever, or nobody knows.
    pub fn held_by(owner: impl Into<Arc<str>>, remaining: Option<Duration>) -> Self {
        Self { held: Some(Held::new(owner, remaining)), counter: None }
    }

    /// With the fencing counter as it is now; see [`CounterRule`](super::CounterRule).
    pub fn with_counter(self, counter: impl Into<Option<u64>>) -> Self {
        Self { counter: counter.into(), ..self }
    }
}

impl fmt::Debug for Vote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vote").field("held", &self.held).field("counter", &self.counter).finish()
    }
}

/// A key that somebody has.
///
/// ```
/// use std::time::Duration;
/// use redlock_runtime::node::Held;
///
/// /// What a row says of its key; `None`: there is no such row.
/// fn held(row: Option<(String, u64)>) -> Option<Held> {
///     row.map(|(owner, left)| Held::new(owner, Some(Duration::from_millis(left))))
/// }
///
/// assert!(held(None).is_none());
/// let held = held(Some(("somebody".to_owned(), 250)));
/// assert_eq!(format!("{held:?}"), "Some(Held { remaining: Some(250ms), .. })"); // its owner is not shown
/// ```
#[derive(Clone)]
pub struct Held {
    /// Who.
    pub(crate) owner: Arc<str>,
    /// For how long.
    pub(crate) remaining: Option<Duration>,
}

impl Held {
    /// By this owner, for this long; `None`: for ever, or nobody knows.
    pub fn new(owner: impl Into<Arc<str>>, remaining: Option<Duration>) -> Self {
        Self { owner: owner.into(), remaining }
    }
}

impl fmt::Debug for Held {
    /// Without the owner: whoever reads it can release the lock.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").field("remaining", &self.remaining).finish_non_exhaustive()
    }
}

/// What became of a request for a key of an owner.
///
/// ```
/// use redlock_runtime::node::Outcome;
///
/// /// What an update that compares the owner comes to: how many rows it changed, and the owner that a row has.
/// fn outcome(changed: u64, owner: Option<&str>) -> Outcome {
///     match (changed, owner) {
///         (1.., _) => Outcome::Done,
///         (0, Some(_)) => Outcome::OtherOwner,
///         (0, None) => Outcome::NoKey,
///     }
/// }
///
/// assert_eq!(outcome(1, Some("me")), Outcome::Done);
/// assert_eq!(outcome(0, Some("somebody")), Outcome::OtherOwner);
/// assert_eq!(outcome(0, None), Outcome::NoKey);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "it is the answer"]
#[non_exhaustive]
pub enum Outcome {
    /// It was done.
    Done,
    /// It was not: somebody else has the key.
    OtherOwner,
    /// It was not: there is no such key.
    NoKey,
}

/// Which server a node is.
///
/// ```
/// # use std::time::Duration;
/// use redlock_runtime::Role;
/// use redlock_runtime::node::Identity;
///
/// /// What a database says of itself: which one it is, when it was started, for how long it has been running, and whether it follows another.
/// fn identity(id: &str, started: &str, age: Duration, is_in_recovery: bool) -> Identity {
///     let role = if is_in_recovery { Role::Replica } else { Role::Master };
///     Identity::new(format!("{id}, {started}"), age).with_role(role)
/// }
///
/// let (before, after) = (identity("7421", "12:00:03", Duration::from_secs(60), false), identity("7421", "12:01:03", Duration::ZERO, false));
/// assert_ne!(before, after); // it restarted
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub(crate) run_id: Arc<str>,
    pub(crate) age: Duration,
    pub(super) role: Role,
}

impl Identity {
    /// A server that takes writes; `run_id` is another one after each restart, and the same at every address; `age` is for how
    /// long it has been running without forgetting anything, rounded down.
    pub fn new(run_id: impl Into<Arc<str>>, age: Duration) -> Self {
        Self { run_id: run_id.into(), age, role: Role::Master }
    }

    /// One that may only follow another one, and then does not vote.
    #[must_use]
    pub fn with_role(self, role: Role) -> Self {
        Self { role, ..self }
    }
}

/// Why a node did not answer with a vote, and what is known about the request.
///
/// Its text goes into errors and logs, so it must not hold a password.
///
/// ```
/// use std::io::{Error, ErrorKind};
/// use redlock_runtime::node::NodeError;
///
/// fn failed(error: &Error) -> NodeError {
///     match error.kind() {
///         ErrorKind::ConnectionRefused => NodeError::not_sent(error), // nobody heard of it
///         ErrorKind::InvalidInput => NodeError::answered(error),      // the store said so
///         _ => NodeError::unknown(error),                             // it ended on the way
///     }
/// }
///
/// assert_eq!(failed(&ErrorKind::ConnectionRefused.into()).to_string(), "connection refused");
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}", failure.reason)]
pub struct NodeError {
    failure: Failure,
}

impl NodeError {
    /// The request was not carried out, and never will be: there is no connection, or the store refused it as a whole.
    pub fn not_sent(reason: impl fmt::Display) -> Self {
        Self::new(reason, Delivery::NotSent)
    }

    /// The store answered with an error. Whatever was carried out of the request is there by now.
    pub fn answered(reason: impl fmt::Display) -> Self {
        Self::new(reason, Delivery::Answered)
    }

    /// Nobody knows whether the request was carried out: the connection ended, or its time was over. When in doubt, this one:
    /// `.map_err(NodeError::unknown)`.
    pub fn unknown(reason: impl fmt::Display) -> Self {
        Self::new(reason, Delivery::Unknown(None))
    }

    fn new(reason: impl fmt::Display, delivery: Delivery) -> Self {
        Self { failure: Failure { reason: reason.to_string().into(), delivery } }
    }

    /// Whether the request was not carried out, as one that the node does not offer.
    #[cfg(feature = "testing")]
    pub(crate) fn is_not_sent(&self) -> bool {
        matches!(self.failure.delivery, Delivery::NotSent)
    }

    pub(super) fn into_failure(self) -> Failure {
        self.failure
    }

    pub(super) fn into_reason(self) -> Arc<str> {
        self.failure.reason
    }
}
