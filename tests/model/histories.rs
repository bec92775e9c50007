//! Months of a lock at random: counters expire, nodes restart empty or cannot be reached, rounds are lost, clocks differ.
//!
//! One attempt at a time; what happens when several are under way is what the model is for.

use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{TestError, TestRunner};
use redlock_runtime::protocol::{
    Ballot, Counter, Fence, FenceFallback, Fencing, Holder, Listening, NodeSet, Proposal, Quorum, RETENTION,
    confirmation,
};

/// The clocks of any two processes differ by less than this.
const SKEW: Duration = Duration::from_secs(60);

/// Whether a grant moves a counter's expiry: [`Counter::moves_expiry`].
type MovesExpiry = fn(u64, u64, u64, Duration, Duration) -> bool;

/// What happens to the lock.
#[derive(Clone, Debug)]
enum Step {
    /// Time passes.
    Pass(Duration),
    /// A process wants the lock.
    Attempt(Attempt),
    /// A node restarts empty, if that is within what is promised.
    Restart(usize),
}

/// An attempt; nodes are bits.
#[derive(Clone, Debug)]
struct Attempt {
    /// How far the clock of its process is ahead.
    ahead: Duration,
    /// The nodes that it reaches.
    reached: u8,
    /// Those that refuse.
    refusing: u8,
    /// The nodes that the commit reaches.
    committing: u8,
    /// Whether the lock is taken over from its owner: then nodes that grant it raise no counter.
    takes_over: bool,
}

/// A node with the counter of one lock.
#[derive(Clone, Debug)]
struct Node {
    /// When it started, since 1970.
    born: Duration,
    /// The counter, and when it expires.
    counter: Option<(u64, Duration)>,
}

/// Everything at one moment.
struct World {
    /// Since 1970.
    now: Duration,
    nodes: Vec<Node>,
    quorum: Quorum,
    doubt: FenceFallback,
    moves_expiry: MovesExpiry,
    /// When a node last restarted, or was set up.
    restarted: Duration,
    /// How many second rounds there were.
    second_rounds: usize,
}

impl Attempt {
    /// One that all nodes take part in and none refuses.
    fn of_everybody(ahead: Duration) -> Self {
        Self { ahead, reached: u8::MAX, refusing: 0, committing: u8::MAX, takes_over: false }
    }
}

impl Node {
    fn read(&self, now: Duration) -> Counter {
        let stored = self.counter.filter(|(_, expires)| *expires > now).map(|(counter, _)| counter);
        Counter::read(stored, now.saturating_sub(self.born), RETENTION)
    }

    /// As the scripts do it: a grant moves the expiry of a counter that is there only where [`Counter::moves_expiry`] says so, or what
    /// is tried in its place.
    fn grant(&mut self, now: Duration, proposal: Proposal, moves_expiry: MovesExpiry) -> Counter {
        let before = self.read(now);
        let after = before.grant(proposal);
        if let Some(raised) = after.number() {
            let kept = before.number().zip(self.expires()).filter(|(number, expires)| {
                !moves_expiry(*number, raised, proposal.least(), expires.saturating_sub(now), RETENTION)
            });
            self.counter = Some((raised, kept.map_or(now + RETENTION, |(_, expires)| expires)));
        }
        after
    }

    /// As the script does it: a counter that is as great already keeps its expiry.
    fn commit(&mut self, now: Duration, token: u64) -> Option<Counter> {
        let before = self.read(now);
        let after = before.commit(Holder::Asker, token);
        let kept = self.expires().filter(|_| after == Some(before));
        self.counter = after.and_then(Counter::number).map(|counter| (counter, kept.unwrap_or(now + RETENTION)));
        after
    }

    fn expires(&self) -> Option<Duration> {
        self.counter.map(|(_, expires)| expires)
    }
}

impl World {
    fn new(nodes: usize, doubt: FenceFallback) -> Self {
        let now = Duration::from_secs(1_700_000_000);
        let node = Node { born: Duration::ZERO, counter: None };
        let quorum = Quorum::of(nodes).expect("few nodes");
        let (moves_expiry, restarted) = (Counter::moves_expiry, Duration::ZERO);
        Self { now, nodes: vec![node; nodes], quorum, doubt, moves_expiry, restarted, second_rounds: 0 }
    }

    /// The token of an attempt that gets one.
    fn attempt(&mut self, attempt: &Attempt) -> Option<u64> {
        let now = self.now;
        let proposal = Proposal::new(now + attempt.ahead, 0, self.quorum, self.doubt);
        let begin = if attempt.takes_over { Fence::take_over } else { Fence::propose };
        let mut fence = begin(self.quorum, proposal, self.doubt);
        let mut voters = NodeSet::default();
        for (place, node) in self.nodes.iter_mut().enumerate().filter(|(place, _)| attempt.reached >> place & 1 == 1) {
            if attempt.refusing >> place & 1 == 1 {
                fence.merge(place, node.read(now));
            } else {
                fence.merge(
                    place,
                    if attempt.takes_over { node.read(now) } else { node.grant(now, proposal, self.moves_expiry) },
                );
                voters.insert(place);
            }
        }
        if voters.len() < self.quorum.needed() {
            return None;
        }
        match fence.decide(voters, Listening::IsOver) {
            Fencing::Agreed(token) => Some(token),
            Fencing::Commit(token) => {
                self.second_rounds += 1;
                let reached = voters.iter().filter(|place| attempt.committing >> place & 1 == 1);
                let answers = reached.map(|place| self.nodes[place].commit(now, token));
                let confirmed = answers.filter(|answer| confirmation(token, *answer) == Ballot::Granted).count();
                (confirmed >= self.quorum.needed()).then_some(token)
            }
            Fencing::Listen | Fencing::Refused => None,
        }
    }

    /// The tokens that are given.
    fn live(&mut self, steps: &[Step]) -> Vec<u64> {
        let mut tokens = Vec::new();
        for step in steps {
            match step {
                Step::Pass(time) => self.now += *time,
                Step::Attempt(attempt) => tokens.extend(self.attempt(attempt)),
                Step::Restart(node) => {
                    if self.now >= self.restarted + RETENTION {
                        self.restarted = self.now;
                        let place = node % self.nodes.len();
                        self.nodes[place] = Node { born: self.now, counter: None };
                    }
                }
            }
        }
        tokens
    }
}

fn attempts() -> impl Strategy<Value = Step> {
    let mostly_all = || prop_oneof![Just(u8::MAX), any::<u8>()];
    let ahead = (0..SKEW.as_secs()).prop_map(Duration::from_secs);
    let attempt = (ahead, mostly_all(), prop_oneof![Just(0), any::<u8>()], mostly_all(), any::<bool>());
    attempt.prop_map(|(ahead, reached, refusing, committing, takes_over)| {
        Step::Attempt(Attempt { ahead, reached, refusing, committing, takes_over })
    })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let time = prop_oneof![
        (0_u64..3).prop_map(Duration::from_micros),
        (0_u64..90).prop_map(Duration::from_secs),
        (0_u64..30).prop_map(|hours| Duration::from_secs(hours * 60 * 60)),
    ];
    let step = prop_oneof![4 => attempts(), 3 => time.prop_map(Step::Pass), 1 => (0_usize..5).prop_map(Step::Restart)];
    prop::collection::vec(step, 1..40)
}

/// What those who want the lock do while the counters of the first attempt would expire, which the steps above hardly ever come to.
fn around_an_expiry() -> impl Strategy<Value = Vec<Step>> {
    let seconds = || (0..SKEW.as_secs() / 4).prop_map(Duration::from_secs);
    let by_everybody =
        (0..SKEW.as_secs()).prop_map(|seconds| Step::Attempt(Attempt::of_everybody(Duration::from_secs(seconds))));
    let step = prop_oneof![3 => by_everybody.clone(), 1 => attempts(), 2 => seconds().prop_map(Step::Pass)];
    (by_everybody, seconds(), prop::collection::vec(step, 1..20)).prop_map(|(first, before, mut steps)| {
        steps.splice(..0, [first, Step::Pass(RETENTION.saturating_sub(before))]);
        steps
    })
}

type Checked = Result<(), TestError<(usize, Vec<Step>)>>;

fn check(doubt: FenceFallback) -> Checked {
    check_of(steps(), doubt, Counter::moves_expiry)
}

fn check_of(steps: impl Strategy<Value = Vec<Step>>, doubt: FenceFallback, moves_expiry: MovesExpiry) -> Checked {
    let config = ProptestConfig { cases: 5_000, failure_persistence: None, ..ProptestConfig::default() };
    TestRunner::new(config).run(&(1_usize..=5, steps), |(nodes, steps)| {
        let tokens = World { moves_expiry, ..World::new(nodes, doubt) }.live(&steps);
        prop_assert!(tokens.is_sorted_by(|one, next| one < next), "{tokens:?}");
        Ok(())
    })
}

#[test]
fn tokens_grow_across_expiry_and_a_restart_in_each_retention() {
    check(FenceFallback::TrustClocks { max_clock_skew: SKEW }).unwrap();
}

#[test]
fn tokens_grow_for_those_who_do_not_rely_on_clocks() {
    check(FenceFallback::Refuse).unwrap();
}

#[test]
fn clocks_that_differ_by_more_than_was_said_are_found_out() {
    let found = check(FenceFallback::TrustClocks { max_clock_skew: Duration::from_secs(1) });
    assert!(matches!(found, Err(TestError::Fail(..))), "{found:?}");
}

#[test]
fn tokens_grow_while_counters_would_expire() {
    let clocks = FenceFallback::TrustClocks { max_clock_skew: SKEW };
    check_of(around_an_expiry(), clocks, Counter::moves_expiry).unwrap();
    let found = check_of(around_an_expiry(), clocks, |_, _, _, _, _| false);
    assert!(matches!(found, Err(TestError::Fail(..))), "expiries are never moved: {found:?}");
}

#[test]
fn a_counter_a_day_ahead_of_all_clocks_does_not_expire_while_the_lock_is_wanted() {
    let do_tokens_grow = |moves_expiry: MovesExpiry| {
        let attempt = |ahead| Step::Attempt(Attempt::of_everybody(ahead));
        let hour = || [Step::Pass(Duration::from_secs(60 * 60)), attempt(Duration::ZERO)];
        let steps: Vec<_> = [attempt(RETENTION + SKEW)].into_iter().chain((0..48).flat_map(|_| hour())).collect();
        let clocks = FenceFallback::TrustClocks { max_clock_skew: SKEW };
        let tokens = World { moves_expiry, ..World::new(3, clocks) }.live(&steps);
        assert_eq!(tokens.len(), 49);
        tokens.is_sorted_by(|one, next| one < next)
    };
    assert!(do_tokens_grow(Counter::moves_expiry));
    let as_if_near: MovesExpiry =
        |before, after, _, remaining, retention| Counter::moves_expiry(before, after, after, remaining, retention);
    assert!(!do_tokens_grow(as_if_near), "nothing moves it but the quarters that begin");
}

#[test]
fn nodes_that_can_all_be_reached_agree_whatever_the_clocks_say() {
    let attempts = prop::collection::vec((0..SKEW.as_secs(), 0_u64..2), 1..40);
    proptest!(|(nodes in 1_usize..=5, attempts in attempts)| {
        let mut world = World::new(nodes, FenceFallback::Refuse);
        for (ahead, passed) in attempts {
            world.now += Duration::from_micros(passed);
            prop_assert!(world.attempt(&Attempt::of_everybody(Duration::from_secs(ahead))).is_some());
        }
        prop_assert_eq!(world.second_rounds, 0);
    });
}
