//! By what a command and whatever it has started are known, wherever they went: a variable of their environment.
//!
//! Who descends from whom is known as long as the front is there, which adopts them. When it is killed, this is left.

use std::fmt;

use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::processes::{self, Process};

/// The variable. The holders of runs do not have it: they end by themselves when their fronts do.
pub(super) const VARIABLE: &str = "REDLOCK_RUN";

/// A run of this program; no two are alike.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(super) struct Mark([u8; 16]);

impl Mark {
    pub(super) fn new() -> Self {
        Self(Uuid::new_v4().into_bytes())
    }

    /// Whether this process has the mark. Only Linux tells, of those of our user alone that have not written over their environment.
    pub(super) fn is_on(self, process: &Process) -> bool {
        process.has_in_environment(&format!("{VARIABLE}={self}"))
    }

    /// Those that have the mark, and live.
    pub(super) fn find(self) -> Vec<Pid> {
        let marked = processes::all().into_iter().flatten().filter(|process| !process.is_dead && self.is_on(process));
        marked.map(|process| Pid::from_raw(process.pid)).collect()
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Uuid::from_bytes(self.0))
    }
}
