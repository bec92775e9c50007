//! The one place that reads a clock.
//!
//! It is the monotonic clock of the machine; the wall clock is not read anywhere. Inside a tokio runtime whose
//! clock is paused it is that runtime's clock, so tests can run hours in milliseconds; but renewal runs on a runtime of its
//! own, in real time.

use std::time::Instant;

/// The present moment.
#[expect(clippy::disallowed_methods, reason = "everything else takes `now` from here")]
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
