//! What the two processes of a run tell each other, a line each.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::mark::Mark;
use super::moment::Moment;
use crate::args::Nodes;
use crate::request::{Once, Wanted};

/// What is to be held, and how: the first line.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Task {
    /// The nodes, and what everybody sets alike, as far as arguments say so.
    pub(super) nodes: Nodes,
    /// Which locks.
    pub(super) names: Vec<String>,
    pub(super) wanted: Wanted,
    pub(super) min_hold: Option<Duration>,
    pub(super) max_hold: Option<Duration>,
    pub(super) permits: Option<u32>,
    pub(super) once: Option<Once>,
    /// How long the command has between TERM and KILL.
    pub(super) kill_after: Duration,
    /// What others see as the owner.
    pub(super) label: String,
    /// Whether somebody is told that it waits, and for whom.
    pub(super) tells_waits: bool,
    /// By which the command is known, with what it starts.
    pub(super) mark: Mark,
}

impl Task {
    /// How long the lock lives without renewal.
    pub(super) fn ttl(&self) -> Duration {
        self.wanted.ttl.unwrap_or(DEFAULT_TTL)
    }
}

/// The manager's own.
const DEFAULT_TTL: Duration = Duration::from_secs(30);

/// What the front says.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(super) enum News {
    /// The command is there, in the process group of this number, and begins once the holder has said that it knows that.
    Started { attempt: u32, group: i32 },
    /// The command has ended, and whether it ended well.
    Ended { is_success: bool },
    /// It stops, and wants no lock until it goes on.
    Pauses,
    /// It goes on.
    GoesOn,
}

/// What the holder says.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(super) enum Told {
    /// The lock is held. Said once more, the one of before was given back, because nothing was heard of a command.
    Acquired(Held),
    /// It is not yet, and why that may take long.
    Waiting(String),
    /// It is not, and will not be.
    Failed { code: u8, message: String },
    /// It knows the group of the command, which may begin. If it is not extended, the lock is held until then.
    Known(Moment),
    /// If it is not extended, the lock is held until then.
    Valid(Moment),
    /// The command was sent TERM, and is sent KILL soon.
    Ending { code: u8, message: String },
    /// The lock was given back; what went wrong with that, and the code of a command that ended well.
    Done(Option<(u8, String)>),
}

/// What the command is told of its lock.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(super) struct Held {
    /// Which acquisition of this run it is.
    pub(super) attempt: u32,
    pub(super) fencing_token: u64,
    pub(super) fire: Option<u64>,
    pub(super) permit: Option<u32>,
    /// What the lock lives for without renewal.
    pub(super) ttl: Duration,
}
