//! What may happen next, and what must hold whatever does.

use stateright::{Model, Property};

use super::plan::World;
use super::state::{ATTEMPTS, Asked, Attempt, Fault, Key, NODES, Node, Phase, State, narrow};

/// What happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A node grants; if there was a key, it has expired, or its release has come. With a clock, the attempt begins.
    Grant {
        node: usize,
        attempt: usize,
        begins_at: Option<u8>,
        heard: Heard,
    },
    /// A node refuses.
    Refuse {
        node: usize,
        attempt: usize,
        begins_at: Option<u8>,
        heard: Heard,
    },
    Commit {
        node: usize,
        attempt: usize,
        is_heard: bool,
    },
    /// A node grants the round that is lost.
    Lose {
        node: usize,
        attempt: usize,
        clock: u8,
    },
    /// An attempt ends without a token.
    GiveUp {
        attempt: usize,
    },
    Restart {
        node: usize,
    },
}

/// What becomes of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// It is lost, or comes when nobody listens any more.
    No,
    /// More answers come with it before anything is decided.
    AndMore,
    /// Whatever follows is decided.
    Last,
}

impl World {
    /// Whether an attempt that no node has heard of may begin.
    fn may_begin(&self, state: &State, attempt: usize) -> bool {
        if state.attempts[attempt].phase != Phase::NotBegun {
            return false;
        }
        let (client, predecessor) = self.predecessor(attempt);
        match predecessor {
            Some(before) => matches!(state.attempts[before].phase, Phase::Over { .. }),
            // Clients with equally many attempts are alike, and sorted so that those who have begun come first.
            None if client > 0 && self.are_alike(client, client - 1) => {
                state.attempts[attempt - self.clients[client]].phase != Phase::NotBegun
            }
            None => true,
        }
    }
}

impl Model for World {
    type State = State;
    type Action = Event;

    fn init_states(&self) -> Vec<State> {
        let node = Node { key: Key::Missing, counter: None, restarted: false, asked: [Asked::Acquire; ATTEMPTS] };
        vec![State {
            nodes: [node; NODES],
            attempts: [Attempt::NONE; ATTEMPTS],
            losses: self.losses,
            has_restarted: false,
            before_restart: 0,
            given: 0,
            fault: None,
        }]
    }

    fn actions(&self, state: &State, events: &mut Vec<Event>) {
        let is_decided = |attempt: usize| matches!(state.attempts[attempt].phase, Phase::Over { .. });
        if state.fault.is_some() || (0..self.attempts()).all(is_decided) {
            return;
        }
        for attempt in 0..self.attempts() {
            let phase = state.attempts[attempt].phase;
            if phase == Phase::NotBegun && !self.may_begin(state, attempt) {
                continue;
            }
            if !matches!(phase, Phase::Over { .. } | Phase::NotBegun) {
                let is_followed = attempt + 1 < self.attempts() && self.predecessor(attempt + 1).1 == Some(attempt);
                if is_followed || state.before_restart & (1 << attempt) != 0 {
                    events.push(Event::GiveUp { attempt });
                }
            }
            for node in 0..NODES {
                if node > 0 && state.nodes[node] == state.nodes[node - 1] {
                    continue;
                }
                match state.nodes[node].asked[attempt] {
                    Asked::Acquire => {
                        let is_held = state.nodes[node].key != Key::Missing;
                        let mut ask = |begins_at| {
                            if state.losses > 0 {
                                events.push(Event::Grant { node, attempt, begins_at, heard: Heard::No });
                            }
                            if matches!(phase, Phase::NotBegun | Phase::Acquiring) {
                                for heard in [Heard::AndMore, Heard::Last] {
                                    events.push(Event::Grant { node, attempt, begins_at, heard });
                                    if is_held {
                                        events.push(Event::Refuse { node, attempt, begins_at, heard });
                                    }
                                }
                            }
                        };
                        if phase == Phase::NotBegun {
                            self.clocks.iter().for_each(|clock| ask(Some(*clock)));
                        } else {
                            ask(None);
                        }
                    }
                    Asked::Granted { votes: true, .. } if matches!(phase, Phase::Committing { .. }) => {
                        let is_here = state.nodes[node].key == Key::Of(narrow(attempt as u64));
                        if is_here || !self.rules.compares_owner {
                            events.push(Event::Commit { node, attempt, is_heard: true });
                            if state.losses > 0 {
                                events.push(Event::Commit { node, attempt, is_heard: false });
                            }
                        }
                    }
                    Asked::LateCommit => events.push(Event::Commit { node, attempt, is_heard: false }),
                    _ => {}
                }
            }
        }
        if let Some(attempt) = self.lost_round() {
            for node in 0..NODES {
                if state.nodes[node].asked[attempt] == Asked::Acquire {
                    events.extend(self.clocks.iter().map(|&clock| Event::Lose { node, attempt, clock }));
                }
            }
        }
        if self.restarts && !state.has_restarted {
            events.extend((0..NODES).map(|node| Event::Restart { node }));
        }
    }

    fn next_state(&self, before: &State, event: Event) -> Option<State> {
        let mut state = *before;
        match event {
            Event::Grant { node, attempt, begins_at, heard } => {
                if heard == Heard::No {
                    state.lose();
                }
                state.begin(attempt, begins_at);
                self.grant(&mut state, node, attempt, heard != Heard::No);
                if heard == Heard::Last {
                    self.decide(&mut state, attempt);
                }
            }
            Event::Refuse { node, attempt, begins_at, heard } => {
                state.begin(attempt, begins_at);
                let told = self.counter(&state.nodes[node]).into();
                state.nodes[node].asked[attempt] = Asked::Refused { told };
                if heard == Heard::Last {
                    self.decide(&mut state, attempt);
                }
            }
            Event::Commit { node, attempt, is_heard } => {
                if !is_heard {
                    state.lose();
                }
                self.commit(&mut state, node, attempt, is_heard);
            }
            Event::Lose { node, attempt, clock } => {
                state.attempts[attempt].clock = clock;
                self.grant(&mut state, node, attempt, false);
                state.attempts[attempt] = Attempt::NONE;
                state.nodes[node].key = Key::Foreign;
                for node in &mut state.nodes {
                    node.asked[attempt] = Asked::Nothing;
                }
            }
            Event::GiveUp { attempt } => state.end(attempt),
            Event::Restart { node } => {
                state.has_restarted = true;
                let restarted = &mut state.nodes[node];
                restarted.key = Key::Missing;
                restarted.counter = None;
                restarted.restarted = true;
                for (attempt, asking) in state.attempts.iter().enumerate() {
                    if !matches!(asking.phase, Phase::NotBegun | Phase::Over { .. }) {
                        state.before_restart |= 1 << attempt;
                    }
                }
            }
        }
        self.normalize(&mut state);
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("tokens grow", |_, state: &State| state.fault != Some(Fault::NotGreater)),
            Property::always("tokens are given once", |_, state: &State| state.fault != Some(Fault::Twice)),
            Property::always("no second round without disagreement", |_, state: &State| {
                state.fault != Some(Fault::Needless)
            }),
            Property::sometimes("a token is given", |_, state: &State| state.given != 0),
            Property::sometimes("a second round is needed", |_, state: &State| {
                state.attempts.iter().any(|attempt| matches!(attempt.phase, Phase::Committing { .. }))
            }),
        ]
    }
}
