//! What nodes and attempts do. Every decision is one of `redlock_runtime::protocol`.

use std::time::Duration;

use redlock_runtime::protocol::{
    Ballot, Counter, Fence, Fencing, Holder, Listening, Proposal, Quorum, Round, Verdict, confirmation,
};

use super::plan::{Commit, Forgetting, Room, World};
use super::state::{Asked, Attempt, Fault, Key, NODES, Node, Phase, State, Told, narrow};

impl World {
    /// A majority of them all.
    fn quorum() -> Quorum {
        Quorum::of(NODES).expect("three nodes")
    }

    /// What an attempt with this clock proposes, which reserves so many tokens.
    fn proposal(&self, attempt: Attempt, room: u64) -> Proposal {
        Proposal::new(Duration::from_micros(attempt.clock.into()), 0, Self::quorum(), self.doubt).with_room(room)
    }

    /// What a node has under the fencing key. All nodes are older than the retention until they restart.
    pub(super) fn counter(&self, node: &Node) -> Counter {
        let is_old = !node.restarted || self.rules.forgetting == Forgetting::Denied;
        let retention = Duration::from_secs(1);
        let age = if is_old { retention } else { Duration::ZERO };
        Counter::read(node.counter.map(u64::from), age, retention)
    }

    /// A node grants an attempt the lock.
    pub(super) fn grant(&self, state: &mut State, node: usize, attempt: usize, is_heard: bool) {
        let asking = state.attempts[attempt];
        let room = if self.rules.room == Room::NotByGrants { 0 } else { self.room(attempt) };
        let proposal = self.proposal(asking, room);
        let counter = self.counter(&state.nodes[node]).grant(proposal);
        let granting = &mut state.nodes[node];
        granting.counter = counter.number().map(narrow);
        if counter == Counter::Forgotten && self.rules.forgetting == Forgetting::Planted {
            granting.counter = Some(narrow(proposal.least()));
        }
        granting.key = Key::Of(narrow(attempt as u64));
        let votes = !granting.restarted || asking.trusts_restarted || !self.rules.abstains;
        granting.asked[attempt] = Asked::Granted { heard: is_heard.then(|| counter.into()), votes };
    }

    /// Takes the decision of an attempt that has heard what it has heard.
    pub(super) fn decide(&self, state: &mut State, attempt: usize) {
        let asking = state.attempts[attempt];
        let mut round = Round::new(Self::quorum());
        let room = self.room(attempt);
        let left = if self.rules.room == Room::NotByCommits { 0 } else { room };
        let mut fence = Fence::propose(Self::quorum(), self.proposal(asking, left), self.doubt);
        let mut listening = Listening::IsOver;
        let mut answers = [None; NODES];
        for (node, asked) in state.nodes.iter().enumerate() {
            match asked.asked[attempt] {
                Asked::Granted { heard: Some(told), votes } => {
                    round.record(node, if votes { Ballot::Granted } else { Ballot::Failed });
                    fence.merge(node, told.into());
                    if votes {
                        answers[node] = Some(told);
                    }
                }
                Asked::Refused { told } => {
                    round.record(node, Ballot::Refused);
                    fence.merge(node, told.into());
                }
                Asked::Acquire => listening = Listening::GoesOn,
                _ => {}
            }
        }
        if round.verdict() != Some(Verdict::Won) {
            return;
        }
        let decision = match fence.decide(round.granted(), listening) {
            // The others' time may be over, too.
            Fencing::Listen => fence.decide(round.granted(), Listening::IsOver),
            decision => decision,
        };
        match decision {
            Fencing::Agreed(token) => state.complete(attempt, narrow(token), room),
            Fencing::Commit(token) => {
                let mut known = answers.iter().flatten();
                let first = known.next().copied();
                if matches!(first, Some(Told::Known(_))) && known.all(|other| Some(*other) == first) {
                    state.fault = Some(Fault::Needless);
                }
                match self.rules.commit {
                    Commit::Confirmed => state.attempts[attempt].phase = Phase::Committing { token: narrow(token) },
                    Commit::Sent => {
                        state.attempts[attempt].phase = Phase::Committing { token: narrow(token) };
                        state.complete(attempt, narrow(token), room);
                    }
                    Commit::None => state.complete(attempt, narrow(token), room),
                }
            }
            Fencing::Refused => state.end(attempt),
            Fencing::Listen => unreachable!("nobody listens any more"),
        }
    }

    /// A commit reaches a node on which the attempt was granted the lock.
    pub(super) fn commit(&self, state: &mut State, node: usize, attempt: usize, is_heard: bool) {
        let (Phase::Committing { token } | Phase::Over { committed: token }) = state.attempts[attempt].phase else {
            unreachable!("it commits");
        };
        let counter = self.counter(&state.nodes[node]);
        let asked = &mut state.nodes[node];
        let is_askers = asked.key == Key::Of(narrow(attempt as u64)) || !self.rules.compares_owner;
        let holder = if is_askers { Holder::Asker } else { Holder::Other };
        let answer = counter.commit(holder, token.into());
        if let Some(counter) = answer {
            asked.counter = counter.number().map(narrow);
        }
        let ballot = match answer {
            Some(Counter::Known(number)) if !self.rules.confirms_equal && number >= token.into() => Ballot::Granted,
            answer => confirmation(token.into(), answer),
        };
        asked.asked[attempt] = if is_heard && ballot == Ballot::Granted { Asked::Confirmed } else { Asked::Nothing };
        let mut round = Round::new(Self::quorum());
        for (node, asked) in state.nodes.iter().enumerate() {
            if asked.asked[attempt] == Asked::Confirmed {
                round.record(node, Ballot::Granted);
            }
        }
        if round.verdict() == Some(Verdict::Won) {
            state.complete(attempt, token, self.room(attempt));
        }
    }
}
