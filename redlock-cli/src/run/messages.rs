//! What the two processes of a run tell each other, a line each.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::moment::Moment;
use crate::request::{Once, Wanted};

/// What is to be held, and how: the first line.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Task {
    /// The nodes, if they were named by an argument.
    pub(super) nodes: Option<String>,
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
}

/// What the front says.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(super) enum News {
    /// The command runs, in the process group of this number.
    Started(i32),
    /// The command has ended, and whether it ended well.
    Ended { is_success: bool },
}

/// What the holder says.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(super) enum Told {
    /// The lock is held.
    Acquired(Held),
    /// It is not yet, and why that may take long.
    Waiting(String),
    /// It is not, and will not be.
    Failed { code: u8, message: String },
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
    pub(super) fencing_token: u64,
    pub(super) fire: Option<u64>,
    pub(super) permit: Option<u32>,
    /// Until then, if it is not extended.
    pub(super) valid_until: Moment,
    /// What the lock lives for without renewal.
    pub(super) ttl: Duration,
}
