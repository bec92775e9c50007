use std::time::{Duration, Instant};

use super::{Fencing, LOSS_NOTICE, Listening, NodeSet, OnceDecision, Quorum, Tally, Verdict, valid_until};
use crate::rules::{Rule, holds};

/// One attempt to get a lock, from its first question to its end.
///
/// It says what is to be done next: which nodes are asked, when a token has to be committed, and what came of it. What the nodes
/// answer is counted in a [`Tally`]. An attempt that was not won is given back by whoever made it, whatever the reason.
///
/// ```text
/// begin ── AskFirst ── after_first ──┬── Ask ── after_all ──┬── Commit ── after_commit ── Conclude
///       └─────────────── Ask ────────┘                      └── Conclude
/// ```
///
/// Sources: [the Redlock algorithm](https://redis.io/docs/latest/develop/use/patterns/distributed-locks/) for the majority and the
/// validity; [`Fence`](super::Fence) for the token and its commit.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    /// What a majority is.
    quorum: Quorum,
    /// What it is made for.
    kind: Kind,
    /// When it began: before its first question was sent. Its validity counts from here.
    began: Instant,
    /// How long the keys live.
    ttl: Duration,
    /// An attempt that takes longer is not won; see [`longest_round`](super::longest_round).
    longest_round: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A free lock is acquired; this node is asked before the others, if any is.
    Acquire { first: Option<usize> },
    /// A lock is taken over from its owner.
    Adopt,
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum AttemptStep {
    /// Ask this node alone, and listen to it.
    AskFirst(usize),
    /// Ask these nodes, and listen until the round has a verdict.
    Ask(NodeSet),
    /// Have these nodes, which granted the lock, raise its fencing counter to the token.
    Commit {
        /// The token.
        token: u64,
        /// Those that granted.
        nodes: NodeSet,
    },
    /// Nothing: this came of it.
    Conclude(Conclusion),
}

/// What came of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "what was not won is given back"]
pub enum Conclusion {
    /// It is won, if [it is in time](Attempt::valid_until).
    Won {
        /// The lock's fencing token; zero if it gets none.
        fencing_token: u64,
    },
    /// A majority granted it, but too few nodes remember the fencing tokens that were given before.
    NoEvidence,
    /// The fire that it was asked for was completed, and whether the lock is won does not matter.
    AlreadyRan {
        /// The greatest completed fire that a majority shows, at least.
        completed: u64,
    },
    /// It is granted, and its fire was completed as far as less than a majority shows. That is written back, as a
    /// [`Completion`](super::Completion), before it is told.
    Spread {
        /// The greatest completed fire that was read.
        greatest: u64,
    },
    /// It is granted, and nobody can know whether its fire was completed.
    Doubt {
        /// The nodes that cannot know.
        unknowing: NodeSet,
        /// A mark that covers the fire, if any node shows one.
        shown: Option<u64>,
    },
    /// It is not won.
    Failed(Verdict),
}

impl Attempt {
    /// An attempt to acquire a lock, which begins now. With a `first` node, that one is asked before the others: of several who
    /// ask it, all but one are refused before they have a minority of the others.
    #[must_use]
    pub fn to_acquire(
        quorum: Quorum,
        first: Option<usize>,
        began: Instant,
        ttl: Duration,
        longest_round: Duration,
    ) -> Self {
        Self { quorum, kind: Kind::Acquire { first }, began, ttl, longest_round }
    }

    /// An attempt to take a lock over, which begins now.
    #[must_use]
    pub fn to_adopt(quorum: Quorum, began: Instant, ttl: Duration, longest_round: Duration) -> Self {
        Self { quorum, kind: Kind::Adopt, began, ttl, longest_round }
    }

    /// The first step.
    pub fn begin(&self) -> AttemptStep {
        match self.kind {
            Kind::Acquire { first: Some(first) } => AttemptStep::AskFirst(first),
            Kind::Acquire { first: None } | Kind::Adopt => AttemptStep::Ask(self.all()),
        }
    }

    /// The step after [`AttemptStep::AskFirst`], when that node has answered or its time is over; `is_cut_short`: because the
    /// caller's is.
    pub fn after_first(&self, first: usize, tally: &Tally, is_cut_short: bool) -> AttemptStep {
        // One that refused because the fire was completed says nothing about the lock.
        if tally.refused().contains(first) && !tally.shows_completed(first) {
            AttemptStep::Conclude(Conclusion::Failed(Verdict::Refused))
        } else if is_cut_short {
            AttemptStep::Conclude(Conclusion::Failed(Verdict::Unreachable))
        } else {
            // It granted; or it does not vote, and then the others decide without it.
            AttemptStep::Ask(self.all().without(NodeSet::from_iter([first])))
        }
    }

    /// The step after [`AttemptStep::Ask`], when the round has a verdict.
    pub fn after_all(&self, tally: &Tally, verdict: Verdict) -> AttemptStep {
        let verdict = match self.kind {
            Kind::Acquire { .. } => tally.classify_acquire(verdict),
            Kind::Adopt => tally.classify_adoption(verdict),
        };
        AttemptStep::Conclude(match (verdict, tally.fencing(Listening::IsOver)) {
            (Verdict::Won, Some(Fencing::Commit(token))) if holds(Rule::Commit) => {
                return AttemptStep::Commit { token, nodes: tally.granted() };
            }
            (Verdict::Won, Some(Fencing::Agreed(fencing_token) | Fencing::Commit(fencing_token))) => {
                Conclusion::Won { fencing_token }
            }
            (Verdict::Won, Some(Fencing::Listen | Fencing::Refused)) => Conclusion::NoEvidence,
            (Verdict::Won, None) => Conclusion::Won { fencing_token: 0 },
            (verdict, _) => Conclusion::Failed(verdict),
        })
    }

    /// The same step for an attempt that is made for a fire, of which this follows from the marks. A fire that was completed needs
    /// no lock, and one of which nobody knows gets none.
    pub fn for_fire(step: AttemptStep, decision: OnceDecision) -> AttemptStep {
        let is_granted = match step {
            AttemptStep::AskFirst(_) | AttemptStep::Ask(_) => return step,
            AttemptStep::Commit { .. } | AttemptStep::Conclude(Conclusion::Won { .. }) => true,
            AttemptStep::Conclude(_) => false,
        };
        match decision {
            OnceDecision::AlreadyRan { completed } => AttemptStep::Conclude(Conclusion::AlreadyRan { completed }),
            OnceDecision::Spread { greatest } if is_granted => AttemptStep::Conclude(Conclusion::Spread { greatest }),
            OnceDecision::Doubt { unknowing, shown } if is_granted => {
                AttemptStep::Conclude(Conclusion::Doubt { unknowing, shown })
            }
            OnceDecision::Listen | OnceDecision::NotGranted if is_granted => {
                AttemptStep::Conclude(Conclusion::Failed(Verdict::Unreachable))
            }
            OnceDecision::Run
            | OnceDecision::Spread { .. }
            | OnceDecision::Doubt { .. }
            | OnceDecision::Listen
            | OnceDecision::NotGranted => step,
        }
    }

    /// What came of the attempt after [`AttemptStep::Commit`], with the verdict of that round.
    pub fn after_commit(&self, token: u64, verdict: Verdict) -> Conclusion {
        match (verdict, self.kind) {
            (Verdict::Won, _) => Conclusion::Won { fencing_token: token },
            // Another attempt came between: the next one is told a greater counter.
            (Verdict::Refused | Verdict::Split, Kind::Acquire { .. }) => Conclusion::Failed(Verdict::Split),
            // The lock is this owner's already, so that it is only to be told a greater counter; or nobody knows.
            (Verdict::Refused | Verdict::Split, Kind::Adopt) | (Verdict::Unreachable, _) => {
                Conclusion::Failed(Verdict::Unreachable)
            }
        }
    }

    /// Until when the lock counts as held that was won at `now`; `None` if it was won too late: a grant that arrives with no
    /// validity left is not a grant, and the node that gave one a [long time](super::longest_round) ago may be another by now.
    #[must_use]
    pub fn valid_until(&self, now: Instant) -> Option<Instant> {
        let counted_from = if holds(Rule::ValidityOfTheAttempt) { self.began } else { now };
        let valid_until = valid_until(counted_from, self.ttl);
        let is_short = now.saturating_duration_since(self.began) <= self.longest_round || !holds(Rule::RoundsAreShort);
        (now + LOSS_NOTICE < valid_until && is_short).then_some(valid_until)
    }

    /// How long the keys live.
    #[must_use]
    pub fn ttl(&self) -> Duration {
        self.ttl
    }

    /// When it began.
    #[must_use]
    pub fn began(&self) -> Instant {
        self.began
    }

    fn all(&self) -> NodeSet {
        NodeSet::first(self.quorum.nodes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Counter, Fence, FenceFallback, Proposal, Vote};

    const TTL: Duration = Duration::from_secs(10);
    const LONGEST_ROUND: Duration = Duration::from_secs(2);

    fn quorum() -> Quorum {
        Quorum::of(3).unwrap()
    }

    fn now() -> Instant {
        crate::platform::clock::now()
    }

    fn acquire(first: Option<usize>) -> Attempt {
        Attempt::to_acquire(quorum(), first, now(), TTL, LONGEST_ROUND)
    }

    fn nodes(nodes: &[usize]) -> NodeSet {
        nodes.iter().copied().collect()
    }

    fn failed(verdict: Verdict) -> AttemptStep {
        AttemptStep::Conclude(Conclusion::Failed(verdict))
    }

    /// A round with fencing tokens, trusting no clock, in which these nodes granted with these counters.
    fn granted(counters: &[Counter]) -> Tally {
        let proposal = Proposal::new(Duration::from_micros(10), 0, quorum(), FenceFallback::Refuse);
        let mut tally = Tally::new(quorum(), Some(Fence::propose(quorum(), proposal, FenceFallback::Refuse)));
        for (node, counter) in counters.iter().enumerate() {
            tally.record(node, Vote::Granted { counter: Some(*counter), is_wanted: false, mark: None }, now, || None);
        }
        tally
    }

    #[test]
    fn one_node_is_asked_before_the_others_if_there_is_a_first() {
        assert_eq!(acquire(None).begin(), AttemptStep::Ask(nodes(&[0, 1, 2])));
        assert_eq!(Attempt::to_adopt(quorum(), now(), TTL, LONGEST_ROUND).begin(), AttemptStep::Ask(nodes(&[0, 1, 2])));
        assert_eq!(acquire(Some(1)).begin(), AttemptStep::AskFirst(1));
    }

    #[test]
    fn a_first_node_that_refuses_ends_the_attempt_and_one_that_does_not_vote_does_not() {
        let refused = Vote::Refused { owner: None, remaining: None, counter: None, mark: None };
        let granted = Vote::Granted { counter: None, is_wanted: false, mark: None };
        for (vote, is_cut_short, expect) in [
            (Some(refused), false, failed(Verdict::Refused)),
            (Some(granted), false, AttemptStep::Ask(nodes(&[0, 2]))),
            (Some(Vote::Failed), false, AttemptStep::Ask(nodes(&[0, 2]))),
            (None, false, AttemptStep::Ask(nodes(&[0, 2]))),
            (None, true, failed(Verdict::Unreachable)),
        ] {
            let mut tally = Tally::new(quorum(), None);
            if let Some(vote) = vote {
                tally.record(1, vote, now, || None);
            }
            assert_eq!(acquire(Some(1)).after_first(1, &tally, is_cut_short), expect);
        }
    }

    #[test]
    fn a_token_that_no_majority_told_is_committed_by_those_that_granted() {
        use Counter::{Forgotten, Known};
        let check = |counters: &[Counter], expect| {
            assert_eq!(acquire(None).after_all(&granted(counters), Verdict::Won), expect, "{counters:?}");
        };
        check(&[Known(11), Known(11)], AttemptStep::Conclude(Conclusion::Won { fencing_token: 11 }));
        check(&[Known(11), Known(12)], AttemptStep::Commit { token: 12, nodes: nodes(&[0, 1]) });
        check(&[Known(11), Forgotten], AttemptStep::Conclude(Conclusion::NoEvidence));
    }

    #[test]
    fn a_commit_that_is_refused_is_tried_again_by_whoever_has_the_lock_already() {
        let adopt = Attempt::to_adopt(quorum(), now(), TTL, LONGEST_ROUND);
        assert_eq!(acquire(None).after_commit(7, Verdict::Won), Conclusion::Won { fencing_token: 7 });
        assert_eq!(acquire(None).after_commit(7, Verdict::Refused), Conclusion::Failed(Verdict::Split));
        assert_eq!(adopt.after_commit(7, Verdict::Refused), Conclusion::Failed(Verdict::Unreachable));
        assert_eq!(acquire(None).after_commit(7, Verdict::Unreachable), Conclusion::Failed(Verdict::Unreachable));
    }

    #[test]
    fn a_lock_without_fencing_token_is_won_by_the_grants_alone() {
        let mut tally = Tally::new(quorum(), None);
        for node in [0, 1] {
            tally.record(node, Vote::Granted { counter: None, is_wanted: false, mark: None }, now, || None);
        }
        let won = AttemptStep::Conclude(Conclusion::Won { fencing_token: 0 });
        assert_eq!(acquire(None).after_all(&tally, Verdict::Won), won);
        assert_eq!(acquire(None).after_all(&tally, Verdict::Unreachable), failed(Verdict::Unreachable));
    }

    #[test]
    fn a_fire_runs_only_if_the_marks_say_so() {
        use OnceDecision::{AlreadyRan, Doubt, NotGranted, Run, Spread};
        let check = |step, decision, expect| assert_eq!(Attempt::for_fire(step, decision), expect, "{decision:?}");
        let conclude = AttemptStep::Conclude;
        let won = conclude(Conclusion::Won { fencing_token: 7 });
        let commit = AttemptStep::Commit { token: 7, nodes: nodes(&[0, 1]) };
        let (unknowing, shown) = (nodes(&[2]), Some(5));
        for granted in [won, commit] {
            check(granted, Run, granted);
            check(granted, AlreadyRan { completed: 5 }, conclude(Conclusion::AlreadyRan { completed: 5 }));
            check(granted, Spread { greatest: 6 }, conclude(Conclusion::Spread { greatest: 6 }));
            check(granted, Doubt { unknowing, shown }, conclude(Conclusion::Doubt { unknowing, shown }));
        }
        let refused = failed(Verdict::Refused);
        check(refused, NotGranted, refused);
        check(refused, AlreadyRan { completed: 5 }, conclude(Conclusion::AlreadyRan { completed: 5 }));
        let ask = AttemptStep::Ask(nodes(&[1, 2]));
        check(ask, AlreadyRan { completed: 5 }, ask);
    }

    #[test]
    fn what_is_won_late_does_not_count() {
        let began = now();
        let check = |ttl: u64, took: u64, expect: Option<u64>| {
            let [ttl, took] = [ttl, took].map(Duration::from_millis);
            let attempt = Attempt::to_acquire(quorum(), None, began, ttl, LONGEST_ROUND);
            let expect = expect.map(|validity| began + Duration::from_millis(validity));
            assert_eq!(attempt.valid_until(began + took), expect, "{ttl:?}, {took:?}");
        };
        check(10_000, 0, Some(9898));
        check(10_000, 2000, Some(9898));
        check(10_000, 2001, None);
        // A percent and two milliseconds of drift, and two more in which the loss is told.
        check(100, 94, Some(97));
        check(100, 95, None);
    }
}
