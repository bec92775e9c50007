use std::time::Duration;

use super::Backoff;
use crate::rules::{Rule, holds};

/// How a leader's body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TermEnd {
    /// It gave the leadership up.
    Resigned,
    /// It returned.
    Returned,
    /// It returned an error.
    Failed,
    /// The leadership was lost before.
    Lost,
}

/// How long somebody who resigned stands back, so that another leads: the longest pause, of which a random half is left out.
const STAND_BACK: Duration = Duration::from_millis(400);

/// Pauses behind bodies that failed one after the other: the first, and the longest.
const AFTER_ERRORS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));

/// No term of one process begins sooner after the one before, unless that was lost: a body that returns at once does not keep the
/// nodes, and this process, busy.
const SHORTEST_TERM: Duration = Duration::from_millis(100);

/// How long somebody who wants to lead pauses between two terms.
#[derive(Clone, Debug)]
pub struct TermPauses(Backoff);

impl TermPauses {
    /// Of somebody who has not led yet.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Backoff::new(AFTER_ERRORS.0, AFTER_ERRORS.1, seed))
    }

    /// The pause behind a term that ended like this and lasted so long.
    #[must_use]
    pub fn after(&mut self, end: TermEnd, lasted: Duration, seed: impl FnOnce() -> u64) -> Duration {
        match end {
            TermEnd::Resigned => stand_back(seed()),
            TermEnd::Returned => {
                *self = Self::new(seed());
                SHORTEST_TERM.saturating_sub(lasted)
            }
            TermEnd::Failed => self.0.next().unwrap_or(AFTER_ERRORS.1),
            TermEnd::Lost => Duration::ZERO,
        }
    }
}

/// How long somebody who resigned stands back.
#[must_use]
pub fn stand_back(seed: u64) -> Duration {
    if !holds(Rule::ResignedStandBack) {
        return Duration::ZERO;
    }
    Backoff::new(STAND_BACK, STAND_BACK, seed).next().unwrap_or(STAND_BACK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_term_that_ends_at_once_is_followed_by_a_pause_and_one_that_was_lost_by_none() {
        let mut pauses = TermPauses::new(1);
        let mut after = |end, milliseconds| pauses.after(end, Duration::from_millis(milliseconds), || 7).as_millis();
        assert_eq!([0, 30, 100, 5000].map(|lasted| after(TermEnd::Returned, lasted)), [100, 70, 0, 0]);
        assert_eq!(after(TermEnd::Lost, 0), 0);
        assert!((200..=400).contains(&after(TermEnd::Resigned, 0)));
        let failed: Vec<_> = (0..12).map(|_| after(TermEnd::Failed, 5000)).collect();
        assert!((50..=100).contains(&failed[0]) && (100..=200).contains(&failed[1]), "{failed:?}");
        assert!((15_000..=30_000).contains(&failed[11]), "{failed:?}");
        let _ = after(TermEnd::Returned, 5000);
        assert!(after(TermEnd::Failed, 5000) <= 100, "one that ended well begins anew");
    }
}
