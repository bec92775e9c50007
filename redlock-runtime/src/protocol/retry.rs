use std::time::{Duration, Instant};

use super::Verdict;

/// What a caller does after an attempt that was not won.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Next {
    /// Try again after this pause.
    TryAgainAfter(Duration),
    /// The time is over: report the last verdict.
    GiveUp,
}

/// Decides whether to try again.
///
/// `limit` is how long the caller wants to wait (`None`: for ever), `waited` how long it has, `pause` what the
/// backoff proposes, `holder_remaining` how long the holder's key lives if a node said so, `grace` how long even a
/// caller who does not wait at all asks again where one attempt says nothing about the lock: nodes that *cannot be reached* (a
/// connection that broke while it was idle is made anew behind the scenes), and a *split* vote (of several who ask at once
/// for a lock that is free, one shall get it).
pub fn next_step(
    verdict: Verdict,
    limit: Option<Duration>,
    waited: Duration,
    pause: Duration,
    holder_remaining: Option<Duration>,
    grace: Duration,
) -> Next {
    let limit = match (verdict, limit) {
        (_, None) => return Next::TryAgainAfter(shorter(pause, holder_remaining)),
        (Verdict::Unreachable | Verdict::Split, Some(Duration::ZERO)) => grace,
        (_, Some(limit)) => limit,
    };
    match limit.checked_sub(waited) {
        None | Some(Duration::ZERO) => Next::GiveUp,
        // The last attempt is made when the time is over, not a whole pause before.
        Some(left) => Next::TryAgainAfter(shorter(pause, holder_remaining).min(left)),
    }
}

/// When an attempt that begins `now` ends at the latest; `None`: when the nodes' time is over.
///
/// Whoever waits up to `limit`, counted from `began`, is back when that is over, however long the nodes and their
/// connections take. The last attempt begins only then; it still has the time of one.
#[must_use]
pub fn attempt_until(began: Instant, now: Instant, limit: Option<Duration>, node_timeout: Duration) -> Option<Instant> {
    let limit = limit.filter(|limit| !limit.is_zero())?;
    // A limit that no clock reaches is none.
    Some(began.checked_add(limit)?.max(now + node_timeout.min(limit)))
}

/// There is nothing to be had before the holder's key is gone, and no reason to wait longer than that. The
/// millisecond is the precision with which Redis expires keys.
fn shorter(pause: Duration, holder_remaining: Option<Duration>) -> Duration {
    match holder_remaining {
        Some(remaining) => pause.min(remaining + Duration::from_millis(1)),
        None => pause,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_millis(50);
    const GRACE: Duration = Duration::from_millis(200);

    fn check(verdict: Verdict, limit: Option<u64>, waited: u64, expect: Next) {
        let limit = limit.map(Duration::from_millis);
        assert_eq!(next_step(verdict, limit, Duration::from_millis(waited), PAUSE, None, GRACE), expect);
    }

    #[test]
    fn a_refused_caller_who_does_not_wait_gives_up_at_once() {
        check(Verdict::Refused, Some(0), 0, Next::GiveUp);
    }

    #[test]
    fn an_unreachable_quorum_is_asked_again_within_the_grace() {
        check(Verdict::Unreachable, Some(0), 1, Next::TryAgainAfter(PAUSE));
        check(Verdict::Unreachable, Some(0), 200, Next::GiveUp);
    }

    #[test]
    fn a_split_vote_is_tried_again_within_the_grace() {
        check(Verdict::Split, Some(0), 1, Next::TryAgainAfter(PAUSE));
        check(Verdict::Split, Some(0), 200, Next::GiveUp);
    }

    #[test]
    fn a_caller_who_waits_gives_up_when_his_time_is_over_whatever_the_verdict() {
        check(Verdict::Unreachable, Some(50), 50, Next::GiveUp);
        check(Verdict::Split, Some(50), 50, Next::GiveUp);
    }

    #[test]
    fn an_attempt_ends_with_the_limit_and_the_last_one_has_the_time_of_one() {
        let began = crate::clock::now();
        let check = |limit: Option<Duration>, waited: u64, expect: Option<u64>| {
            let until = attempt_until(began, began + Duration::from_millis(waited), limit, GRACE);
            assert_eq!(until.map(|moment| moment - began), expect.map(Duration::from_millis), "{limit:?}");
        };
        check(None, 0, None);
        check(Some(Duration::ZERO), 0, None);
        check(Some(Duration::MAX), 0, None);
        check(Some(Duration::from_millis(50)), 0, Some(50));
        check(Some(Duration::from_millis(50)), 50, Some(100));
        check(Some(Duration::from_secs(5)), 100, Some(5000));
        check(Some(Duration::from_secs(5)), 5000, Some(5200));
    }

    #[test]
    fn the_last_pause_ends_with_the_limit() {
        check(Verdict::Refused, Some(1000), 970, Next::TryAgainAfter(Duration::from_millis(30)));
        check(Verdict::Refused, Some(1000), 1000, Next::GiveUp);
    }

    #[test]
    fn who_waits_for_ever_never_gives_up() {
        check(Verdict::Refused, None, 1_000_000, Next::TryAgainAfter(PAUSE));
        check(Verdict::Unreachable, None, 1_000_000, Next::TryAgainAfter(PAUSE));
    }

    #[test]
    fn a_waiter_is_there_when_the_holder_expires() {
        let next = next_step(Verdict::Refused, None, PAUSE, PAUSE, Some(Duration::from_millis(3)), GRACE);
        assert_eq!(next, Next::TryAgainAfter(Duration::from_millis(4)));
    }
}
