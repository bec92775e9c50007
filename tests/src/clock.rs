//! The one place of the harness that reads a clock.

use std::future::Future;
use std::time::{Duration, Instant, SystemTime};

/// Reads the monotonic clock: bounds of waiting and a proxy's delays are real time, whatever the code under test
/// believes the time to be.
#[expect(
    clippy::disallowed_methods,
    reason = "the harness measures real time; only the product takes `now` from its clock.rs"
)]
#[must_use]
pub fn now() -> Instant {
    Instant::now()
}

/// What the machine's clock shows: a moment for which a job is planned.
#[expect(
    clippy::disallowed_methods,
    reason = "the harness plans jobs; the product is given the time of day, or reads it in its clock.rs"
)]
#[must_use]
pub fn time_of_day() -> SystemTime {
    SystemTime::now()
}

/// Nanoseconds of the machine's monotonic clock: the same for all processes, so that what they note can be compared.
#[must_use]
pub fn monotonic_nanoseconds() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    // The clock counts from the machine's start, so neither part is negative.
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

/// What a future gives, and how long it took by the clock of its runtime, which may be a paused one.
#[expect(clippy::disallowed_methods, reason = "it measures what the product does from outside")]
pub async fn timed<T>(future: impl Future<Output = T>) -> (T, Duration) {
    let began = tokio::time::Instant::now();
    let output = future.await;
    (output, began.elapsed())
}
