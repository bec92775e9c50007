//! How each thing is measured, inside the contestant's process.

use std::time::Duration;

use redlock_tests::clock::monotonic_nanoseconds;
use rustix::time::{ClockId, clock_gettime};

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

/// The processor time that this process has taken.
#[must_use]
pub fn processor_nanoseconds() -> u64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    // It counts from the process's start, so neither part is negative.
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
