//! States that cannot be told apart by what may follow are made equal, so that each is explored once.

use super::plan::{Rule, World};
use super::state::{Asked, Phase, State};

impl<const NODES: usize> World<NODES> {
    /// Makes states equal that cannot be told apart by what may follow.
    pub(super) fn normalize(&self, state: &mut State<NODES>) {
        for attempt in 0..self.attempts() {
            let bit = 1 << attempt;
            // It can come to no decision any more.
            if state.phases[attempt] == Phase::Acquiring {
                let hopes = state.nodes.iter().filter(|node| match node.asked[attempt] {
                    Asked::Acquire => node.abstains_for & bit == 0 || !self.keeps(Rule::Abstention),
                    Asked::Voted => true,
                    Asked::Repair | Asked::Nothing => false,
                });
                if hopes.count() < Self::quorum().needed() {
                    self.end(state, attempt);
                }
            }
            let phase = state.phases[attempt];
            for node in &mut state.nodes {
                let asked = &mut node.asked[attempt];
                if phase == Phase::Over || phase.is_held() && *asked == Asked::Voted {
                    *asked = Asked::Nothing;
                }
                if phase != Phase::Acquiring {
                    node.heard_by &= !bit;
                    if phase != Phase::NotBegun {
                        node.abstains_for &= !bit;
                    }
                }
            }
        }
        state.nodes.sort_unstable();
    }
}
