//! States that cannot be told apart by what may follow are made equal, so that each is explored once.

use super::plan::World;
use super::state::{Asked, Attempt, Key, NODES, Node, Phase, State, narrow};

impl World {
    /// Makes states equal that cannot be told apart by what may follow.
    pub(super) fn normalize(&self, state: &mut State) {
        for attempt in 0..self.attempts() {
            let me = Key::Of(narrow(attempt as u64));
            let hopes = |state: &State, is_hope: &dyn Fn(&Node, Asked) -> bool| {
                state.nodes.iter().filter(|node| is_hope(node, node.asked[attempt])).count()
            };
            let trusts = state.attempts[attempt].trusts_restarted || !self.rules.abstains;
            let is_hopeless = match state.attempts[attempt].phase {
                Phase::Acquiring => {
                    hopes(state, &|node, asked| match asked {
                        Asked::Acquire => trusts || !node.restarted,
                        Asked::Granted { heard, votes } => votes && heard.is_some(),
                        _ => false,
                    }) < 2
                }
                Phase::Committing { .. } => {
                    hopes(state, &|node, asked| match asked {
                        Asked::Acquire => state.losses > 0 && (trusts || !node.restarted),
                        Asked::Granted { votes, .. } => votes && (node.key == me || !self.rules.compares_owner),
                        Asked::Confirmed => true,
                        _ => false,
                    }) < 2
                }
                _ => false,
            };
            if is_hopeless {
                state.end(attempt);
            }
        }
        let mut least_floor = None;
        for asking in &state.attempts {
            if matches!(asking.phase, Phase::Acquiring | Phase::Committing { .. }) {
                least_floor = Some(least_floor.unwrap_or(u8::MAX).min(asking.floor));
            }
        }
        // A token that is not greater than this is a fault whether it was given or not.
        let floor = least_floor.unwrap_or(u8::MAX).min(state.greatest());
        state.given &= !((1 << floor) - 1);
        for node in &mut state.nodes {
            for attempt in 0..self.attempts() {
                let is_here = node.key == Key::Of(narrow(attempt as u64));
                let asked = &mut node.asked[attempt];
                match state.attempts[attempt].phase {
                    Phase::Committing { .. } => match *asked {
                        Asked::Granted { votes: true, .. } if is_here || !self.rules.compares_owner => {
                            *asked = Asked::Granted { heard: None, votes: true };
                        }
                        Asked::Acquire if state.losses > 0 => {}
                        Asked::Confirmed => {}
                        _ => *asked = Asked::Nothing,
                    },
                    Phase::Over { .. } => {
                        if state.losses == 0 && matches!(asked, Asked::Acquire | Asked::LateCommit) {
                            *asked = Asked::Nothing;
                        }
                        if *asked == Asked::LateCommit && !is_here && self.rules.compares_owner {
                            *asked = Asked::Nothing;
                        }
                    }
                    _ => {}
                }
                if is_here && matches!(asked, Asked::Nothing | Asked::Confirmed) {
                    node.key = Key::Foreign;
                }
            }
        }
        for attempt in 0..self.attempts() {
            if let Phase::Over { committed } = &mut state.attempts[attempt].phase {
                let asked = |wanted| state.nodes.iter().any(|node| node.asked[attempt] == wanted);
                if !asked(Asked::LateCommit) {
                    *committed = 0;
                }
                if !asked(Asked::Acquire) {
                    state.attempts[attempt].clock = 0;
                }
            }
        }
        self.sort_clients(state);
        state.nodes.sort_unstable();
    }

    /// It does not matter which client is which.
    fn sort_clients(&self, state: &mut State) {
        let mut first = 0;
        let attempts = self.clients[0];
        let alike = (0..self.clients.len()).take_while(|other| self.are_alike(0, *other)).count();
        let rank = |state: &State, client: usize| {
            let mut rank = [(Attempt::NONE, [(Key::Missing, None, Asked::Nothing); NODES]); 2];
            for (place, rank) in rank.iter_mut().enumerate().take(attempts) {
                let attempt = client * attempts + place;
                let mut passed = state.nodes.map(|node| {
                    let key = if node.key == Key::Of(narrow(attempt as u64)) { node.key } else { Key::Missing };
                    let key = if key == Key::Missing { key } else { Key::Foreign };
                    (key, node.counter, node.asked[attempt])
                });
                passed.sort_unstable();
                *rank = (state.attempts[attempt], passed);
            }
            rank
        };
        // Three clients at most: bubbles are quick.
        while first + 1 < alike {
            let mut swapped = false;
            for client in 0..alike - 1 {
                if rank(state, client) < rank(state, client + 1) {
                    for place in 0..attempts {
                        state.swap(client * attempts + place, (client + 1) * attempts + place);
                    }
                    swapped = true;
                }
            }
            if !swapped {
                break;
            }
            first += 1;
        }
    }
}
