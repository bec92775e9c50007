//! Virtual time, and clocks that do not quite follow it.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// A moment or a length of virtual time, in microseconds; the simulation begins at 0.
pub(crate) type Micros = i64;

pub(crate) const MILLI: Micros = 1_000;
pub(crate) const SECOND: Micros = 1_000_000;

/// The bound on how much faster than true time a clock may run, in millionths. Two such clocks run apart by less than
/// the 1 % that a validity leaves out.
pub(crate) const WORST_RATE: i64 = 4_900;

/// An arbitrary moment that stands for the beginning of virtual time; the protocol only ever sees differences.
#[expect(clippy::disallowed_methods, reason = "any moment will do")]
static BEGINNING: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The clock of one machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    /// How much faster than true time it runs, in millionths.
    rate: i64,
}

impl Clock {
    pub(crate) fn new(rate: i64) -> Self {
        assert!(rate.abs() <= WORST_RATE);
        Self { rate }
    }

    /// What it shows at a moment of true time.
    pub(crate) fn local(self, moment: Micros) -> Micros {
        moment + moment * self.rate / 1_000_000
    }

    /// The first moment of true time at which it shows this.
    pub(crate) fn true_time(self, local: Micros) -> Micros {
        let mut moment = local * 1_000_000 / (1_000_000 + self.rate);
        while self.local(moment) < local {
            moment += 1;
        }
        moment
    }

    /// What it shows, in the protocol's words.
    pub(crate) fn instant(self, moment: Micros) -> Instant {
        *BEGINNING + length(self.local(moment))
    }

    /// The first moment of true time at which it shows this.
    pub(crate) fn moment(self, shown: Instant) -> Micros {
        self.true_time(micros(shown.saturating_duration_since(*BEGINNING)))
    }
}

pub(crate) const fn length(micros: Micros) -> Duration {
    Duration::from_micros(if micros > 0 { micros.unsigned_abs() } else { 0 })
}

pub(crate) fn micros(length: Duration) -> Micros {
    i64::try_from(length.as_micros()).expect("a simulated length")
}
