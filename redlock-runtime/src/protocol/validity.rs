use std::time::{Duration, Instant};

use crate::rules::{Rule, holds};

/// How far the clocks of this process and of a node may run apart while a key of this TTL lives.
// Source: clock drift of the Redlock algorithm, 1 % of the TTL, plus 2 ms because Redis expires with a precision
// of 1 ms; https://redis.io/docs/latest/develop/use/patterns/distributed-locks/
#[must_use]
pub fn drift(ttl: Duration) -> Duration {
    ttl / 100 + Duration::from_millis(2)
}

/// The moment until which a lock counts as held: TTL − drift, counted from the moment *before* the first request
/// of the attempt (or of the extension) was sent.
///
/// A key set at the earliest possible moment, `began`, is the first to expire, so this bound holds for all nodes.
#[must_use]
pub fn valid_until(began: Instant, ttl: Duration) -> Instant {
    let drift = if holds(Rule::Drift) { drift(ttl) } else { Duration::ZERO };
    began + ttl.saturating_sub(drift)
}

/// The loss is told this long before the validity is over; a timer is up to a millisecond late.
pub const LOSS_NOTICE: Duration = Duration::from_millis(2);

/// The shortest TTL that leaves a validity worth the name.
pub const SHORTEST_TTL: Duration = Duration::from_millis(10);

/// The longest TTL; what a mistyped unit would give is far above it, and clock arithmetic stays exact below it.
pub const LONGEST_TTL: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// How long one node's reply may take before it counts as no vote: what was configured, but always far below the
/// TTL, so that a round that has to wait for a slow node still leaves most of the validity.
#[must_use]
pub fn reply_timeout(node_timeout: Duration, ttl: Duration) -> Duration {
    node_timeout.min(ttl / 5)
}

/// When to extend next: a third of the TTL after the last success, so that two more tries fit in.
#[must_use]
pub fn renewal_due(extended: Instant, ttl: Duration) -> Instant {
    extended + ttl / 3
}

/// So many times in a TTL are locks extended, those together that are due between two of them.
const TIMES: u32 = 300;

/// The last moment before `due` at which locks of this TTL are extended, counted from `origin`: what becomes due at the same
/// time travels together. It is earlier by a third of a percent of the TTL at most.
#[must_use]
pub fn extended_together(due: Instant, ttl: Duration, origin: Instant) -> Instant {
    let nanoseconds = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    let interval = nanoseconds(ttl / TIMES).max(1);
    let beyond = nanoseconds(due.saturating_duration_since(origin)) % interval;
    due.checked_sub(Duration::from_nanos(beyond)).unwrap_or(due)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn validity_is_the_ttl_less_one_percent_and_two_milliseconds() {
        let began = crate::platform::clock::now();
        let ttl = Duration::from_secs(10);
        assert_eq!(valid_until(began, ttl) - began, Duration::from_millis(10_000 - 100 - 2));
    }

    #[test]
    fn what_is_due_at_about_the_same_time_is_extended_together_and_not_late() {
        let (origin, ttl) = (crate::platform::clock::now(), Duration::from_secs(30));
        let together = |due| extended_together(origin + Duration::from_millis(due), ttl, origin) - origin;
        for (due, expect) in [(10_000, 10_000), (10_001, 10_000), (10_099, 10_000), (10_100, 10_100)] {
            assert_eq!(together(due).as_millis(), expect);
        }
        assert_eq!(extended_together(origin, ttl, origin + ttl), origin);
    }

    #[test]
    fn a_ttl_below_the_drift_leaves_no_validity_instead_of_underflowing() {
        let began = crate::platform::clock::now();
        assert_eq!(valid_until(began, Duration::from_millis(1)), began);
        assert!(drift(SHORTEST_TTL) < SHORTEST_TTL / 2);
    }
}
