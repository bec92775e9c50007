//! What a node answered, as far as it counts, and why a vote may not.

use std::sync::Arc;
use std::time::Duration;

use crate::protocol::{Counter, NoCounter, ToldMark, ToldSlots};

/// What a node answered to a question about a key, as far as it counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Vote {
    /// It did what was asked.
    Granted {
        /// The lock's fencing counter, if that was asked for.
        counter: Option<Counter>,
        /// Whether another process waits for the lock.
        is_wanted: bool,
        /// The mark of completed fires, if that was asked for; boxed, because for most locks it is not.
        mark: Option<Box<ToldMark>>,
    },
    /// The key has another owner's value, or none.
    Refused {
        /// The other owner, if the node said so.
        owner: Option<Arc<str>>,
        /// How long the other owner's key lives, if the node said so.
        remaining: Option<Duration>,
        /// The lock's fencing counter, if that was asked for.
        counter: Option<Counter>,
        /// The mark of completed fires, if that was asked for; boxed, because for most locks it is not.
        mark: Option<Box<ToldMark>>,
    },
    /// What it answered to somebody who asked for any permit.
    Slots(Box<ToldSlots>),
    /// There is no such key.
    Missing,
    /// It did not vote.
    Failed,
}

/// Why the vote of a node does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "whoever reads the error wants to know why a node that answered has no vote"]
pub enum Objection {
    /// What it has under the fencing key is no counter.
    NoCounter(NoCounter),
    /// It follows another server.
    Replica,
    /// It is the server that is configured at this other position, too.
    ConfiguredTwice(usize),
    /// It restarted, and may have forgotten locks. It votes again after this time.
    Young(Duration),
    /// It restarted, and there was no time to look for older nodes.
    PerhapsYoung,
    /// Its connection ended after its vote, so its age is not known.
    ConnectionEnded,
}
