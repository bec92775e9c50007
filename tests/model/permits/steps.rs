//! What nodes and clients do. What follows from votes is decided by `redlock_runtime::protocol`.

use redlock_runtime::protocol::{
    Ballot, GrantedSlot, NodeSet, OthersKey, Quorum, Round, SlotTally, ToldSlots, Verdict,
};

use super::plan::{Rule, World};
use super::state::{Asked, Key, NODES, Node, Phase, State, narrow};

fn quorum() -> Quorum {
    Quorum::of(NODES).expect("three nodes")
}

impl World {
    /// The order in which a client wants the permits.
    fn order(&self, first: u8) -> Box<[u8]> {
        (0..self.permits).map(|slot| (first + slot) % self.permits).collect()
    }

    /// A client begins.
    pub(super) fn begin(state: &mut State, client: usize, first: u8) {
        state.clients[client] = Phase::AsksForAny { first };
        for node in &mut state.nodes {
            node.asked[client] = Asked::Waiting { had: false };
            if node.waits_for != 0 {
                node.abstains_for |= 1 << client;
            }
        }
    }

    /// The permits of those that a client asks for which a node may have free, as bits.
    pub(super) fn idle(&self, state: &State, node: usize, client: usize) -> u8 {
        let is_wanted = |slot: &u8| match state.clients[client] {
            Phase::AsksForOne { slot: wanted } => *slot == wanted,
            _ => true,
        };
        let idle = |slot: &u8| state.nodes[node].slots[usize::from(*slot)] == Key::Idle;
        (0..self.permits).filter(is_wanted).filter(idle).fold(0, |bits, slot| bits | 1 << slot)
    }

    /// A request of a client reaches a node that has these permits free.
    pub(super) fn answer(&self, state: &mut State, node: usize, client: usize, free: u8, is_heard: bool) {
        let wanted = match state.clients[client] {
            Phase::AsksForAny { first } => self.order(first),
            Phase::AsksForOne { slot } => [slot].into(),
            phase => unreachable!("it asks: {phase:?}"),
        };
        let asked = &mut state.nodes[node];
        let Asked::Waiting { had } = asked.asked[client] else { unreachable!("it is asked") };
        let granted = wanted.iter().copied().find(|slot| free & (1 << slot) != 0);
        if let Some(slot) = granted {
            asked.slots[usize::from(slot)] = Key::Of(narrow(client));
        }
        let votes = asked.abstains_for & (1 << client) == 0 || !self.keeps(Rule::Abstention);
        let votes = votes || granted.is_none();
        // What else is free matters only to somebody who asks for any.
        let free = if wanted.len() > 1 { free } else { 0 };
        asked.asked[client] = if is_heard { Asked::Answered { granted, free, votes, had } } else { Asked::Nothing };
    }

    /// Takes the decision of a client that has heard what it has heard.
    pub(super) fn decide(&self, state: &mut State, client: usize) {
        match state.clients[client] {
            Phase::AsksForAny { first } => self.decide_any(state, client, first),
            Phase::AsksForOne { slot } => {
                let mut round = Round::new(quorum());
                for (number, node) in state.nodes.iter().enumerate() {
                    let (granted, had) = match node.asked[client] {
                        Asked::Answered { granted, votes, had, .. } => (granted.is_some() && votes, had),
                        Asked::Waiting { had } => (false, had),
                        Asked::Nothing => (false, false),
                    };
                    let counts = granted || had && !self.keeps(Rule::SecondQuestionCountsAlone);
                    round.record(number, if counts { Ballot::Granted } else { Ballot::Refused });
                }
                state.clients[client] = match round.verdict() {
                    Some(Verdict::Won) => Phase::Holds { slot, is_second_choice: true },
                    _ => Phase::Over,
                };
            }
            phase => unreachable!("it asks: {phase:?}"),
        }
    }

    fn decide_any(&self, state: &mut State, client: usize, first: u8) {
        let mut tally = SlotTally::new(self.order(first), None);
        let mut failed = NodeSet::first(NODES);
        let mut granted_any = 0;
        for (number, node) in state.nodes.iter().enumerate() {
            let Asked::Answered { granted, free, votes, .. } = node.asked[client] else { continue };
            let held =
                |slot: u8| (free & (1 << slot) == 0).then_some(OthersKey { owner: Some(slot.into()), expires: None });
            tally.record(
                number,
                ToldSlots {
                    granted: granted.map(|slot| GrantedSlot { slot, counter: None, is_wanted: false }),
                    counters: Vec::new(),
                    held: (0..self.permits).map(held).collect(),
                    permits: None,
                },
            );
            if votes {
                failed.remove(number);
                granted_any += usize::from(granted.is_some());
            }
        }
        let leading = tally.leading(failed);
        let is_won = match tally.round(quorum(), leading, failed).verdict() {
            Some(Verdict::Won) => true,
            _ => !self.keeps(Rule::OneSlotIsOneLock) && granted_any >= quorum().needed(),
        };
        state.clients[client] = match (leading.filter(|_| is_won), tally.second_choice(quorum())) {
            (Some(slot), _) => Phase::Holds { slot, is_second_choice: false },
            (None, Some(slot)) => {
                for node in &mut state.nodes {
                    let had = matches!(node.asked[client], Asked::Answered { granted, votes: true, .. } if granted == Some(slot));
                    let had = had && !self.keeps(Rule::SecondQuestionCountsAlone);
                    Self::give_back(node, client);
                    node.asked[client] = Asked::Waiting { had };
                }
                Phase::AsksForOne { slot }
            }
            (None, None) => Phase::Over,
        };
    }

    /// What a client had on a node may be gone from now on.
    fn give_back(node: &mut Node, client: usize) {
        for key in node.slots.iter_mut().filter(|key| **key == Key::Of(narrow(client))) {
            *key = Key::Idle;
        }
    }

    /// Makes states equal that cannot be told apart by what may follow.
    pub(super) fn normalize(&self, state: &mut State) {
        for client in 0..self.clients {
            let phase = state.clients[client];
            for node in &mut state.nodes {
                match phase {
                    Phase::NotBegun | Phase::AsksForAny { .. } | Phase::AsksForOne { .. } => {}
                    Phase::Over => {
                        node.asked[client] = Asked::Nothing;
                        Self::give_back(node, client);
                        node.waits_for &= !(1 << client);
                        node.abstains_for &= !(1 << client);
                    }
                    Phase::Holds { slot: held, .. } => {
                        node.asked[client] = Asked::Nothing;
                        node.abstains_for &= !(1 << client);
                        // What it was granted astray is given back. One that breaks the rule has what it was granted.
                        for (slot, key) in (0..).zip(&mut node.slots) {
                            if slot != held && *key == Key::Of(narrow(client)) && self.keeps(Rule::OneSlotIsOneLock) {
                                *key = Key::Idle;
                            }
                        }
                    }
                }
            }
        }
        state.nodes.sort_unstable();
    }
}
