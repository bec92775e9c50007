//! Whoever waits gets in: every schedule of a few who try again and again, on three nodes.
//!
//! Nobody dies here and nothing expires but intents; what is looked for are those who wait for one another for ever, and those who
//! are overtaken. So two things are checked. From every state there is a way to one in which all had what they wanted: as pauses
//! between attempts are random, each way is taken some day. And no reader gets in who began to ask when a writer's intent stood on
//! a majority of the nodes, before a writer does; so that one waits for those alone who were there before. When a writer has let go,
//! whoever comes first gets in.
//!
//! An attempt may be given up while a node has not answered yet, as if its time were over. Each rule can be broken, and for each a
//! test asserts that somebody then waits for ever or is overtaken, and prints how it came to that.

use std::collections::{HashMap, VecDeque};

use redlock_runtime::protocol::{Admission, Asker, Ballot, Mode, Occupancy, Quorum, Round, Verdict};

use super::plan::{Claim, READ, WRITTEN};

const NODES: usize = 3;

const PEOPLE: usize = 3;

/// What is explored.
#[derive(Clone, Copy, Debug)]
struct World {
    /// What each of them wants.
    claims: [Claim; PEOPLE],
    /// Which rule is broken.
    broken: Option<Rule>,
}

/// A rule, which can be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// A node grants all of several names or none.
    AllOrNothing,
    /// An attempt that failed gives back what it was granted before the next one.
    FailedAttemptGivesBack,
    /// A node with a writer's intent admits no new readers.
    IntentKeepsReadersOut,
    /// What an attempt that failed gives back leaves the intent of a writer who goes on waiting.
    GivingBackLeavesIntent,
    /// A writer who lets go takes intents with him.
    LettingGoTakesIntents,
    /// An intent expires if nobody repeats it.
    IntentExpires,
}

/// Everything at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct State {
    /// Sorted: it does not matter which node is which.
    nodes: [Node; NODES],
    phases: [Phase; PEOPLE],
    /// Whether a reader got in before a writer whose intent he had met.
    is_overtaken: bool,
    /// Whether the intent of somebody who had the lock keeps readers out.
    is_kept_out: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Node {
    /// What stands there for each of them, as bits.
    parts: [u8; PEOPLE],
    /// Whose intents, as bits.
    intents: u8,
    /// What each was answered in the attempt that is under way.
    answered: [Option<bool>; PEOPLE],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Phase {
    /// Between two attempts.
    Waits {
        has_asked: bool,
    },
    /// Within one.
    Asks {
        /// The writers whose intents stood on a majority when it began, as bits.
        behind: u8,
    },
    Holds,
    /// It had what it wanted, or stopped waiting.
    Gone,
}

/// What happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    /// A node is asked, and answers; whoever has a majority then holds.
    Ask { node: usize, who: usize },
    /// An attempt that cannot be won, or takes too long, ends.
    Fail { who: usize },
    /// It lets go.
    LetGo { who: usize },
    /// A writer stops waiting.
    GiveUp { who: usize },
    /// An intent that nobody repeats expires.
    Expire { node: usize },
}

fn quorum() -> Quorum {
    Quorum::of(NODES).expect("three nodes")
}

impl World {
    fn keeps(self, rule: Rule) -> bool {
        self.broken != Some(rule)
    }

    fn initial() -> State {
        let node = Node { parts: [0; PEOPLE], intents: 0, answered: [None; PEOPLE] };
        let phases = [Phase::Waits { has_asked: false }; PEOPLE];
        State { nodes: [node; NODES], phases, is_overtaken: false, is_kept_out: false }
    }

    /// Whether a writer waits whose intents may stand.
    fn waits(state: &State, who: usize) -> bool {
        matches!(state.phases[who], Phase::Waits { has_asked: true } | Phase::Asks { .. })
    }

    /// The writers whose intents stand on a majority, as bits.
    fn intending(state: &State) -> u8 {
        let nodes = |who: usize| state.nodes.iter().filter(|node| node.intents & (1 << who) != 0).count();
        let on_majority = (0..PEOPLE).filter(|who| Self::waits(state, *who) && nodes(*who) >= quorum().needed());
        on_majority.fold(0, |bits, who| bits | 1 << who)
    }

    fn events(self, state: &State) -> Vec<Event> {
        let mut events = Vec::new();
        for who in 0..PEOPLE {
            match state.phases[who] {
                Phase::Gone => continue,
                Phase::Holds => events.push(Event::LetGo { who }),
                Phase::Asks { .. } => events.push(Event::Fail { who }),
                Phase::Waits { has_asked: true } if self.claims[who] == Claim::WRITE => {
                    events.push(Event::GiveUp { who });
                }
                Phase::Waits { .. } => {}
            }
            if state.phases[who] != Phase::Holds {
                let unasked = (0..NODES).filter(|node| state.nodes[*node].answered[who].is_none());
                events.extend(unasked.map(|node| Event::Ask { node, who }));
            }
        }
        for node in 0..NODES {
            let intents = state.nodes[node].intents;
            let is_repeated = (0..PEOPLE).any(|who| intents & (1 << who) != 0 && Self::waits(state, who));
            if intents != 0 && !is_repeated && self.keeps(Rule::IntentExpires) {
                events.push(Event::Expire { node });
            }
        }
        events
    }

    fn next(self, before: &State, event: Event) -> State {
        let mut state = *before;
        match event {
            Event::Ask { node, who } => {
                if matches!(state.phases[who], Phase::Waits { .. }) {
                    state.phases[who] = Phase::Asks { behind: Self::intending(&state) };
                }
                self.ask(&mut state, node, who);
                let mut round = Round::new(quorum());
                for (node, there) in state.nodes.iter().enumerate() {
                    if let Some(is_granted) = there.answered[who] {
                        round.record(node, if is_granted { Ballot::Granted } else { Ballot::Refused });
                    }
                }
                if let (Some(Verdict::Won), Phase::Asks { behind }) = (round.verdict(), state.phases[who]) {
                    let is_behind = (0..PEOPLE).any(|other| behind & (1 << other) != 0 && Self::waits(&state, other));
                    state.is_overtaken = self.claims[who] == Claim::READ && is_behind;
                    state.phases[who] = Phase::Holds;
                }
            }
            Event::Fail { who } => {
                for node in &mut state.nodes {
                    if node.answered[who].take() == Some(true) && self.keeps(Rule::FailedAttemptGivesBack) {
                        if node.parts[who] != 0 && !self.keeps(Rule::GivingBackLeavesIntent) {
                            node.intents = 0;
                        }
                        node.parts[who] = 0;
                    }
                }
                state.phases[who] = Phase::Waits { has_asked: true };
            }
            Event::LetGo { who } => {
                state.phases[who] = Phase::Gone;
                if self.claims[who] == Claim::WRITE {
                    // Now whoever comes first gets in.
                    for phase in &mut state.phases {
                        if let Phase::Asks { behind } = phase {
                            *behind = 0;
                        }
                    }
                }
                for node in &mut state.nodes {
                    if node.parts[who] == WRITTEN && self.keeps(Rule::LettingGoTakesIntents) {
                        node.intents = 0;
                    }
                    let is_his = node.parts[who] != 0 && node.intents & (1 << who) != 0;
                    state.is_kept_out |= is_his;
                    node.parts[who] = 0;
                    node.answered[who] = None;
                }
            }
            Event::GiveUp { who } => state.phases[who] = Phase::Gone,
            Event::Expire { node } => state.nodes[node].intents = 0,
        }
        state.nodes.sort_unstable();
        state
    }

    /// A node answers.
    fn ask(self, state: &mut State, node: usize, who: usize) {
        let there = &mut state.nodes[node];
        let others = (0..PEOPLE).filter(|other| *other != who).fold(0, |parts, other| parts | there.parts[other]);
        let claim = self.claims[who];
        let (mode, occupancy) = match claim {
            Claim::Names(names) => (Mode::Write, Occupancy { is_written: others & names != 0, ..Occupancy::default() }),
            Claim::Of(mode) => {
                let is_intended = there.intents != 0 && self.keeps(Rule::IntentKeepsReadersOut);
                (mode, Occupancy { is_written: others & WRITTEN != 0, is_read: others & READ != 0, is_intended })
            }
        };
        let admission = occupancy.admit(mode, Asker::Comes);
        there.answered[who] = Some(admission == Admission::Granted);
        match admission {
            Admission::Granted => there.parts[who] = claim.parts(),
            Admission::RefusedByReaders => there.intents |= 1 << who,
            Admission::Refused if !self.keeps(Rule::AllOrNothing) => there.parts[who] = claim.parts() & !others,
            Admission::Refused => {}
        }
    }
}

/// All states, and how they follow from one another.
struct Explored {
    states: Vec<State>,
    /// The state before, and what happened then, on the shortest way.
    before: Vec<Option<(usize, Event)>>,
    /// The states from which each follows.
    sources: Vec<Vec<usize>>,
}

impl Explored {
    fn of(world: World) -> Self {
        let initial = World::initial();
        let mut explored = Self { states: vec![initial], before: vec![None], sources: vec![Vec::new()] };
        let mut known = HashMap::from([(initial, 0)]);
        let mut next = 0;
        while let Some(state) = explored.states.get(next).copied() {
            for event in world.events(&state) {
                let after = world.next(&state, event);
                let index = *known.entry(after).or_insert(explored.states.len());
                if index == explored.states.len() {
                    explored.states.push(after);
                    explored.before.push(Some((next, event)));
                    explored.sources.push(Vec::new());
                }
                explored.sources[index].push(next);
            }
            next += 1;
        }
        explored
    }

    /// The first state from which there is no way to one in which nobody waits any more.
    fn stuck(&self) -> Option<usize> {
        let is_end = |state: &State| state.phases.iter().all(|phase| *phase == Phase::Gone);
        let mut has_way = self.states.iter().map(is_end).collect::<Vec<_>>();
        let mut left: VecDeque<_> = (0..self.states.len()).filter(|state| has_way[*state]).collect();
        while let Some(state) = left.pop_front() {
            for source in &self.sources[state] {
                if !std::mem::replace(&mut has_way[*source], true) {
                    left.push_back(*source);
                }
            }
        }
        has_way.iter().position(|has_way| !has_way)
    }

    fn print_way_to(&self, state: usize) {
        let mut way = vec![state];
        while let Some((before, _)) = self.before[way[way.len() - 1]] {
            way.push(before);
        }
        for state in way.into_iter().rev() {
            let there = self.states[state];
            println!("    {:?}", self.before[state].map(|(_, event)| event));
            println!("        {:?} {:?}", there.phases, there.nodes.map(|node| (node.parts, node.intents)));
        }
    }
}

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// Somebody waits for ever.
    Stuck,
    /// A writer is overtaken by a reader who came later.
    Overtaken,
    /// A writer who had the lock keeps readers out.
    KeptOut,
}

fn check(world: World, expect: Option<Fault>) {
    let explored = Explored::of(world);
    let first = |is_so: fn(&State) -> bool| explored.states.iter().position(is_so);
    let found = [
        (Fault::Stuck, explored.stuck()),
        (Fault::Overtaken, first(|state| state.is_overtaken)),
        (Fault::KeptOut, first(|state| state.is_kept_out)),
    ];
    println!("{} states of {world:?}", explored.states.len());
    let found: Vec<_> = found.into_iter().filter_map(|(fault, state)| Some((fault, state?))).collect();
    for (fault, state) in &found {
        println!("{fault:?}:");
        explored.print_way_to(*state);
    }
    assert_eq!(found.first().map(|(fault, _)| *fault), expect, "{world:?}");
}

const SETS: [Claim; PEOPLE] = [Claim::Names(0b011), Claim::Names(0b110), Claim::Names(0b101)];

const READERS_AND_WRITER: [Claim; PEOPLE] = [Claim::READ, Claim::READ, Claim::WRITE];

#[test]
fn those_who_want_sets_that_overlap_get_them() {
    check(World { claims: SETS, broken: None }, None);
    check(World { claims: [Claim::Names(0b111), Claim::Names(0b001), Claim::Names(0b010)], broken: None }, None);
}

#[test]
fn readers_and_writers_get_in_and_no_writer_is_overtaken() {
    check(World { claims: READERS_AND_WRITER, broken: None }, None);
    check(World { claims: [Claim::WRITE, Claim::WRITE, Claim::READ], broken: None }, None);
}

#[test]
fn a_node_that_keeps_some_of_the_names_makes_people_wait_for_each_other() {
    check(World { claims: SETS, broken: Some(Rule::AllOrNothing) }, Some(Fault::Stuck));
}

#[test]
fn an_attempt_that_keeps_what_it_was_granted_makes_people_wait_for_each_other() {
    for claims in [SETS, [Claim::Names(1); PEOPLE], READERS_AND_WRITER] {
        check(World { claims, broken: Some(Rule::FailedAttemptGivesBack) }, Some(Fault::Stuck));
    }
}

#[test]
fn a_writer_without_intents_is_overtaken() {
    let broken = Some(Rule::IntentKeepsReadersOut);
    check(World { claims: READERS_AND_WRITER, broken }, Some(Fault::Overtaken));
}

#[test]
fn a_writer_whose_intent_goes_with_an_attempt_that_failed_is_overtaken() {
    let broken = Some(Rule::GivingBackLeavesIntent);
    check(World { claims: READERS_AND_WRITER, broken }, Some(Fault::Overtaken));
}

#[test]
fn a_writer_who_lets_go_must_let_readers_in() {
    let broken = Some(Rule::LettingGoTakesIntents);
    check(World { claims: READERS_AND_WRITER, broken }, Some(Fault::KeptOut));
}

#[test]
fn an_intent_must_expire() {
    let broken = Some(Rule::IntentExpires);
    check(World { claims: READERS_AND_WRITER, broken }, Some(Fault::Stuck));
}
