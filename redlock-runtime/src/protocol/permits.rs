//! Which slot of a lock with permits is asked for, and who has one.
//!
//! A lock with K permits has K slots, and each slot is a lock of its own: it is held by whoever a majority of all nodes granted that
//! very slot. So two holders have two slots, and there are never more than K. A node must not *count* instead: of three nodes that
//! each let two in, one and two may let A in, two and three B, and one and three C; every one of them has a majority, and there are
//! three where two were allowed. For the same reason the grants of different slots are never added up.
//!
//! # Which slot
//!
//! Whoever asks for a certain slot, drawn by chance, mostly asks for one that somebody has. So each node grants the first free slot
//! in the order in which the asker wants them, and every asker has an order of its own. Mostly all nodes grant the same. Where they
//! do not, because others ask at the same time, their answers say which slots they have free; then one slot that is free on a
//! majority is asked for, and no other ([`SlotTally::second_choice`]). What else was granted is taken back in the same step.
//!
//! A caller who is refused although no owner of every slot was seen on a majority has lost to others who may have lost as well: that
//! is a [split](super::Verdict::Split) vote, and is tried again.
//!
//! # How many there are
//!
//! It must be the same everywhere, and where it is not the greatest counts: nodes keep beside the slots the greatest number that
//! somebody said lately, and tell it with each answer, so that others ask for the further slots, too. Whoever was told remembers it for
//! no longer than the nodes do. Nothing is unsafe about a
//! number that expired or is missing: whoever believes in fewer slots asks for fewer, and never are there more holders than the
//! greatest number that somebody says.

use std::time::Duration;

use super::{At, Ballot, Counter, Fence, NodeObservation, NodeSet, OthersKey, Quorum, Round};
use crate::rules::{Rule, holds};

/// How long nodes remember how many permits somebody said that a lock has, or up to a tenth less: it is not put off each time. After a
/// change to fewer, the old number counts for as long.
// `lua/permit.lua` has the tenth.
pub const PERMITS_RETENTION: Duration = Duration::from_secs(10 * 60);

/// What a node answered to somebody who asked for a permit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToldSlots {
    /// What was granted.
    pub granted: Option<GrantedSlot>,
    /// What every slot held before, by its number.
    pub held: Vec<Option<OthersKey>>,
    /// The fencing counter of every slot that was not granted, by its number, if they were [asked for](super::Proposal::asks_all).
    pub counters: Vec<Option<Counter>>,
    /// How many permits somebody said before, if anybody did.
    pub permits: Option<SaidPermits>,
}

/// How many permits somebody said that a lock has, as a node keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SaidPermits {
    /// How many.
    pub permits: u8,
    /// How long the node keeps that.
    pub lives: Duration,
}

/// What the nodes told in one round of how many permits somebody said that a lock has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OthersSay {
    /// The greatest number that a node keeps.
    pub greatest: Option<SaidPermits>,
    /// Whether a majority told, so that what none of them keeps is not said any more.
    pub is_majority: bool,
}

/// A slot that a node granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrantedSlot {
    /// Its number.
    pub slot: u8,
    /// Its fencing counter, if that was asked for.
    pub counter: Option<Counter>,
    /// Whether another process waits for a permit.
    pub is_wanted: bool,
}

/// When a permit that was won is set on a node that granted another one: at once, and again where a key of somebody is in the way who
/// mostly gives it back, as he did not win that permit.
pub const SET_WON_AFTER: [Duration; 3] = [Duration::ZERO, Duration::from_millis(20), Duration::from_millis(100)];

/// How much longer those have who have not answered, when the others have `took` so long and are enough to ask again.
#[must_use]
pub fn patience(took: Duration) -> Duration {
    took.max(Duration::from_millis(5))
}

/// The order in which an asker wants `count` slots: a random one, so that those who ask at the same time want different ones first.
// Source: the shuffle of Fisher and Yates, with numbers from SplitMix64, https://doi.org/10.1145/2714064.2660195
#[must_use]
pub fn slot_order(count: u8, seed: u64) -> Box<[u8]> {
    let mut order: Box<[u8]> = (0..count).collect();
    let mut state = seed;
    for last in (1..order.len()).rev() {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        let chosen = mixed % (last as u64 + 1);
        order.swap(last, usize::try_from(chosen).unwrap_or_default());
    }
    order
}

/// The votes of one round for the permits of a lock, slot by slot.
#[derive(Clone, Debug)]
pub struct SlotTally {
    /// The order in which the asker wants the slots.
    order: Box<[u8]>,
    /// How the lock gets its fencing token, of which nothing was heard yet.
    fence: Option<Fence>,
    /// What the nodes told.
    told: Vec<(usize, ToldSlots)>,
    /// The fencing counters of the slot that was asked for alone, on nodes that refused it.
    refused_alone: Vec<(usize, Counter)>,
    /// The slot that nodes are asked for alone, once one has granted it.
    alone: Option<u8>,
}

impl SlotTally {
    /// A round in which nobody has voted yet.
    #[must_use]
    pub fn new(order: Box<[u8]>, fence: Option<Fence>) -> Self {
        Self { order, fence, told: Vec::new(), refused_alone: Vec::new(), alone: None }
    }

    /// The nodes that are asked from now on are asked for this slot alone.
    pub fn ask_alone(&mut self, slot: u8) {
        self.alone = Some(slot);
    }

    /// The slot that nodes were asked for alone, if they were.
    #[must_use]
    pub fn asked_alone(&self) -> Option<u8> {
        self.alone
    }

    /// Notes what a node told; its first answer stands.
    pub fn record(&mut self, node: usize, told: ToldSlots) {
        if self.told.iter().all(|(other, _)| *other != node) {
            self.told.push((node, told));
        }
    }

    /// Notes the fencing counter that a node told with its refusal of the slot that was asked for alone.
    pub fn record_refusal(&mut self, node: usize, counter: Counter) {
        self.refused_alone.push((node, counter));
    }

    /// The fencing counters of this slot that were told by those who granted it, and by those who did not.
    fn counters(&self, slot: u8) -> impl Iterator<Item = (usize, Counter)> {
        let told = self.told.iter().filter_map(move |(node, told)| Some((*node, told.counter(slot)?)));
        let is_alone = self.alone == Some(slot);
        told.chain(self.refused_alone.iter().copied().filter(move |_| is_alone))
    }

    fn grants(&self, slot: u8) -> impl Iterator<Item = (usize, GrantedSlot)> {
        let of = |(node, told): &(usize, ToldSlots)| told.granted.map(|granted| (*node, granted));
        self.told.iter().filter_map(of).filter(move |(_, granted)| granted.slot == slot)
    }

    /// The nodes that granted any slot.
    #[must_use]
    pub fn granted(&self) -> NodeSet {
        self.told.iter().filter(|(_, told)| told.granted.is_some()).map(|(node, _)| *node).collect()
    }

    /// The slot that most of the nodes granted which are not among `struck`; of several the one that is wanted first. `None` if none
    /// granted any.
    #[must_use]
    pub fn leading(&self, struck: NodeSet) -> Option<u8> {
        let granted = |slot: u8| self.grants(slot).filter(|(node, _)| !struck.contains(*node)).count();
        // Of those that are equal the last is the greatest.
        let leading = self.order.iter().rev().copied().max_by_key(|slot| granted(*slot))?;
        (granted(leading) > 0).then_some(leading)
    }

    /// The ballots for this slot. Nodes that granted another, or none, refuse it; those that are among `failed` do not vote.
    #[must_use]
    pub fn round(&self, quorum: Quorum, slot: Option<u8>, failed: NodeSet) -> Round {
        let mut round = Round::new(quorum);
        failed.iter().for_each(|node| round.record(node, Ballot::Failed));
        for (node, told) in &self.told {
            let is_granted = match (told.granted, slot) {
                (Some(_), Some(_)) if !holds(Rule::OneSlotIsOneLock) => true,
                (granted, slot) => granted.is_some_and(|granted| Some(granted.slot) == slot),
            };
            round.record(*node, if is_granted { Ballot::Granted } else { Ballot::Refused });
        }
        round
    }

    /// How this slot gets its fencing token, with the counters that were told of it.
    #[must_use]
    pub fn fence(&self, slot: Option<u8>) -> Option<Fence> {
        let mut fence = self.fence.clone()?;
        slot.into_iter().flat_map(|slot| self.counters(slot)).for_each(|(node, counter)| fence.merge(node, counter));
        Some(fence)
    }

    /// How the lock gets its fencing token, before anything is heard.
    #[must_use]
    pub fn proposal(&self) -> Option<&Fence> {
        self.fence.as_ref()
    }

    /// Whether a node that granted this slot said that another process waits.
    #[must_use]
    pub fn is_wanted(&self, slot: Option<u8>) -> bool {
        slot.is_some_and(|slot| self.grants(slot).any(|(_, granted)| granted.is_wanted))
    }

    /// The slot that is asked for next, and no other, where the nodes disagreed: one that was free on a majority of the nodes, on as
    /// many as possible; of several one that most of them granted already, and of these the one that is wanted first. `None` if
    /// there is none.
    #[must_use]
    pub fn second_choice(&self, quorum: Quorum) -> Option<u8> {
        let free = |slot: u8| self.told.iter().filter(|(_, told)| told.is_free(slot)).count();
        let promising = self.order.iter().rev().copied().filter(|slot| free(*slot) >= quorum.needed());
        promising.max_by_key(|slot| (free(*slot), self.grants(*slot).count()))
    }

    /// Whether another round may be won without the nodes that have not answered, which those that have cannot decide: they are a
    /// majority, and differ. `refused` are the nodes that granted nothing, or another slot.
    #[must_use]
    pub fn may_ask_again(&self, quorum: Quorum, refused: NodeSet) -> bool {
        if self.alone.is_none() {
            return self.told.len() >= quorum.needed() && self.second_choice(quorum).is_some();
        }
        // Then all are asked for any of the others.
        let told = self.told.iter().map(|(node, _)| *node).chain(refused.iter()).collect::<NodeSet>();
        told.len() >= quorum.needed() && self.order.len() > 1
    }

    /// Whether every slot has an owner who was seen on a majority of the nodes.
    #[must_use]
    pub fn is_taken(&self, quorum: Quorum) -> bool {
        let is_held = |slot: &u8| {
            let owners = || self.told.iter().filter_map(|(_, told)| told.holder(*slot));
            owners().any(|owner| owners().filter(|other| *other == owner).count() >= quorum.needed())
        };
        self.order.iter().all(is_held)
    }

    /// The nodes that granted another slot than this one.
    #[must_use]
    pub fn astray(&self, slot: u8) -> NodeSet {
        self.granted().without(self.grants(slot).map(|(node, _)| node).collect())
    }

    /// What a round that was not won tells about each slot: of nodes that are among `failed` nothing.
    pub fn observations(&self, failed: NodeSet) -> impl Iterator<Item = (At, NodeObservation)> {
        let parts = || self.order.iter().copied();
        let silent =
            failed.iter().flat_map(move |node| parts().map(move |part| (At { node, part }, NodeObservation::Unknown)));
        let told = self.told.iter().filter(move |(node, _)| !failed.contains(*node)).flat_map(|(node, told)| {
            (0..).zip(&told.held).map(|(part, held)| {
                let seen = held.map_or(NodeObservation::GivenBack, NodeObservation::Held);
                (At { node: *node, part }, seen)
            })
        });
        silent.chain(told)
    }

    /// How many permits others say that there are.
    #[must_use]
    pub fn others_say(&self, quorum: Quorum) -> OthersSay {
        // Whoever was asked for one alone told nothing of it.
        let told = || self.told.iter().map(|(_, told)| told).filter(|told| !told.held.is_empty());
        let greatest = told().filter_map(|told| told.permits).max_by_key(|said| (said.permits, said.lives));
        OthersSay { greatest, is_majority: told().count() >= quorum.needed() }
    }
}

impl ToldSlots {
    /// A grant of the only slot that was asked for.
    #[must_use]
    pub fn granted_alone(slot: u8, counter: Option<Counter>, is_wanted: bool) -> Self {
        Self {
            granted: Some(GrantedSlot { slot, counter, is_wanted }),
            held: Vec::new(),
            counters: Vec::new(),
            permits: None,
        }
    }

    fn counter(&self, slot: u8) -> Option<Counter> {
        match self.granted {
            Some(granted) if granted.slot == slot => granted.counter,
            _ => self.counters.get(usize::from(slot)).copied().flatten(),
        }
    }

    fn is_free(&self, slot: u8) -> bool {
        self.held.get(usize::from(slot)).is_some_and(Option::is_none)
    }

    fn holder(&self, slot: u8) -> Option<u64> {
        self.held.get(usize::from(slot)).copied().flatten()?.owner
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Verdict;

    fn told(granted: Option<u8>, held: &[u64]) -> ToldSlots {
        let key = |owner: &u64| (*owner > 0).then_some(OthersKey { owner: Some(*owner), expires: None });
        let granted = granted.map(|slot| GrantedSlot { slot, counter: None, is_wanted: false });
        ToldSlots { granted, held: held.iter().map(key).collect(), counters: Vec::new(), permits: None }
    }

    fn tally(order: &[u8], votes: &[ToldSlots]) -> SlotTally {
        let mut tally = SlotTally::new(order.into(), None);
        votes.iter().enumerate().for_each(|(node, vote)| tally.record(node, vote.clone()));
        tally
    }

    fn quorum() -> Quorum {
        Quorum::of(3).unwrap()
    }

    #[test]
    fn an_order_has_every_slot_once_and_differs_from_asker_to_asker() {
        let mut firsts = [0; 8];
        for seed in 0..800 {
            let order = slot_order(8, seed);
            firsts[usize::from(order[0])] += 1;
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert_eq!(*sorted, [0, 1, 2, 3, 4, 5, 6, 7]);
        }
        assert!(firsts.iter().all(|count| (60..140).contains(count)), "{firsts:?}");
        assert_eq!(*slot_order(1, 7), [0]);
    }

    #[test]
    fn what_others_say_is_the_greatest_number_and_known_when_a_majority_told() {
        let says = |permits: u8, lives| {
            let permits = (permits > 0).then_some(SaidPermits { permits, lives: Duration::from_secs(lives) });
            ToldSlots { permits, ..told(None, &[0, 0]) }
        };
        let alone = || ToldSlots::granted_alone(0, None, false);
        let check = |votes: &[ToldSlots], greatest: Option<(u8, u64)>, is_majority: bool| {
            let lives = Duration::from_secs;
            let greatest = greatest.map(|(permits, left)| SaidPermits { permits, lives: lives(left) });
            assert_eq!(tally(&[0, 1], votes).others_say(quorum()), OthersSay { greatest, is_majority });
        };
        check(&[says(5, 20), says(5, 30), says(2, 90)], Some((5, 30)), true);
        check(&[says(0, 0), says(0, 0)], None, true);
        check(&[says(2, 9), alone(), alone()], Some((2, 9)), false);
    }

    #[test]
    fn grants_of_different_slots_are_not_added_up() {
        let free = [0, 0, 0];
        let tally = tally(&[2, 0, 1], &[told(Some(0), &free), told(Some(1), &free), told(Some(2), &free)]);
        assert_eq!(tally.leading(NodeSet::default()), Some(2), "of equals the one that is wanted first");
        let round = tally.round(quorum(), Some(2), NodeSet::default());
        assert_eq!(round.verdict(), Some(Verdict::Refused));
    }

    #[test]
    fn a_slot_is_won_by_a_majority_of_all_nodes_that_granted_it() {
        let free = [0, 0];
        let votes = [told(Some(1), &free), told(Some(0), &free), told(Some(1), &free)];
        let tally = tally(&[0, 1], &votes);
        assert_eq!(tally.leading(NodeSet::default()), Some(1));
        assert_eq!(tally.round(quorum(), Some(1), NodeSet::default()).verdict(), Some(Verdict::Won));
        assert_eq!(tally.astray(1), [1].into_iter().collect());
        // One whose vote does not count.
        let struck = [2].into_iter().collect();
        assert_eq!(tally.leading(struck), Some(0));
        assert_ne!(tally.round(quorum(), Some(0), struck).verdict(), Some(Verdict::Won));
    }

    #[test]
    fn the_second_try_asks_for_a_slot_that_is_free_on_a_majority() {
        let check = |votes: &[ToldSlots], expect| {
            assert_eq!(tally(&[0, 1, 2], votes).second_choice(quorum()), expect, "{votes:?}");
        };
        // Free everywhere before one that was granted by one.
        check(&[told(Some(0), &[0, 0, 0]), told(Some(1), &[7, 0, 0]), told(Some(1), &[7, 0, 0])], Some(1));
        check(&[told(Some(0), &[0, 7, 0]), told(Some(2), &[7, 7, 0]), told(Some(2), &[7, 7, 0])], Some(2));
        check(&[told(Some(0), &[0, 7, 8]), told(None, &[9, 7, 8]), told(None, &[9, 7, 8])], None);
        // Of two that are free on as many, the one that is granted already.
        check(&[told(Some(1), &[7, 0, 0]), told(None, &[7, 0, 0]), told(None, &[7, 8, 8])], Some(1));
        check(&[told(Some(0), &[0, 0, 0])], None);
    }

    #[test]
    fn a_lock_is_taken_if_every_slot_has_an_owner_on_a_majority() {
        let check = |votes: &[ToldSlots], expect| {
            assert_eq!(tally(&[0, 1], votes).is_taken(quorum()), expect, "{votes:?}");
        };
        check(&[told(None, &[7, 8]), told(None, &[7, 8])], true);
        check(&[told(None, &[7, 8]), told(None, &[7, 9])], false);
        check(&[told(None, &[7, 8]), told(None, &[7, 9]), told(None, &[6, 9])], true);
        check(&[told(None, &[7, 8])], false);
        check(&[told(None, &[7, 7]), told(Some(0), &[0, 7])], false);
    }
}
