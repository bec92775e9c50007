//! What nodes and attempts do. Every decision is one of `redlock_runtime::protocol`.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use redlock_runtime::protocol::{
    Completion, CompletionVerdict, Fire, Holder, InDoubt, KeyAfter, Listening, MARK_RETENTION, Mark, Marked, NodeSet,
    Once, OnceDecision, OnceTerms, Quorum, Sending,
};

use super::plan::{OnceAt, Rule, Time, World};
use super::state::{Asked, Attempt, Fault, Key, NODES, Node, Phase, State, Told, Why, narrow};

/// As long as clocks may differ.
const TICK: Duration = Duration::from_secs(1);

/// The clock begins so many ticks after 1970.
const EPOCH: u8 = 100;

/// What the clock says at first: no fire is zero, also where it is a time.
pub(super) const BEGINNING: u8 = 1;

/// A moment of every validity, and its end. Only what is before and what is not matters.
static VALIDITY: LazyLock<(Instant, Instant)> = LazyLock::new(|| {
    #[expect(clippy::disallowed_methods, reason = "any moment will do")]
    let in_time = Instant::now();
    (in_time, in_time + TICK)
});

/// A time since 1970, and what the protocol says of one.
fn ticks(tick: u8) -> Duration {
    TICK * (u32::from(EPOCH) + u32::from(tick))
}

/// The number of a fire, as the protocol has it.
fn number(fire: u8) -> u64 {
    u64::try_from(ticks(fire).as_millis()).expect("small")
}

/// The fire that has a number.
fn fire_of(number: u64) -> u8 {
    u8::try_from(number / 1_000).expect("small") - EPOCH
}

/// A mark as the protocol has it.
fn stored(mark: u8) -> Option<u64> {
    (mark != 0).then(|| number(mark))
}

/// A fire of whose time nothing is known.
fn counted(fire: u8) -> Fire {
    Fire::counted(number(fire)).expect("small")
}

/// The completion that is sent to these nodes.
fn completion(mark: u8, why: Why, voters: NodeSet) -> Completion {
    let key = if why == Why::Starts { KeyAfter::Kept } else { KeyAfter::Deleted };
    Completion::begin(quorum(), number(mark), voters, key, VALIDITY.1)
}

fn quorum() -> Quorum {
    Quorum::of(NODES).expect("three nodes")
}

impl World {
    /// A fire as the protocol has it.
    pub(super) fn fire(&self, fire: u8) -> Fire {
        match self.time {
            Time::Counted => counted(fire),
            Time::Due => Fire::due_at(ticks(fire)),
            Time::Called { period } => Fire::called_at(ticks(fire), TICK * period.into()),
        }
    }

    /// Whether a fire was completed when this is the greatest that was.
    pub(super) fn is_covered(&self, fire: u8, completed: u8) -> bool {
        completed != 0 && self.fire(fire).is_covered_by(number(completed))
    }

    /// What an attempt wants that begins now.
    pub(super) fn wanted(&self, state: &State, attempt: usize, ahead: u8) -> u8 {
        match self.time {
            Time::Called { .. } => state.time + ahead,
            Time::Counted | Time::Due => self.fires[attempt],
        }
    }

    /// Whether somebody whose clock is so far ahead may ask for a fire.
    pub(super) fn is_due(&self, state: &State, fire: u8, ahead: u8) -> bool {
        !self.keeps(Rule::NotBeforeDue) || self.fire(fire).asked_in(ticks(state.time + ahead), TICK).is_zero()
    }

    /// What a node tells somebody who wants a fire, and whose clock is so far ahead.
    pub(super) fn tell(&self, state: &State, node: &Node, fire: u8, ahead: u8) -> Told {
        let since = match node.restarted {
            Some(_) if !self.keeps(Rule::YoungMarksAreNoEvidence) => None,
            Some(at) => Some(at),
            None => self.is_fleet_new.then_some(BEGINNING),
        };
        // A server is older than its age says, never younger.
        let understated = |since: u8| (TICK * (state.time - since).into()).saturating_sub(Duration::from_millis(1));
        let age = since.map_or(MARK_RETENTION, understated);
        // A mark that came back was written before the node started, whose age is of seconds.
        let is_told = node.is_restored && self.keeps(Rule::RestoredMarksAreNoEvidence);
        let left = if is_told { MARK_RETENTION / 2 } else { MARK_RETENTION };
        let mark = Mark { completed: stored(node.mark), left: Some(left), age };
        let wanted = if self.keeps(Rule::SinceBeforeDueIsEvidence) { self.fire(fire) } else { counted(fire) };
        let max_clock_skew = if self.keeps(Rule::SkewCountsTwice) { TICK } else { TICK / 2 };
        let terms = OnceTerms { max_clock_skew, ..self.terms() };
        Told { mark: node.mark, is_evidence: mark.is_evidence(wanted, ticks(state.time + ahead), terms) }
    }

    fn terms(&self) -> OnceTerms {
        let in_doubt = if self.keeps(Rule::DoubtRefuses) { InDoubt::Refuse } else { InDoubt::Run };
        OnceTerms { retention: MARK_RETENTION, max_clock_skew: TICK, in_doubt }
    }

    /// Begins an attempt, if it does with this event: before it reaches a node it might as well begin later.
    pub(super) fn begin(&self, state: &mut State, attempt: usize, begins: Option<u8>) {
        if let Some(ahead) = begins {
            let fire = self.wanted(state, attempt, ahead);
            state.attempts[attempt] = Attempt { phase: Phase::Acquiring, fire, ahead };
            for node in &mut state.nodes {
                if node.waits_for != 0 {
                    node.abstains_for |= 1 << attempt;
                }
            }
        }
    }

    /// Whether the grant of a node is a vote.
    pub(super) fn votes(&self, node: &Node, attempt: usize) -> bool {
        node.abstains_for & (1 << attempt) == 0 || !self.keeps(Rule::Abstention)
    }

    /// A node grants an attempt the lock.
    pub(super) fn grant(&self, state: &mut State, node: usize, attempt: usize, is_heard: bool) {
        let asking = state.attempts[attempt];
        let told = self.answer(state, node, attempt);
        let votes = self.votes(&state.nodes[node], attempt);
        let granting = &mut state.nodes[node];
        granting.key = Key::Of(narrow(attempt));
        granting.asked[attempt] = match (granting.asked[attempt], asking.phase) {
            (Asked::Acquire { is_completed: true }, _) => Asked::Complete,
            (_, phase) if is_heard && phase.hears_late_votes() => Asked::Complete,
            (_, Phase::Over { .. } | Phase::Completing { .. }) => Asked::Nothing,
            _ => Asked::Granted { heard: is_heard.then_some(told), votes },
        };
    }

    /// What a node answers to an acquire, or answered before.
    pub(super) fn answer(&self, state: &State, node: usize, attempt: usize) -> Told {
        let asking = state.attempts[attempt];
        match state.nodes[node].asked[attempt] {
            Asked::Read { told } => told,
            _ => self.tell(state, &state.nodes[node], asking.fire, asking.ahead),
        }
    }

    /// What follows for somebody who wants a fire, and heard this from the nodes, and of some of them as votes.
    fn once(
        &self,
        fire: u8,
        told: impl Iterator<Item = (usize, Told)>,
        voters: NodeSet,
        listening: Listening,
    ) -> OnceDecision {
        let mut once = Once::ask(quorum(), self.fire(fire), self.terms());
        for (node, told) in told {
            // What was evidence when it was heard: now nothing but the retention would be.
            let age = if told.is_evidence { MARK_RETENTION } else { Duration::ZERO };
            once.merge(node, Mark { completed: stored(told.mark), left: None, age }, ticks(u8::MAX));
        }
        once.decide(voters, listening)
    }

    /// Takes the decision of an attempt that has heard what it has heard.
    pub(super) fn decide(&self, state: &mut State, attempt: usize) {
        let fire = state.attempts[attempt].fire;
        let mut voters = NodeSet::default();
        let mut told = Vec::new();
        let mut listening = Listening::IsOver;
        for (node, asked) in state.nodes.iter().enumerate() {
            match asked.asked[attempt] {
                Asked::Granted { heard: Some(answer), votes } => {
                    told.push((node, answer));
                    if votes {
                        voters.insert(node);
                    }
                }
                Asked::Refused { told: answer } => told.push((node, answer)),
                Asked::Acquire { .. } | Asked::Read { .. } => listening = Listening::GoesOn,
                _ => {}
            }
        }
        let mut decision = self.once(fire, told.iter().copied(), voters, listening);
        if decision == OnceDecision::Listen {
            // The others' time may be over, too.
            decision = self.once(fire, told.iter().copied(), voters, Listening::IsOver);
        }
        let greatest = told.iter().map(|(_, told)| told.mark).max().unwrap_or_default();
        if !self.keeps(Rule::MinorityIsNoProof) && self.is_covered(fire, greatest) {
            decision = OnceDecision::AlreadyRan { completed: number(greatest) };
        }
        match decision {
            OnceDecision::Run => match self.once_at {
                OnceAt::End => {
                    self.start(state, fire);
                    state.attempts[attempt].phase = Phase::Running;
                }
                OnceAt::Start => self.complete(state, attempt, fire, Why::Starts),
            },
            OnceDecision::AlreadyRan { completed } => {
                state.completed = state.completed.max(fire_of(completed));
                state.end(attempt);
            }
            OnceDecision::Spread { greatest } => {
                let mark = if self.keeps(Rule::RepairWritesGreatest) { fire_of(greatest) } else { fire };
                self.complete(state, attempt, mark, Why::Repair);
            }
            OnceDecision::Doubt { shown: Some(shown), .. } if !self.keeps(Rule::RepairHasEvidence) => {
                self.complete(state, attempt, fire_of(shown), Why::Repair);
            }
            OnceDecision::Doubt { .. } => state.end(attempt),
            OnceDecision::Listen | OnceDecision::NotGranted => {}
        }
    }

    /// A body starts.
    fn start(&self, state: &mut State, fire: u8) {
        match self.once_at {
            OnceAt::End if self.is_covered(fire, state.completed) => state.fault = Some(Fault::RunsAgain),
            OnceAt::Start if state.started & (1 << fire) != 0 => state.fault = Some(Fault::StartsTwice),
            _ => {}
        }
        state.started |= 1 << fire;
    }

    /// Who is asked to mark.
    pub(super) fn is_asked_to_mark(&self, asked: Asked) -> bool {
        match asked {
            Asked::Granted { heard, votes } => {
                (votes || !self.keeps(Rule::MarksGoToVoters)) && heard.is_some()
                    || !self.keeps(Rule::MarksGoToHeardGrants)
            }
            Asked::Acquire { .. } => !self.keeps(Rule::MarksGoToHeardGrants),
            _ => false,
        }
    }

    /// Begins to write a mark.
    pub(super) fn complete(&self, state: &mut State, attempt: usize, mark: u8, why: Why) {
        let voters = (0..NODES).filter(|node| self.is_asked_to_mark(state.nodes[*node].asked[attempt])).collect();
        let completion = completion(mark, why, voters);
        state.attempts[attempt].phase = Phase::Completing { mark, why, is_over: false };
        for (node, asked) in state.nodes.iter_mut().enumerate() {
            asked.asked[attempt] = match asked.asked[attempt] {
                Asked::Acquire { .. } => Asked::Acquire { is_completed: completion.asked().contains(node) },
                _ if completion.asked().contains(node) => Asked::Complete,
                _ => Asked::Nothing,
            };
        }
        if !self.keeps(Rule::CompletionIsConfirmed) {
            self.completed(state, attempt);
        }
    }

    /// A completion reaches a node.
    pub(super) fn mark(&self, state: &mut State, node: usize, attempt: usize, sending: Sending, is_heard: bool) {
        let (mark, why, is_over) = match state.attempts[attempt].phase {
            Phase::Completing { mark, why, is_over } => (mark, why, is_over),
            Phase::Over { mark } => (mark, Why::Ended, true),
            phase => unreachable!("it completes: {phase:?}"),
        };
        let marking = &mut state.nodes[node];
        let is_askers = marking.key == Key::Of(narrow(attempt)) || !self.keeps(Rule::CompletionComparesOwner);
        let holder = if is_askers { Holder::Asker } else { Holder::Other };
        let marked = Marked::by(stored(marking.mark), holder, number(mark));
        if let Marked::Raised { completed } = marked {
            marking.expires_early = marking.mark != 0 && !self.keeps(Rule::MarkExpiryIsRenewed);
            marking.mark = fire_of(completed);
            marking.is_restored = false;
            if self.restores && marking.restarted.is_none() {
                marking.had |= 1 << marking.mark;
            }
            if why != Why::Starts {
                marking.key = Key::Missing;
            }
        }
        if matches!(state.attempts[attempt].phase, Phase::Over { .. }) {
            marking.asked[attempt] = Asked::Nothing;
            return;
        }
        if !is_heard {
            marking.asked[attempt] = Asked::Lost;
            return;
        }

        let was = |state: &State, asked: Asked| -> NodeSet {
            (0..NODES).filter(|node| state.nodes[*node].asked[attempt] == asked).collect()
        };
        let asked = [Asked::Complete, Asked::Lost, Asked::Confirmed].map(|asked| was(state, asked));
        let mut completion = completion(mark, why, asked.into_iter().flat_map(NodeSet::iter).collect());
        let (in_time, valid_until) = *VALIDITY;
        for node in was(state, Asked::Confirmed).iter() {
            completion.record(node, Marked::Raised { completed: number(mark) }, Sending::First, in_time);
        }
        let now = if is_over && self.keeps(Rule::CompletionWithinValidity) { valid_until } else { in_time };
        completion.record(node, marked, sending, now);
        let is_confirmed = completion.confirmed().contains(node);
        state.nodes[node].asked[attempt] = if is_confirmed { Asked::Confirmed } else { Asked::Nothing };
        if completion.verdict(completion.asked(), now) == CompletionVerdict::Confirmed {
            self.completed(state, attempt);
        }
    }

    /// A mark is written, and that is told.
    fn completed(&self, state: &mut State, attempt: usize) {
        let Phase::Completing { mark, why, .. } = state.attempts[attempt].phase else {
            unreachable!("it completes");
        };
        if why == Why::Starts {
            self.start(state, mark);
        }
        state.completed = state.completed.max(mark);
        state.end(attempt);
    }

    /// Whether those who come next, when nothing that was sent arrives any more, are not in doubt for ever: the first of them
    /// runs the fire, or learns or spreads that it was, and the second one is told.
    pub(super) fn is_known_to_the_next(&self, state: &State, fire: u8, ahead: u8, reached: NodeSet) -> bool {
        let mut nodes = state.nodes;
        for _ in 0..2 {
            let told = reached.iter().map(|node| (node, self.tell(state, &nodes[node], fire, ahead)));
            let mark = match self.once(fire, told, reached, Listening::IsOver) {
                OnceDecision::AlreadyRan { .. } => return true,
                OnceDecision::Run => number(fire),
                OnceDecision::Spread { greatest } => greatest,
                OnceDecision::Listen | OnceDecision::NotGranted | OnceDecision::Doubt { .. } => return false,
            };
            for node in reached.iter() {
                if let Marked::Raised { completed } = Marked::by(stored(nodes[node].mark), Holder::Asker, mark) {
                    nodes[node].mark = fire_of(completed);
                    nodes[node].is_restored = false;
                }
            }
        }
        let shown = reached.iter().filter(|node| self.is_covered(fire, nodes[*node].mark)).count();
        shown >= quorum().needed()
    }
}
