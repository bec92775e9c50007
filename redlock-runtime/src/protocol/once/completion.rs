use std::time::{Duration, Instant};

use crate::protocol::{Holder, NodeSet, Quorum};
use crate::rules::{Rule, holds};

/// The completion of a fire, or the repair of a mark: one round, to those who voted for the lock, in which what is lost is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion {
    /// What a majority is.
    quorum: Quorum,
    /// What is written.
    mark: u64,
    /// What becomes of the lock's key.
    key: KeyAfter,
    /// Who is asked, and again where the answer is lost.
    voters: NodeSet,
    /// Who is asked besides, once.
    late: NodeSet,
    /// Who confirmed.
    confirmed: NodeSet,
    /// The validity of the lock, as it was when this was sent.
    valid_until: Instant,
}

/// What a completion does with the lock's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyAfter {
    /// It deletes the key, in the same script: no more round trips than a lock without `once`. Also for a repair.
    Deleted,
    /// It leaves the key, because the body is still to come (`once_at = "start"`).
    Kept,
}

/// What a node did with a completion, which is also what it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Marked {
    /// The key was the asker's: the mark is this now, and lives for the retention from now on.
    Raised {
        /// What was asked for, or more.
        completed: u64,
    },
    /// The key is not the asker's, and nothing was changed, but the mark is as great as was asked for.
    Covered,
    /// The key is not the asker's, and nothing was changed.
    Refused,
}

/// Whether a completion was sent to a node before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sending {
    /// It was not.
    First,
    /// It was, and its answer was lost.
    Again,
}

/// How a completion ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a fire that is not complete may run again"]
pub enum CompletionVerdict {
    /// A majority confirmed in time.
    Confirmed,
    /// More answers may decide.
    Listen,
    /// It may have been written, but nobody can rely on it.
    Unconfirmed,
}

impl Completion {
    /// Begins to write a mark, when the lock was granted by `voters`: those whose grants were heard, and who may vote.
    /// `valid_until` is the end of the validity that the lock has at this moment; a renewal after it does not count.
    #[must_use]
    pub fn begin(quorum: Quorum, mark: u64, voters: NodeSet, key: KeyAfter, valid_until: Instant) -> Self {
        let all = NodeSet::first(quorum.nodes());
        let voters = if holds(Rule::MarksGoToHeardVoters) { voters } else { all };
        let (late, confirmed) = (NodeSet::default(), NodeSet::default());
        Self { quorum, mark, key, voters, late, confirmed, valid_until }
    }

    /// What is written.
    #[must_use]
    pub fn mark(&self) -> u64 {
        self.mark
    }

    /// What becomes of the lock's key.
    #[must_use]
    pub fn key(&self) -> KeyAfter {
        self.key
    }

    /// Whom it is sent to.
    #[must_use]
    pub fn asked(&self) -> NodeSet {
        self.voters.iter().chain(self.late.iter()).collect()
    }

    /// These are asked besides those that it began with: they voted for the lock as well, and were heard since, so the slowest of the first
    /// majority need not be waited for. None of them is one whose answer was lost: it is not asked again. Were it, and came back with an older
    /// snapshot in between, it would have a mark that looks as if it knew of all before it.
    pub fn ask_too(&mut self, late: NodeSet) {
        self.late = late;
    }

    /// Who confirmed, so far.
    #[must_use]
    pub fn confirmed(&self) -> NodeSet {
        self.confirmed
    }

    /// Notes what a node answered, and that it was heard `now`.
    ///
    /// A completion that deletes the key and is sent again may find it deleted by itself. So it then suffices that the mark is as great
    /// as was asked for.
    pub fn record(&mut self, node: usize, marked: Marked, sending: Sending, now: Instant) {
        let is_confirmation = match marked {
            Marked::Raised { .. } => true,
            Marked::Covered => sending == Sending::Again && self.key == KeyAfter::Deleted,
            Marked::Refused => false,
        };
        let is_in_time = now < self.valid_until || !holds(Rule::CompletionWithinValidity);
        if is_confirmation && is_in_time && self.asked().contains(node) {
            self.confirmed.insert(node);
        }
    }

    /// For how long from `now` on a confirmation counts.
    #[must_use]
    pub fn counts_for(&self, now: Instant) -> Duration {
        let held = self.valid_until.saturating_duration_since(now);
        if holds(Rule::CompletionWithinValidity) { held } else { Duration::MAX }
    }

    /// How it ends; `now` is the moment of asking, and `pending` are the nodes that may answer yet.
    pub fn verdict(&self, pending: NodeSet, now: Instant) -> CompletionVerdict {
        let is_valid = now < self.valid_until || !holds(Rule::CompletionWithinValidity);
        let possible = self.confirmed.len() + pending.without(self.confirmed).len();
        if self.confirmed.len() >= self.quorum.needed() || !holds(Rule::CompletionIsConfirmed) {
            CompletionVerdict::Confirmed
        } else if possible >= self.quorum.needed() && is_valid {
            CompletionVerdict::Listen
        } else {
            CompletionVerdict::Unconfirmed
        }
    }
}

impl Marked {
    /// What a node does that has this mark `stored`, when a completion arrives: with [`Marked::Raised`] it stores what that says for the
    /// retention from now on, whether it is more than before or not.
    #[must_use]
    pub fn by(stored: Option<u64>, holder: Holder, mark: u64) -> Self {
        if holder == Holder::Asker || !holds(Rule::CompletionComparesOwner) {
            Self::Raised { completed: stored.unwrap_or_default().max(mark) }
        } else if stored.is_some_and(|stored| stored >= mark) {
            Self::Covered
        } else {
            Self::Refused
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(60 * 60);

    fn quorum(nodes: usize) -> Quorum {
        Quorum::of(nodes).unwrap()
    }

    #[test]
    fn a_completion_raises_the_mark_only_for_the_owner() {
        let check = |stored, holder, expect| assert_eq!(Marked::by(stored, holder, 5), expect, "{stored:?}");
        check(None, Holder::Asker, Marked::Raised { completed: 5 });
        check(Some(4), Holder::Asker, Marked::Raised { completed: 5 });
        check(Some(6), Holder::Asker, Marked::Raised { completed: 6 });
        check(None, Holder::Other, Marked::Refused);
        check(Some(4), Holder::Other, Marked::Refused);
        check(Some(5), Holder::Other, Marked::Covered);
    }

    /// What becomes of a completion to the first two of three nodes when these answer, in this order, a moment before the validity
    /// is over or at its end.
    fn check_completion(key: KeyAfter, answers: &[(usize, Marked, Sending, bool)], expect: CompletionVerdict) {
        let now = crate::platform::clock::now();
        let valid_until = now + HOUR;
        let mut completion = Completion::begin(quorum(3), 5, NodeSet::first(2), key, valid_until);
        assert_eq!((completion.asked(), completion.mark(), completion.key()), (NodeSet::first(2), 5, key));
        for (node, marked, sending, is_in_time) in answers {
            completion.record(*node, *marked, *sending, if *is_in_time { now } else { valid_until });
        }
        assert_eq!(completion.verdict(NodeSet::default(), now), expect, "{answers:?}");
        let listens = completion.verdict(completion.asked(), now);
        assert_eq!(listens == CompletionVerdict::Confirmed, expect == CompletionVerdict::Confirmed);
    }

    #[test]
    fn a_completion_counts_when_a_majority_of_those_who_were_asked_confirms_it_in_time() {
        use CompletionVerdict::{Confirmed, Unconfirmed};
        use KeyAfter::{Deleted, Kept};
        use Marked::{Covered, Refused};
        use Sending::{Again, First};

        let raised = Marked::Raised { completed: 5 };
        let greater = Marked::Raised { completed: 9 };
        check_completion(Deleted, &[(0, raised, First, true), (1, greater, First, true)], Confirmed);
        check_completion(Deleted, &[(0, raised, First, true), (0, raised, Again, true)], Unconfirmed);
        check_completion(Deleted, &[(0, raised, First, true), (1, Refused, First, true)], Unconfirmed);
        check_completion(Deleted, &[(0, raised, First, true), (1, raised, First, false)], Unconfirmed);
        check_completion(Deleted, &[(0, raised, First, true), (2, raised, First, true)], Unconfirmed);
        check_completion(Deleted, &[(0, raised, First, true), (1, Covered, First, true)], Unconfirmed);
        check_completion(Deleted, &[(0, raised, First, true), (1, Covered, Again, true)], Confirmed);
        check_completion(Kept, &[(0, raised, First, true), (1, Covered, Again, true)], Unconfirmed);
        check_completion(Kept, &[(0, raised, First, true), (1, raised, Again, true)], Confirmed);
    }

    #[test]
    fn a_vote_that_comes_late_confirms_and_is_not_asked_again() {
        let now = crate::platform::clock::now();
        let begin = || Completion::begin(quorum(3), 5, NodeSet::first(2), KeyAfter::Deleted, now + HOUR);
        let late: NodeSet = [2].into_iter().collect();
        let raised = Marked::Raised { completed: 5 };
        for is_given_up in [false, true] {
            let mut completion = begin();
            completion.ask_too(late);
            if is_given_up {
                completion.ask_too(NodeSet::default());
            }
            completion.record(0, raised, Sending::First, now);
            completion.record(2, raised, Sending::First, now);
            let expect = if is_given_up { CompletionVerdict::Unconfirmed } else { CompletionVerdict::Confirmed };
            assert_eq!(completion.verdict(NodeSet::default(), now), expect);
        }
    }

    #[test]
    fn a_completion_whose_validity_is_over_waits_no_longer() {
        let now = crate::platform::clock::now();
        let completion = Completion::begin(quorum(3), 5, NodeSet::first(3), KeyAfter::Deleted, now + HOUR);
        let all = NodeSet::first(3);
        assert_eq!(completion.verdict(all, now), CompletionVerdict::Listen);
        assert_eq!(completion.verdict(all, now + HOUR), CompletionVerdict::Unconfirmed);
        assert_eq!(completion.verdict(NodeSet::default(), now), CompletionVerdict::Unconfirmed);
    }

    #[test]
    fn a_completion_that_too_few_can_confirm_waits_no_longer() {
        let now = crate::platform::clock::now();
        let mut completion = Completion::begin(quorum(5), 5, NodeSet::first(4), KeyAfter::Deleted, now + HOUR);
        let check = |completion: &Completion, pending: &[usize], expect| {
            assert_eq!(completion.verdict(pending.iter().copied().collect(), now), expect, "{pending:?}");
        };
        check(&completion, &[0, 1, 2], CompletionVerdict::Listen);
        check(&completion, &[0, 1], CompletionVerdict::Unconfirmed);
        completion.record(0, Marked::Raised { completed: 5 }, Sending::First, now);
        check(&completion, &[0, 1], CompletionVerdict::Unconfirmed);
        check(&completion, &[1, 2], CompletionVerdict::Listen);
        check(&completion, &[3], CompletionVerdict::Unconfirmed);
    }
}
