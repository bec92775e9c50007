//! The one place of the command line that reads a clock.

use tokio::time::Instant;

/// Now, by the machine's monotonic clock, in the time of tokio's timers.
#[expect(
    clippy::disallowed_methods,
    reason = "the runtime's clock is its own affair; here is the only one of this program"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Waits until a moment of that clock.
#[expect(clippy::disallowed_methods, reason = "these moments are tokio's")]
pub(crate) async fn sleep_until(moment: Instant) {
    tokio::time::sleep_until(moment).await;
}
