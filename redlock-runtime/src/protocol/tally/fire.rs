//! The fire that the lock is asked for, if it is for one.

use std::borrow::Borrow;
use std::sync::Arc;
use std::time::Instant;

use super::{Seen, Tally};
use crate::protocol::{FireQuestion, Listening, NodeStatus, OnceDecision, ToldMark, Verdict};

/// What the nodes told about a fire.
#[derive(Clone, Debug)]
pub(super) struct FireTally {
    /// The fire.
    pub(super) question: Arc<FireQuestion>,
    /// The marks, by node.
    pub(super) told: Vec<(usize, ToldMark)>,
    /// Whether it may run, as was decided when the last vote came.
    pub(super) may_run: bool,
}

impl FireTally {
    /// The nodes that showed that the fire was completed.
    fn covering(&self) -> impl Iterator<Item = usize> {
        let covers = |told: &ToldMark| told.stored.is_some_and(|mark| self.question.fire.is_covered_by(mark.fire));
        self.told.iter().filter(move |(_, told)| covers(told)).map(|(node, _)| *node)
    }
}

impl Tally {
    /// The same round, for a lock that is asked for a fire.
    #[must_use]
    pub fn for_fire(self, question: Option<Arc<FireQuestion>>) -> Self {
        let fire = question.map(|question| Box::new(FireTally { question, told: Vec::new(), may_run: false }));
        Self { fire, ..self }
    }

    /// What follows from the marks that were told; `None` if the lock is asked for no fire. `look` as in [`Self::hearing`].
    #[must_use]
    pub fn fire(&self, listening: Listening, look: impl Fn() -> (Vec<NodeStatus>, Instant)) -> Option<OnceDecision> {
        self.fire_as_seen(listening, look)
    }

    pub(super) fn fire_as_seen<T: Borrow<Seen>>(
        &self,
        listening: Listening,
        look: impl FnOnce() -> T,
    ) -> Option<OnceDecision> {
        let FireTally { question, told, may_run } = &**self.fire.as_ref()?;
        if *may_run {
            return Some(OnceDecision::Run);
        }
        Some(question.decide(self.quorum, told, self.round.granted(), listening, look().borrow()))
    }

    /// Whether what was told may decide about the fire: the lock is granted, or as many marks cover the fire as prove that it was
    /// completed.
    pub(super) fn is_fire_near(&self) -> bool {
        self.fire.as_ref().is_some_and(|fire| {
            self.round.verdict() == Some(Verdict::Won) || fire.covering().count() >= self.quorum.needed()
        })
    }

    /// Whether a node showed that the fire was completed.
    #[must_use]
    pub fn shows_completed(&self, node: usize) -> bool {
        self.fire.as_ref().is_some_and(|fire| fire.covering().any(|other| other == node))
    }

    /// The marks that were told, by node.
    pub fn marks(&self) -> impl Iterator<Item = (usize, ToldMark)> {
        self.fire.iter().flat_map(|fire| fire.told.iter().copied())
    }
}
