//! What may happen next, and what must hold whatever does.

use redlock_runtime::protocol::NodeSet;
use stateright::{Model, Property};

use super::plan::{Claim, READ, WRITTEN, World};
use super::state::{ATTEMPTS, Asked, Entry, Node, Phase, State};

/// The promise.
pub(super) const ALONE: &str = "nobody holds what excludes what another holds";

/// What happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A node grants, where what was in the way has expired, also to somebody who holds already and asks again. The answer is heard,
    /// or it is lost or late.
    Grant { node: usize, attempt: usize, is_heard: bool },
    /// A node refuses a writer because of readers, and he takes it for a grant.
    TakeForGrant { node: usize, attempt: usize },
    /// A majority extends what is held.
    Extend { attempt: usize, majority: NodeSet },
    /// A writer becomes a reader.
    Downgrade { attempt: usize },
    /// A node puts a reader in the writer's place.
    Replace { node: usize, attempt: usize },
    /// An attempt ends: given up or released, its process died, or its validity is over.
    End { attempt: usize },
    /// A node restarts empty.
    Restart { node: usize },
}

impl<const NODES: usize> World<NODES> {
    /// Whether an attempt may begin: those who want the same are alike.
    fn may_begin(&self, state: &State<NODES>, attempt: usize) -> bool {
        let before = (0..attempt).rev().find(|other| self.claims[*other] == self.claims[attempt]);
        before.is_none_or(|before| state.phases[before] != Phase::NotBegun)
    }
}

impl<const NODES: usize> Model for World<NODES> {
    type State = State<NODES>;
    type Action = Event;

    fn init_states(&self) -> Vec<State<NODES>> {
        let node = Node {
            entries: [Entry::NONE; ATTEMPTS],
            has_restarted: false,
            waits_for: 0,
            abstains_for: 0,
            heard_by: 0,
            asked: [Asked::Acquire; ATTEMPTS],
        };
        let mut phases = [Phase::Over; ATTEMPTS];
        phases[..self.attempts()].fill(Phase::NotBegun);
        let mut state = State { nodes: [node; NODES], phases, restarts: self.restarts };
        self.normalize(&mut state);
        vec![state]
    }

    fn actions(&self, state: &State<NODES>, events: &mut Vec<Event>) {
        if self.is_held_twice(state) {
            return;
        }
        for attempt in 0..self.attempts() {
            let phase = state.phases[attempt];
            if phase == Phase::Over || phase == Phase::NotBegun && !self.may_begin(state, attempt) {
                continue;
            }
            if phase != Phase::NotBegun {
                events.push(Event::End { attempt });
            }
            if phase == Phase::Holding && self.downgrades && self.claims[attempt] == Claim::WRITE {
                events.push(Event::Downgrade { attempt });
            }
            if phase.is_held() {
                let majorities = self.majorities(state, attempt);
                events.extend(majorities.map(|majority| Event::Extend { attempt, majority }));
            }
            for node in 0..NODES {
                if node > 0 && state.nodes[node] == state.nodes[node - 1] {
                    continue;
                }
                if phase == Phase::Downgraded && state.nodes[node].entries[attempt].parts == WRITTEN {
                    events.push(Event::Replace { node, attempt });
                }
                if !matches!(state.nodes[node].asked[attempt], Asked::Acquire | Asked::Repair) {
                    continue;
                }
                if self.grants(state, node, attempt) != 0 {
                    events.push(Event::Grant { node, attempt, is_heard: false });
                    if !phase.is_held() {
                        events.push(Event::Grant { node, attempt, is_heard: true });
                    }
                }
                if !phase.is_held() && self.mistakes_intent(state, node, attempt) {
                    events.push(Event::TakeForGrant { node, attempt });
                }
            }
        }
        for node in 0..NODES {
            if state.restarts > 0 && !state.nodes[node].has_restarted {
                events.push(Event::Restart { node });
            }
        }
    }

    fn next_state(&self, before: &State<NODES>, event: Event) -> Option<State<NODES>> {
        let mut state = *before;
        match event {
            Event::Grant { node, attempt, is_heard } => {
                Self::begin(&mut state, attempt);
                let parts = self.grants(&state, node, attempt);
                self.set(&mut state, node, attempt, parts);
                state.nodes[node].asked[attempt] = Asked::Nothing;
                if is_heard {
                    self.hear(&mut state, node, attempt);
                }
            }
            Event::TakeForGrant { node, attempt } => {
                Self::begin(&mut state, attempt);
                self.hear(&mut state, node, attempt);
            }
            Event::Extend { attempt, majority } => self.extend(&mut state, attempt, majority),
            Event::Downgrade { attempt } => state.phases[attempt] = Phase::Downgraded,
            Event::Replace { node, attempt } => state.nodes[node].entries[attempt].parts = READ,
            Event::End { attempt } => self.end(&mut state, attempt),
            Event::Restart { node } => self.restart(&mut state, node),
        }
        self.normalize(&mut state);
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always(ALONE, |world: &Self, state| !world.is_held_twice(state)),
            Property::sometimes("it is held", |_, state: &State<NODES>| state.held() > 0),
        ];
        if self.claims.iter().filter(|claim| **claim == Claim::READ).count() > 1 {
            properties.push(Property::sometimes("readers share it", |_, state: &State<NODES>| state.held() > 1));
        }
        if self.downgrades {
            properties
                .push(Property::sometimes("a writer who became a reader shares it", |_, state: &State<NODES>| {
                    state.phases.contains(&Phase::Downgraded) && state.held() > 1
                }));
        }
        properties
    }
}
