//! By what a command and whatever it has started are known, wherever they went: a variable of their environment.
//!
//! Who descends from whom is known as long as the front is there, which adopts them. When it is killed, this is left.

use std::fmt;

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

    /// Those that have the mark, and live. Only Linux tells, of those of our user alone that have not written over their environment.
    pub(super) fn find(self) -> Vec<Process> {
        let variable = format!("{VARIABLE}={self}");
        let all = processes::all().into_iter().flatten();
        all.filter(|process| !process.is_dead && process.has_in_environment(&variable)).collect()
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Uuid::from_bytes(self.0))
    }
}
