//! What may happen next, and what must hold whatever does.

use stateright::{Model, Property};

use super::plan::World;
use super::state::{Asked, CLIENTS, Key, NODES, Node, PERMITS, Phase, State, narrow};

/// The promise.
pub(super) const MORE: &str = "never do more hold a lock than it has permits";

/// What a permit may stand for.
pub(super) const SAME: &str = "no two have the same permit";

/// What happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A client begins to ask, and wants this permit first.
    Begin { client: usize, first: u8 },
    /// A request reaches a node that has these permits free, as bits, and the answer the client, or not.
    Answer { node: usize, client: usize, free: u8, is_heard: bool },
    /// A client decides by what it has heard.
    Decide { client: usize },
    /// A holder is over: it released, crashed, or its validity ended.
    End { client: usize },
    /// A node restarts empty.
    Restart { node: usize },
}

impl Model for World {
    type State = State;
    type Action = Event;

    fn init_states(&self) -> Vec<State> {
        let node = Node {
            slots: [Key::Idle; PERMITS],
            has_restarted: false,
            waits_for: 0,
            abstains_for: 0,
            asked: [Asked::Nothing; CLIENTS],
        };
        let (losses, restarts) = (self.losses, self.restarts);
        vec![State { nodes: [node; NODES], clients: [Phase::NotBegun; CLIENTS], losses, restarts }]
    }

    fn actions(&self, state: &State, events: &mut Vec<Event>) {
        for client in 0..self.clients {
            match state.clients[client] {
                // Clients are alike: they begin in their order.
                Phase::NotBegun if client == 0 || state.clients[client - 1] != Phase::NotBegun => {
                    // So are permits, until somebody has chosen one.
                    let permits = if client == 0 { 1 } else { self.permits };
                    events.extend((0..permits).map(|first| Event::Begin { client, first }));
                }
                Phase::NotBegun | Phase::Over => {}
                Phase::Holds { .. } => events.push(Event::End { client }),
                Phase::AsksForAny { .. } | Phase::AsksForOne { .. } => {
                    events.push(Event::Decide { client });
                }
            }
            for node in 0..NODES {
                if node > 0 && state.nodes[node] == state.nodes[node - 1] {
                    continue;
                }
                if matches!(state.nodes[node].asked[client], Asked::Waiting { .. }) {
                    let idle = self.idle(state, node, client);
                    let costs =
                        |free: &u8, is_heard: bool| narrow((idle & !free).count_ones() as usize) + u8::from(!is_heard);
                    for free in (0..=idle).filter(|free| free & idle == *free) {
                        let heard =
                            [true, false].into_iter().filter(|is_heard| costs(&free, *is_heard) <= state.losses);
                        events.extend(heard.map(|is_heard| Event::Answer { node, client, free, is_heard }));
                    }
                }
            }
        }
        for (node, there) in state.nodes.iter().enumerate() {
            // Of a node that has nobody's key nobody notices.
            let has_keys = there.slots.iter().any(|key| *key != Key::Idle);
            if state.restarts > 0 && !there.has_restarted && has_keys {
                events.push(Event::Restart { node });
            }
        }
    }

    fn next_state(&self, before: &State, event: Event) -> Option<State> {
        let mut state = *before;
        match event {
            Event::Begin { client, first } => Self::begin(&mut state, client, first),
            Event::Answer { node, client, free, is_heard } => {
                let left = self.idle(&state, node, client) & !free;
                state.losses -= narrow(left.count_ones() as usize) + u8::from(!is_heard);
                self.answer(&mut state, node, client, free, is_heard);
            }
            Event::Decide { client } => self.decide(&mut state, client),
            Event::End { client } => state.clients[client] = Phase::Over,
            Event::Restart { node } => {
                let under_way = (0..self.clients).filter(|client| state.is_valid(*client));
                let under_way = under_way.fold(0, |bits, client| bits | 1 << client);
                state.restarts -= 1;
                let restarted = &mut state.nodes[node];
                restarted.slots = [Key::Idle; PERMITS];
                restarted.has_restarted = true;
                (restarted.waits_for, restarted.abstains_for) = (under_way, under_way);
            }
        }
        self.normalize(&mut state);
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(MORE, |world: &Self, state: &State| state.held().count() <= usize::from(world.permits)),
            Property::always(SAME, |_, state: &State| {
                let held = state.held().fold([0; PERMITS], |mut held, slot| {
                    held[usize::from(slot)] += 1;
                    held
                });
                held.iter().all(|holders| *holders <= 1)
            }),
            Property::sometimes("all permits are held at once", |world: &Self, state: &State| {
                state.held().count() == usize::from(world.permits)
            }),
            Property::sometimes("somebody has a permit that he asked for alone", |_, state: &State| {
                state.clients.iter().any(|client| matches!(client, Phase::Holds { is_second_choice: true, .. }))
            }),
        ]
    }
}
