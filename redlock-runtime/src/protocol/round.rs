use super::{NodeSet, Quorum};
use crate::rules::{Rule, holds};

/// What one node contributed to a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ballot {
    /// It did what was asked.
    Granted,
    /// It answered that another owner (or none) holds the key.
    Refused,
    /// It did not vote: unreachable, late, or its answer was an error.
    Failed,
}

/// The outcome of a round, once no further vote can change it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// A majority granted.
    Won,
    /// A majority answered, and too many of them refused.
    Refused,
    /// Refused as well, but no other owner was seen on a majority: several asked at once, and nobody may have the lock.
    /// Told by [`Rivals`](super::Rivals); a round by itself cannot know.
    Split,
    /// So many nodes failed that the others are no majority.
    Unreachable,
}

/// One question put to all nodes, and the votes that came in.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    /// What a majority is.
    quorum: Quorum,
    /// Who granted.
    granted: NodeSet,
    /// Who refused.
    refused: NodeSet,
    /// Who did not vote.
    failed: NodeSet,
}

impl Round {
    /// A round in which nobody has voted yet.
    #[must_use]
    pub fn new(quorum: Quorum) -> Self {
        Self { quorum, granted: NodeSet::default(), refused: NodeSet::default(), failed: NodeSet::default() }
    }

    /// Counts a node's ballot; its first one stands.
    pub fn record(&mut self, node: usize, ballot: Ballot) {
        if !self.is_outstanding(node) {
            return;
        }
        match ballot {
            Ballot::Granted => self.granted.insert(node),
            Ballot::Refused => self.refused.insert(node),
            Ballot::Failed => self.failed.insert(node),
        };
    }

    /// Takes back the vote of a node that may not vote.
    pub fn strike(&mut self, node: usize) {
        if self.granted.remove(node) || self.refused.remove(node) {
            self.failed.insert(node);
        }
    }

    /// The verdict, as soon as no outstanding vote can change it; `None` while one can.
    ///
    /// A round that can no longer be won is told apart into *refused* and *unreachable* before it is over: the one
    /// means that somebody holds the lock, the other that nobody can know.
    #[must_use]
    pub fn verdict(&self) -> Option<Verdict> {
        let granted = self.granted.len();
        let refused = self.refused.len();
        let failed = self.failed.len();
        let needed = self.quorum.needed();
        let outstanding = self.quorum.nodes() - granted - refused - failed;

        let is_half_of_answers = outstanding == 0 && granted > refused;
        if granted >= needed || !holds(Rule::MajorityOfAll) && is_half_of_answers {
            Some(Verdict::Won)
        } else if failed > self.quorum.spare() {
            Some(Verdict::Unreachable)
        } else if granted + outstanding < needed && granted + refused >= needed {
            Some(Verdict::Refused)
        } else {
            None
        }
    }

    /// Whether this node's vote is still to come.
    #[must_use]
    pub fn is_outstanding(&self, node: usize) -> bool {
        !self.granted.contains(node) && !self.refused.contains(node) && !self.failed.contains(node)
    }

    /// The nodes that granted.
    #[must_use]
    pub fn granted(&self) -> NodeSet {
        self.granted
    }

    /// The nodes that did not vote.
    #[must_use]
    pub fn failed(&self) -> NodeSet {
        self.failed
    }

    /// The nodes that refused.
    #[must_use]
    pub fn refused(&self) -> NodeSet {
        self.refused
    }
}
