//! The one place that reads a clock.
//!
//! It is the monotonic clock of the machine. The wall clock is read for nothing but proposals of fencing tokens, and to be
//! compared with those of servers in a report. Inside a tokio runtime whose
//! clock is paused it is that runtime's clock, so tests can run hours in milliseconds; but renewal runs on a runtime of its
//! own, in real time.

use std::time::{Duration, Instant, SystemTime};

use crate::drivers::is_on_ending_thread;

/// The present moment.
#[expect(clippy::disallowed_methods, reason = "everything else takes `now` from here")]
pub(crate) fn now() -> Instant {
    // Tokio looks for its clock where there is nothing any more.
    if is_on_ending_thread() { Instant::now() } else { tokio::time::Instant::now().into_std() }
}

/// The time of day, as the time since 1970; see [`Fence`](crate::protocol::Fence).
#[expect(clippy::disallowed_methods, reason = "only fencing tokens are told the time of day")]
pub(crate) fn since_1970() -> Duration {
    // A clock before 1970 is wrong; tokens then grow one by one.
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
