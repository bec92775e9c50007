use std::time::{Duration, Instant};

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
    began + ttl.saturating_sub(drift(ttl))
}

/// The loss is told this long before the validity is over; a timer is up to a millisecond late.
pub const LEAD: Duration = Duration::from_millis(2);

/// The shortest TTL that leaves a validity worth the name.
pub const SHORTEST_TTL: Duration = Duration::from_millis(10);

/// The longest TTL; what a mistyped unit would give is far above it, and clock arithmetic stays exact below it.
pub const LONGEST_TTL: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// How long one node's reply may take before it counts as no vote: what was configured, but always far below the
/// TTL, so that a round that has to wait for a slow node still leaves most of the validity.
#[must_use]
pub fn patience(node_timeout: Duration, ttl: Duration) -> Duration {
    node_timeout.min(ttl / 5)
}

/// When to extend next: a third of the TTL after the last success, so that two more tries fit in.
#[must_use]
pub fn renewal_due(extended: Instant, ttl: Duration) -> Instant {
    extended + ttl / 3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn validity_is_the_ttl_less_one_percent_and_two_milliseconds() {
        let began = crate::clock::now();
        let ttl = Duration::from_secs(10);
        assert_eq!(valid_until(began, ttl) - began, Duration::from_millis(10_000 - 100 - 2));
    }

    #[test]
    fn a_ttl_below_the_drift_leaves_no_validity_instead_of_underflowing() {
        let began = crate::clock::now();
        assert_eq!(valid_until(began, Duration::from_millis(1)), began);
        assert!(drift(SHORTEST_TTL) < SHORTEST_TTL / 2);
    }
}
