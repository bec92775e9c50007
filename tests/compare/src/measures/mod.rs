//! How each thing is measured, inside the contestant's process.

use std::time::Duration;

use redlock_tests::clock::monotonic_nanoseconds;

pub(crate) mod cycles;

pub(crate) mod waiting;

pub(crate) mod expiry;

pub(crate) mod weight;

/// The moment so many milliseconds from now.
fn end_of(milliseconds: u64) -> u64 {
    monotonic_nanoseconds() + milliseconds * 1_000_000
}

/// From one moment to another, in nanoseconds; negative if it came before.
fn between(begin: u64, end: u64) -> i64 {
    // A machine does not run for 2^63 nanoseconds.
    end.cast_signed() - begin.cast_signed()
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
