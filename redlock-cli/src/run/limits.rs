//! How much time a command has that has to end, as functions of the lock's times.

use std::time::Duration;

/// So long before the end of the validity nothing of the command may be left that could be killed: a tenth of the TTL, for
/// a machine that is slow to kill because it is busy, between these bounds.
const MARGIN: (Duration, Duration) = (Duration::from_millis(25), Duration::from_secs(1));

/// How a command is ended whose lock ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// What was asked for between TERM and KILL.
    kill_after: Duration,
    /// What there is between them at the least, if the lock cannot be extended.
    grace: Duration,
    /// How long before the end of the validity KILL is sent.
    margin: Duration,
}

/// The shortest TTL of a lock that can be renewed in time, when a third of it is over, and still leaves a command time to end.
pub(super) const LEAST_TTL: Duration = Duration::from_millis(200);

impl Limits {
    pub(super) fn new(kill_after: Duration, ttl: Duration) -> Self {
        // A lock is extended when a third of its TTL is over. TERM behind the second third leaves time for a few attempts.
        let grace = kill_after.min(ttl / 3);
        Self { kill_after, grace, margin: (ttl / 10).clamp(MARGIN.0, MARGIN.1) }
    }

    /// How long a lock that is valid for so long need not be given up yet.
    pub(super) fn calm(&self, valid: Duration) -> Duration {
        valid.saturating_sub(self.grace + self.margin)
    }

    /// How long behind TERM the KILL follows, if the lock was last known to be valid for so long.
    pub(super) fn until_kill(&self, valid: Duration) -> Duration {
        self.kill_after.min(valid.saturating_sub(self.margin))
    }

    /// The same for whoever looks after the one whose part it is: when that has not done it.
    pub(super) fn until_late_kill(&self, valid: Duration) -> Duration {
        valid.saturating_sub(self.margin / 2)
    }

    /// What was asked for between TERM and KILL.
    pub(super) fn kill_after(&self) -> Duration {
        self.kill_after
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn a_command_is_killed_before_the_validity_ends_and_never_later_than_asked() {
        for ttl in [ms(10), ms(100), ms(1000), ms(30_000), ms(300_000)] {
            for kill_after in [ms(0), ms(50), ms(5000), ms(3_600_000)] {
                let limits = Limits::new(kill_after, ttl);
                for valid in [ms(0), ttl / 3, ttl / 2, ttl] {
                    let until = limits.until_kill(valid);
                    assert!(until <= kill_after, "{ttl:?} {kill_after:?} {valid:?}");
                    assert!(until + limits.margin <= valid || until.is_zero(), "{ttl:?} {kill_after:?} {valid:?}");
                    assert!(limits.until_late_kill(valid) >= until);
                }
            }
        }
    }

    #[test]
    fn a_lock_that_is_extended_in_time_is_not_given_up() {
        for ttl in [LEAST_TTL, ms(1000), ms(30_000), ms(300_000)] {
            let limits = Limits::new(ms(3_600_000), ttl);
            // Two thirds are left when it is extended.
            assert!(limits.calm(ttl * 2 / 3) > ttl / 10, "{ttl:?}: {:?}", limits.calm(ttl * 2 / 3));
        }
    }
}
