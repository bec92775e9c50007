//! What must be true in every schedule, whatever goes wrong. Checked against what no client can see: the true time, and
//! every node's own clock.

use super::attempt::Stage;
use redlock_runtime::protocol::RETENTION;

use super::clock::{Micros, SECOND, micros};
use super::world::{Life, World};

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Violation {
    /// Two clients held the lock at the same moment.
    TwoHolders { first: usize, second: usize, at: Micros },
    /// The validity reached beyond what a majority of the nodes kept.
    Overstated { owner: usize, at: Micros },
    /// A key was set, or made to live longer, behind its owner's release.
    LeftBehind { owner: usize, node: usize, at: Micros },
    /// An acquisition's token is not greater than that of an earlier one, or two have the same.
    Unfenced { first: usize, second: usize },
    /// A release was still owed, or a key still there, when everything had been delivered.
    Owed { owner: usize, node: usize },
    /// A client waited for ever although a majority was up.
    Starved { client: usize },
}

impl World {
    /// A client takes the lock to be held from this moment on.
    pub(crate) fn check_won(&mut self, owner: usize) {
        self.check_validity(owner);
        for other in 0..self.holds.len() {
            let is_alive = !self.clients[self.holds[other].client].is_dead;
            if other != owner && is_alive && self.is_held(other) {
                self.violations.push(Violation::TwoHolders { first: other, second: owner, at: self.now });
            }
        }
    }

    /// The token of an acquisition is greater than all that were given before it was asked for, and nobody else's.
    pub(crate) fn check_token(&mut self, owner: usize) {
        if !self.are_tokens_promised() {
            return;
        }
        let asked = self.holds[owner].asked;
        let token = self.holds[owner].acquired.map(|(_, token)| token);
        let mut is_compared = false;
        for other in (0..self.holds.len()).filter(|other| *other != owner) {
            let Some((moment, earlier)) = self.holds[other].acquired else { continue };
            let is_earlier = moment < asked;
            is_compared |= is_earlier;
            if Some(earlier) == token || (is_earlier && Some(earlier) > token) {
                self.violations.push(Violation::Unfenced { first: other, second: owner });
            }
        }
        self.met.outlived += u64::from(is_compared && self.met.crashed > 0);
    }

    /// Tokens grow across one restart within a retention. A node that was set up within it counts as restarted, unless there
    /// was nothing before that could be forgotten.
    fn are_tokens_promised(&self) -> bool {
        // By its own clock, too.
        let is_settled = self.plan.ages.iter().all(|age| *age >= 2 * micros(RETENTION));
        self.met.crashed == 0 || (self.met.crashed == 1 && is_settled)
    }

    /// At least a majority of the configured nodes keeps the key until the validity is over, by their own clocks.
    pub(crate) fn check_validity(&mut self, owner: usize) {
        let hold = &self.holds[owner];
        if hold.stage != Stage::Held {
            return;
        }
        let end = self.clients[hold.client].clock.moment(hold.valid_until);
        let keeping = hold.expiries.iter().filter(|expiry| **expiry >= end).count();
        if end > self.now && keeping < self.quorum.needed() {
            self.violations.push(Violation::Overstated { owner, at: self.now });
        }
    }

    /// A node set the key.
    pub(crate) fn note_set(&mut self, owner: usize, node: usize) {
        self.holds[owner].expiries[node] = self.nodes[node].true_expiry();
        self.check_behind(owner, node);
    }

    /// A node changed the key's expiry.
    pub(crate) fn note_extended(&mut self, owner: usize, node: usize) {
        self.holds[owner].expiries[node] = self.nodes[node].true_expiry();
        self.check_behind(owner, node);
        if self.is_held(owner) {
            self.check_validity(owner);
        }
    }

    fn check_behind(&mut self, owner: usize, node: usize) {
        if self.holds[owner].settled.contains(node) {
            self.violations.push(Violation::LeftBehind { owner, node, at: self.now });
        }
    }

    /// A node counts as free of this owner's key.
    pub(crate) fn check_settled(&mut self, owner: usize, node: usize) {
        if self.nodes[node].key(self.now).is_some_and(|key| key.owner == owner && !key.is_kept) {
            self.violations.push(Violation::LeftBehind { owner, node, at: self.now });
        }
    }

    /// Everything has been delivered, and more than the longest backoff has passed since.
    pub(crate) fn check_the_end(&mut self) {
        for client in 0..self.clients.len() {
            if self.clients[client].life != Life::Done {
                self.violations.push(Violation::Starved { client });
            }
        }
        for owner in 0..self.holds.len() {
            let hold = &self.holds[owner];
            let is_dead = self.clients[hold.client].is_dead;
            for node in 0..self.nodes.len() {
                let is_there = self.nodes[node].key(self.now).is_some_and(|key| key.owner == owner && !key.is_kept);
                if !is_dead && hold.stage == Stage::Over && (is_there || !hold.settled.contains(node)) {
                    self.violations.push(Violation::Owed { owner, node });
                }
            }
        }
        assert!(self.now < 60 * SECOND, "a schedule has an end");
    }
}
