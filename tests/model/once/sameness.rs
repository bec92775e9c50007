//! States that cannot be told apart by what may follow are made equal, so that each is explored once.

use super::plan::{OnceAt, Rule, World};
use super::state::{Asked, Attempt, Key, Phase, State, Told, narrow};

impl World {
    /// Makes states equal that cannot be told apart by what may follow.
    pub(super) fn normalize(&self, state: &mut State) {
        for attempt in 0..self.attempts() {
            if self.is_hopeless(state, attempt) {
                state.end(attempt);
            }
        }
        for node in 0..state.nodes.len() {
            for attempt in 0..self.attempts() {
                self.forget(state, node, attempt);
            }
        }
        for attempt in 0..self.attempts() {
            if matches!(state.attempts[attempt].phase, Phase::Over { .. }) {
                let is_late = |asked| matches!(asked, Asked::Complete | Asked::Acquire { is_completed: true });
                if !state.nodes.iter().any(|node| is_late(node.asked[attempt])) {
                    state.attempts[attempt] = Attempt { phase: Phase::Over { mark: 0 }, ..Attempt::NONE };
                }
            }
        }
        if self.once_at == OnceAt::End {
            state.started = 0;
        }
        state.nodes.sort_unstable();
    }

    /// Whether an attempt under way can come to no decision any more.
    fn is_hopeless(&self, state: &State, attempt: usize) -> bool {
        let asking = state.attempts[attempt];
        let count = |is_hope: &dyn Fn(&super::state::Node, Asked) -> bool| {
            state.nodes.iter().filter(|node| is_hope(node, node.asked[attempt])).count()
        };
        match asking.phase {
            Phase::Acquiring => {
                let votes = count(&|node, asked| match asked {
                    Asked::Acquire { .. } | Asked::Read { .. } => self.votes(node, attempt),
                    Asked::Granted { heard, votes } => votes && heard.is_some(),
                    _ => false,
                });
                let proof = count(&|_, asked| match asked {
                    Asked::Acquire { .. } => true,
                    Asked::Granted { heard: Some(told), .. } | Asked::Refused { told } | Asked::Read { told } => {
                        self.is_covered(asking.fire, told.mark)
                    }
                    _ => false,
                });
                votes < 2 && proof < if self.keeps(Rule::MinorityIsNoProof) { 2 } else { 1 }
            }
            Phase::Completing { mark, .. } => {
                let hopes = count(&|node, asked| match asked {
                    Asked::Acquire { is_completed } => {
                        is_completed || asking.phase.hears_late_votes() && self.votes(node, attempt)
                    }
                    Asked::Complete => {
                        node.key == Key::Of(narrow(attempt)) || !self.keeps(Rule::CompletionComparesOwner)
                    }
                    Asked::Lost => node.key == Key::Of(narrow(attempt)) || node.mark >= mark,
                    Asked::Confirmed => true,
                    _ => false,
                });
                hopes < 2
            }
            _ => false,
        }
    }

    /// Forgets what does not matter any more of what passed between a node and an attempt.
    fn forget(&self, state: &mut State, node: usize, attempt: usize) {
        let phase = state.attempts[attempt].phase;
        if !matches!(phase, Phase::NotBegun | Phase::Acquiring) {
            state.attempts[attempt].ahead = 0;
        }
        let losses = state.losses;
        let node = &mut state.nodes[node];
        let is_here = node.key == Key::Of(narrow(attempt));
        let asked = &mut node.asked[attempt];
        match phase {
            Phase::NotBegun | Phase::Acquiring => {}
            Phase::Running => {
                *asked = match *asked {
                    Asked::Granted { heard: Some(_), votes } if self.is_asked_to_mark(*asked) => {
                        Asked::Granted { heard: Some(Told::FORGOTTEN), votes }
                    }
                    Asked::Granted { votes, .. } if self.is_asked_to_mark(*asked) => {
                        Asked::Granted { heard: None, votes }
                    }
                    acquire @ Asked::Acquire { .. } => acquire,
                    Asked::Read { .. } => Asked::Acquire { is_completed: false },
                    _ => Asked::Nothing,
                };
            }
            Phase::Completing { .. } => match *asked {
                Asked::Acquire { is_completed: false } if losses == 0 && !phase.hears_late_votes() => {
                    *asked = Asked::Nothing;
                }
                Asked::Complete if !is_here && self.keeps(Rule::CompletionComparesOwner) => *asked = Asked::Nothing,
                _ => {}
            },
            Phase::Over { .. } => {
                if losses == 0 || *asked == Asked::Complete && !is_here && self.keeps(Rule::CompletionComparesOwner) {
                    *asked = Asked::Nothing;
                }
            }
        }
        if is_here && *asked == Asked::Nothing && matches!(phase, Phase::Over { .. }) {
            node.key = Key::Foreign;
        }
    }
}
