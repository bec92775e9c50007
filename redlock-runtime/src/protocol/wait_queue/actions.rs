use std::time::{Duration, Instant};

use crate::protocol::{AskOrder, At, NodeObservation, Verdict};

/// How an attempt failed.
#[derive(Clone, Copy, Debug)]
pub struct Failure<'a> {
    /// Refused, split, or unreachable.
    pub verdict: Verdict,
    /// What was learnt about the nodes that were asked.
    pub seen: &'a [(At, NodeObservation)],
    /// The greatest fencing counter that was heard of; zero if none was.
    pub counter: u64,
    /// Waited where asking again at once would only repeat the same.
    pub pause: Duration,
}

/// Which waiter is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a waiter that is not called sleeps beside a free lock"]
pub enum Call {
    /// The waiter of this number, so that it is polled.
    Waiter(u64),
    /// None.
    Nobody,
}

/// What a waiter that was polled does, and which waiter is called because of that.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Polled<H> {
    /// The first in line, if it is late.
    pub call: Call,
    /// What the waiter itself does.
    pub step: WaiterStep<H>,
}

/// A lease that is offered to the first in line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a waiter that is not called does not come for it"]
pub struct Offered {
    /// The first in line.
    pub call: Call,
    /// Whether somebody has to be told to take it back if nobody comes for it; else somebody was told before.
    pub is_unwatched: bool,
}

/// What a waiter does next.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum WaiterStep<H> {
    /// Ask the nodes.
    Ask(Ask),
    /// Wait to be called, until this moment at the latest, and until the lock is lost to this local holder.
    WaitUntil(Instant, Option<H>),
    /// Take the lease of the local holder of this number, which has let go and passed it on.
    Take(u64, H),
}

/// How a waiter asks the nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// In which order.
    pub ask_order: AskOrder,
    /// Whether the nodes that refuse report the next change of the key.
    pub is_watched: bool,
    /// Whether this process is noted beside the key as one that waits.
    pub notes_contention: bool,
    /// The greatest fencing counter that this process knows of.
    pub counter: u64,
    /// How many fencing tokens are reserved for those who wait behind.
    pub room: u64,
}

/// What follows when somebody in this process has acquired the lock.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Acquired<H> {
    /// A local holder that has lost the lock, or its permit, without knowing: the nodes have granted it to another owner.
    pub replaced: Option<H>,
    /// The next in line.
    pub call: Call,
    /// What people are told.
    pub reachability: Reachability,
}

/// What follows when a waiter leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Left<H> {
    /// The next in line.
    pub call: Call,
    /// What people are told.
    pub reachability: Reachability,
    /// The local holder that has passed its lease on, if nobody is left to take it: it is to be released.
    pub untaken: Option<(u64, H)>,
}

/// Whether enough nodes can be reached, as people are told it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Reachability {
    /// There is nothing to tell.
    Unchanged,
    /// Too few can be reached, for the first time.
    TooFew,
    /// Too few can be reached, as before, but perhaps for another reason.
    StillTooFew,
    /// Enough can be reached again.
    Enough,
    /// Too few could be reached, and nobody tries any more.
    GivenUp,
}
