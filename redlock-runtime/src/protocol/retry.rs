use std::time::Duration;

use super::Verdict;

/// What a caller who does not wait does after an attempt that was not won.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Next {
    /// Try again after this pause.
    TryAgainAfter(Duration),
    /// The time is over: report the last verdict.
    GiveUp,
}

/// Decides whether a caller who does not wait asks again.
///
/// One attempt is enough if it says that somebody holds the lock. Where it says nothing about the lock, it is made again
/// for as long as the `grace`: nodes that *cannot be reached* (a connection that broke while it was idle is made anew
/// behind the scenes), and a *split* vote (of several who ask at once for a lock that is free, one shall get it).
/// `waited` is how long the caller has, `pause` what the backoff proposes.
pub fn next_step(verdict: Verdict, waited: Duration, pause: Duration, grace: Duration) -> Next {
    let is_answered = matches!(verdict, Verdict::Refused | Verdict::Won);
    match grace.checked_sub(waited) {
        // The last attempt is made when the time is over, not a whole pause before.
        Some(left) if !is_answered && !left.is_zero() => Next::TryAgainAfter(pause.min(left)),
        Some(_) | None => Next::GiveUp,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_millis(50);
    const GRACE: Duration = Duration::from_millis(200);

    fn check(verdict: Verdict, waited: u64, expect: Next) {
        assert_eq!(next_step(verdict, Duration::from_millis(waited), PAUSE, GRACE), expect);
    }

    #[test]
    fn a_refused_caller_gives_up_at_once() {
        check(Verdict::Refused, 0, Next::GiveUp);
    }

    #[test]
    fn an_unreachable_quorum_is_asked_again_within_the_grace() {
        check(Verdict::Unreachable, 1, Next::TryAgainAfter(PAUSE));
        check(Verdict::Unreachable, 200, Next::GiveUp);
    }

    #[test]
    fn a_split_vote_is_tried_again_within_the_grace() {
        check(Verdict::Split, 1, Next::TryAgainAfter(PAUSE));
        check(Verdict::Split, 200, Next::GiveUp);
    }

    #[test]
    fn the_last_pause_ends_with_the_grace() {
        check(Verdict::Split, 170, Next::TryAgainAfter(Duration::from_millis(30)));
    }
}
