//! A moment that two processes of a machine mean alike.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// On the machine's monotonic clock, which is one for all processes. A message that is read late says the same.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(super) struct Moment(Duration);

impl Moment {
    /// So long from now.
    pub(super) fn after(duration: Duration) -> Self {
        Self(now() + duration)
    }

    /// How long it is until then.
    pub(super) fn remaining(self) -> Duration {
        self.0.saturating_sub(now())
    }
}

fn now() -> Duration {
    // It is there on every system that this is built for; without it every moment is over.
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::MAX / 2, Duration::from)
}
