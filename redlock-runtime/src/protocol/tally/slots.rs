//! The votes slot by slot, where any permit of a lock is asked for.

use std::time::Duration;

use super::{Objection, Tally};
use crate::protocol::{Ballot, Counter, SlotTally, ToldSlots};

impl Tally {
    /// The same round, for somebody who asks for any permit, and wants the slots in this order.
    #[must_use]
    pub fn for_slots(self, order: Option<Box<[u8]>>) -> Self {
        let slots = order.map(|order| Box::new(SlotTally::new(order, self.fence.clone())));
        Self { slots, ..self }
    }

    /// Counts what a node told of the slots.
    pub(super) fn record_slots(&mut self, node: usize, mut told: ToldSlots, node_clock: impl Fn() -> Option<Duration>) {
        let Some(slots) = &mut self.slots else { return self.round.record(node, Ballot::Failed) };
        if !self.round.is_outstanding(node) {
            return;
        }
        let counter = told.granted.and_then(|granted| granted.counter).and_then(Counter::number);
        if let (Some(fence), Some(counter)) = (&self.fence, counter)
            && let Err(fault) = fence.proposal().believe(counter, &node_clock)
        {
            self.objections.push((node, Objection::NoCounter(fault)));
            return self.round.record(node, Ballot::Failed);
        }
        if let Some(fence) = &self.fence {
            // That of a slot which the node did not grant is no reason to leave its vote out: it is no evidence.
            let is_counter = |told: Counter| {
                told.number().is_none_or(|number| fence.proposal().believe(number, &node_clock).is_ok())
            };
            told.counters.iter_mut().for_each(|counter| *counter = counter.filter(|told| is_counter(*told)));
        }
        slots.record(node, told);
        self.count_slots();
    }

    /// Counts anew for the slot that most of the nodes granted which have a vote.
    pub(super) fn count_slots(&mut self) {
        let Some(slots) = &self.slots else { return };
        let failed = self.round.failed();
        let leading = slots.leading(failed);
        let refused = self.round.refused();
        self.round = slots.round(self.quorum, leading, failed);
        // Those that told nothing of the slots have voted all the same.
        refused.iter().for_each(|node| self.round.record(node, Ballot::Refused));
        self.fence = slots.fence(leading);
        self.is_wanted = slots.is_wanted(leading);
    }

    /// The nodes that are asked from now on are asked for this slot alone.
    pub fn ask_alone(&mut self, slot: u8) {
        self.slots.iter_mut().for_each(|slots| slots.ask_alone(slot));
    }

    /// The slot that most of the nodes granted; `None` if none granted any, or the lock has no permits.
    #[must_use]
    pub fn slot(&self) -> Option<u8> {
        self.slots.as_ref()?.leading(self.round.failed())
    }

    /// What the nodes told of the slots, if any permit is asked for.
    #[must_use]
    pub fn slots(&self) -> Option<&SlotTally> {
        self.slots.as_deref()
    }
}
