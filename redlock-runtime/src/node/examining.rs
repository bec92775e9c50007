//! What a node tells whoever wants to know whether locks will work there. Nothing here is a vote.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::counting::Answer;
use crate::keys::Keys;
use crate::protocol::{Papers, Proposal};

/// A node's servers, looked at and tried out.
pub(crate) trait Examining {
    /// Examines every server behind the node, now, whatever is known about it: with connections of its own.
    ///
    /// An answer may be dropped at any time: what was tried out expires by itself, soon. `patience` is how long each round trip
    /// may take. The error says why no server can be examined.
    fn examine(&self, trial: Trial, patience: Duration) -> Answer<Vec<Examination>>;
}

/// What is tried out on a server: a whole lock that nobody else takes.
#[derive(Clone, Debug)]
pub(crate) struct Trial {
    /// How names become keys.
    pub(crate) keys: Keys,
    /// Makes the name unlike any other.
    pub(crate) id: Arc<str>,
    /// What is proposed for the fencing counter, if locks have one.
    pub(crate) fence: Option<Proposal>,
}

impl Trial {
    /// How long what is tried out stays if nobody takes it away.
    pub(crate) const TTL: Duration = Duration::from_secs(5);

    /// The name of the lock; one for each number, because a server may not have the keys of every name.
    pub(crate) fn name(&self, number: u32) -> String {
        format!("redlock-check-{}-{number}", self.id)
    }

    /// The key of that lock.
    pub(crate) fn key(&self, number: u32) -> Arc<str> {
        format!("{}{}", self.keys.lock_prefix, self.name(number)).into()
    }
}

/// What was learnt about one server.
#[derive(Clone, Debug)]
pub(crate) struct Examination {
    /// Where it is, without credentials.
    pub(crate) address: Arc<str>,
    /// What it said about itself.
    pub(crate) papers: Arc<Papers>,
    /// Whether it did; else its papers are what is taken for granted.
    pub(crate) tells: Tells,
    /// Its version.
    pub(crate) version: Option<String>,
    /// What it does when its memory is full.
    pub(crate) memory: Option<Memory>,
    /// What it has behind a restart; `None` where that is no question.
    pub(crate) persistence: Option<Persistence>,
    /// Its clock next to ours.
    pub(crate) clock: Option<Clocks>,
    /// How long it takes to answer: the median of some.
    pub(crate) round_trip: Duration,
    /// How those who wait learn that a lock is free.
    pub(crate) wakes: Wakes,
    /// The steps of a lock that failed.
    pub(crate) failed: Vec<(Step, Arc<str>)>,
    /// What the user may not do.
    pub(crate) forbidden: Vec<Forbidden>,
}

/// Whether a server tells who it is and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tells {
    /// It does.
    Itself,
    /// It does not, and is taken for an old master.
    Nothing,
}

/// What a server does when its memory is full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Memory {
    /// `maxmemory_policy`.
    pub(crate) policy: String,
    /// `maxmemory` in bytes; zero: as much as there is.
    pub(crate) limit: u64,
}

/// What a server has behind a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Persistence {
    /// All that it confirmed: a log that is written out with every command (`appendfsync always`).
    Everything,
    /// All but the last moments: a log of its writes (`appendonly yes`).
    Log,
    /// What it had when it saved last (`save`).
    Snapshots,
    /// Nothing.
    Nothing,
    /// It has no log of its writes; whether it saves at times it does not tell.
    NoLog,
    /// It does not tell.
    Unknown,
}

impl fmt::Display for Persistence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Everything => "every write",
            Self::Log => "log",
            Self::Snapshots => "snapshots",
            Self::Nothing => "none",
            Self::NoLog => "no log",
            Self::Unknown => "unknown",
        })
    }
}

/// A server's clock next to ours, as the time since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Clocks {
    /// The server's.
    pub(crate) theirs: Duration,
    /// Ours, at the middle of the round trip.
    pub(crate) ours: Duration,
    /// Half the round trip.
    pub(crate) uncertainty: Duration,
}

/// How those who wait learn from a server that a lock is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Wakes {
    /// The server tracks keys for its clients, and reports every change.
    Tracking,
    /// By a subscription to what is published with each release, and to the server's own notifications of keys.
    Subscription,
    /// By asking now and then.
    SlowPoll,
}

impl fmt::Display for Wakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tracking => "tracking",
            Self::Subscription => "subscription",
            Self::SlowPoll => "slow poll",
        })
    }
}

/// One step in the life of a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Acquire,
    Extend,
    Commit,
    Note,
    Look,
    Release,
}

impl Step {
    /// What fails without it.
    pub(crate) fn purpose(self) -> Purpose {
        match self {
            Self::Acquire | Self::Extend | Self::Commit | Self::Release => Purpose::Locks,
            Self::Note | Self::Look => Purpose::Labels,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Acquire => "acquired",
            Self::Extend => "extended",
            Self::Commit => "given a fencing token",
            Self::Note => "labelled",
            Self::Look => "looked at",
            Self::Release => "released",
        })
    }
}

/// Something that the user of the server may not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Forbidden {
    /// The command.
    pub(crate) command: &'static str,
    /// The key on which it was refused, as a pattern that others match too; `None` if it has none.
    pub(crate) key: Option<String>,
    /// What fails without it.
    pub(crate) purpose: Purpose,
}

/// What a command is needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Purpose {
    /// Locks do not work without.
    Locks,
    /// To see who holds a lock.
    Labels,
    /// To take turns with other processes.
    Turns,
    /// To count those who wait.
    Statistics,
    /// To list and reset locks.
    Listing,
    /// To end connections that may still carry a command.
    CutConnections,
}
