//! The one place of the command line that reads clocks, but for the one that two processes of a run share (`run/moment.rs`).

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// Now, by the machine's monotonic clock, in the time of tokio's timers.
#[expect(
    clippy::disallowed_methods,
    reason = "the runtime's clock is its own affair; here is the only one of this program"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The same, as those take it who set no timers by it.
pub(crate) fn std_now() -> std::time::Instant {
    now().into_std()
}

/// The time of day.
#[expect(clippy::disallowed_methods, reason = "people are told when something happened")]
pub(crate) fn since_1970() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// Waits until a moment of that clock.
#[expect(clippy::disallowed_methods, reason = "these moments are tokio's")]
pub(crate) async fn sleep_until(moment: Instant) {
    tokio::time::sleep_until(moment).await;
}
