//! The one place of this command that reads clocks; everything else takes `now` from it.

use std::time::{Duration, Instant, SystemTime};

#[expect(clippy::disallowed_methods, reason = "this is that place")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The time of day.
#[expect(clippy::disallowed_methods, reason = "this is that place; people are told when something happened")]
pub(crate) fn since_1970() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
