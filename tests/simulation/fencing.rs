//! Fencing tokens, driven as the engine drives them: proposed with the acquire, agreed on or committed by a majority.

use redlock_runtime::protocol::{Ballot, Doubt, Fencing, Listening, NodeSet, Proposal, Round, Verdict};

use super::attempt::{Hold, Stage};
use super::clock::length;
use super::network::CALLERS;
use super::node::{Action, Command, Reply};
use super::plan::MAX_CLOCK_SKEW;
use super::world::{Event, World};

/// What is done without evidence. A lock that is rather refused would keep clients waiting on a frozen node for ever.
pub(crate) const DOUBT: Doubt = Doubt::Clocks { max_clock_skew: length(MAX_CLOCK_SKEW) };

/// The second round of an attempt whose nodes told different counters.
#[derive(Debug)]
pub(crate) struct Commit {
    /// What the nodes are asked to raise their counters to.
    token: u64,
    /// Who confirmed.
    round: Round,
    /// Nodes that have not answered.
    in_flight: NodeSet,
    /// Their time ends early, because the client's does.
    is_cut_short: bool,
}

impl World {
    /// What an attempt that begins now proposes.
    pub(crate) fn proposal(&self, client: usize) -> Proposal {
        let state = &self.clients[client];
        let time_of_day = state.clock.local(self.now) + self.plan.times_of_day[client];
        Proposal::new(length(time_of_day), state.seen, self.quorum, DOUBT)
    }

    /// A majority granted the lock, which is held once it has a token.
    pub(crate) fn find_token(&mut self, owner: usize, listening: Listening) {
        let hold = &self.holds[owner];
        let granted = hold.round.granted();
        match hold.fence.decide(granted, listening) {
            Fencing::Commit(token) if self.rules.token_is_committed => self.commit(owner, granted, token),
            Fencing::Agreed(token) | Fencing::Commit(token) => self.hold_if_valid(owner, token),
            Fencing::Listen => self.met.doubted += 1,
            Fencing::Refused => self.lose_attempt(owner, Verdict::Unreachable),
        }
    }

    fn commit(&mut self, owner: usize, granted: NodeSet, token: u64) {
        let Hold { client, .. } = self.holds[owner];
        let mut round = self.question(client, CALLERS);
        let mut in_flight = NodeSet::default();
        for node in 0..self.nodes.len() {
            let command = Command { action: Action::Commit { token }, owner, node };
            if granted.contains(node) && self.send(client, CALLERS, command).is_some() {
                in_flight.insert(node);
            } else if self.rules.majority_of_configured {
                round.record(node, Ballot::Failed);
            }
        }
        self.holds[owner].stage = Stage::Committing;
        let (patience, is_cut_short) = self.patience_from(owner, self.local(client));
        self.holds[owner].commit = Some(Commit { token, round, in_flight, is_cut_short });
        self.client_after(client, patience, Event::CommitOver { owner });
        self.judge_commit(owner, false);
    }

    pub(crate) fn handle_committed(&mut self, owner: usize, node: usize, reply: Reply) {
        if let Some(commit) = &mut self.holds[owner].commit {
            commit.in_flight.remove(node);
            commit.round.record(node, reply.ballot());
            self.judge_commit(owner, false);
        }
    }

    /// The nodes' time is over.
    pub(crate) fn end_commit(&mut self, owner: usize) {
        let hold = &mut self.holds[owner];
        let Some(commit) = hold.commit.as_mut().filter(|_| hold.stage == Stage::Committing) else { return };
        let (client, late, is_cut_short) = (hold.client, commit.in_flight, commit.is_cut_short);
        for node in late.iter() {
            commit.round.record(node, Ballot::Failed);
        }
        for node in late.iter().filter(|_| !is_cut_short) {
            self.overdue(client, node, CALLERS);
        }
        self.judge_commit(owner, true);
    }

    fn judge_commit(&mut self, owner: usize, is_over: bool) {
        let hold = &self.holds[owner];
        let Some(commit) = hold.commit.as_ref().filter(|_| hold.stage == Stage::Committing) else { return };
        let is_over = is_over || commit.in_flight.is_empty();
        match commit.round.verdict() {
            Some(Verdict::Won) => {
                self.met.committed += 1;
                self.hold_if_valid(owner, commit.token);
            }
            Some(Verdict::Unreachable) | None if !is_over => {}
            // Somebody else's attempt came between: the next one is told a greater counter.
            Some(Verdict::Refused | Verdict::Split | Verdict::Unreachable) | None => {
                self.met.unconfirmed += 1;
                self.lose_attempt(owner, Verdict::Split);
            }
        }
    }

    /// The attempt has its token, and is won if that took not too long.
    fn hold_if_valid(&mut self, owner: usize, token: u64) {
        let hold = &self.holds[owner];
        let valid_until = self.valid_until(hold.began, hold.ttl);
        if self.local(hold.client) < valid_until {
            self.holds[owner].valid_until = valid_until;
            self.holds[owner].acquired = Some((self.now, token));
            self.win(owner);
        } else {
            self.lose_attempt(owner, Verdict::Unreachable);
        }
    }
}
