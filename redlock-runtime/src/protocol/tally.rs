mod fire;
mod slots;
mod strike;
mod vote;

use std::cell::OnceCell;
use std::time::{Duration, Instant};

use self::fire::FireTally;
use self::strike::Ages;
pub use self::vote::{Objection, Vote};
use super::{
    At, Ballot, Counter, Fence, Fencing, Listening, NoCounter, NodeObservation, NodeSet, NodeStatus, OnceDecision,
    OthersKey, Quorum, Rivals, Round, SlotTally, ToldSlots, Verdict, Voters,
};

/// The nodes as they are known, and the moment at which they were looked at.
type Seen = (Vec<NodeStatus>, Instant);

/// The votes of one round as they count, and what else the nodes told.
///
/// A vote is counted when it comes in. Whether a node may vote at all is looked at when a verdict is near, and then for all of
/// them at one moment: a vote that does not count is struck.
#[derive(Clone, Debug)]
pub struct Tally {
    /// What a majority is.
    quorum: Quorum,
    /// The votes.
    round: Round,
    /// Another owner's key, where a node refused for it.
    held: Vec<(usize, OthersKey)>,
    /// For whom nodes refused.
    rivals: Rivals,
    /// How many nodes have no key.
    missing: usize,
    /// How the lock gets its fencing token, if it gets one.
    fence: Option<Fence>,
    /// The fire that the lock is asked for, if it is for one; boxed, because most locks are for none.
    fire: Option<Box<FireTally>>,
    /// The votes slot by slot, if any permit of a lock is asked for: then the round and the fence are those of the slot that most of the
    /// nodes granted. Boxed, because most locks have no permits.
    slots: Option<Box<SlotTally>>,
    /// Whether a node that granted the lock said that another process waits for it.
    is_wanted: bool,
    /// Two nodes of the configuration that are one server, if there are any: then nothing is won.
    twins: Option<(usize, usize)>,
    /// Why votes were struck that nobody has been told about yet.
    objections: Vec<(usize, Objection)>,
}

/// What a round that is heard comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Hearing {
    /// More votes decide, or would at least be worth to be told of.
    GoesOn,
    /// The verdict is this, unless a node that is just being connected to turns out to be old. Its connection has the time
    /// of a reply; a node that cannot be connected to within that cannot be reached.
    GoesOnFor(Verdict),
    /// The verdict is this, unless another vote comes at once: another round can be won without those that are still to come, one of
    /// which may be hung. They have [a little longer](super::patience).
    GoesOnBriefly(Verdict),
    /// The verdict is this.
    IsOver(Verdict),
}

impl Tally {
    /// A round in which nobody has voted yet, for a lock that gets its fencing token like this.
    #[must_use]
    pub fn new(quorum: Quorum, fence: Option<Fence>) -> Self {
        Self {
            quorum,
            round: Round::new(quorum),
            held: Vec::new(),
            rivals: Rivals::default(),
            missing: 0,
            fence,
            fire: None,
            slots: None,
            is_wanted: false,
            twins: None,
            objections: Vec::new(),
        }
    }

    /// A round in which only these nodes are asked. The others count as nodes that did not vote: a majority is one of all.
    #[must_use]
    pub fn among(quorum: Quorum, asked: NodeSet) -> Self {
        let mut tally = Self::new(quorum, None);
        for node in NodeSet::first(quorum.nodes()).without(asked).iter() {
            tally.round.record(node, Ballot::Failed);
        }
        tally
    }

    /// Counts a vote that came in at `now`. `node_clock` is the node's time of day, as the time since 1970, if it is known.
    pub fn record(
        &mut self,
        node: usize,
        vote: Vote,
        now: impl FnOnce() -> Instant,
        node_clock: impl Fn() -> Option<Duration>,
    ) {
        // What this node tells may be that the fire was completed.
        self.fire.iter_mut().for_each(|fire| fire.may_run = false);
        let vote = match vote {
            Vote::Slots(told) => return self.record_slots(node, *told, node_clock),
            // The others are asked for the slot that the first node granted, and for no other.
            Vote::Granted { counter, is_wanted, .. } if self.slots.is_some() => {
                let asked = self.slots.as_ref().and_then(|slots| slots.asked_alone());
                return match asked {
                    Some(slot) => {
                        self.record_slots(node, ToldSlots::granted_alone(slot, counter, is_wanted), || None);
                    }
                    None => self.round.record(node, Ballot::Failed),
                };
            }
            vote => vote,
        };
        let (told, mark) = match vote {
            Vote::Granted { counter, ref mark, .. } | Vote::Refused { counter, ref mark, .. } => {
                (counter, mark.as_deref().copied())
            }
            Vote::Slots(_) | Vote::Missing | Vote::Failed => (None, None),
        };
        if let Err(fault) = self.merge(node, told, node_clock) {
            self.objections.push((node, Objection::NoCounter(fault)));
            return self.round.record(node, Ballot::Failed);
        }
        if let (Vote::Refused { .. }, Some(counter), Some(slots)) = (&vote, told, &mut self.slots) {
            slots.record_refusal(node, counter);
        }
        if let (Some(fire), Some(mark)) = (&mut self.fire, mark) {
            fire.told.push((node, mark));
        }
        let ballot = match vote {
            Vote::Granted { is_wanted, .. } => {
                self.is_wanted |= is_wanted;
                Ballot::Granted
            }
            Vote::Refused { owner, remaining, .. } => {
                if let Some(owner) = &owner {
                    self.rivals.record(owner);
                }
                let counter = told.and_then(Counter::number);
                self.held.push((node, OthersKey::told(owner.as_deref(), counter, remaining, now)));
                Ballot::Refused
            }
            Vote::Missing => {
                self.missing += 1;
                Ballot::Refused
            }
            Vote::Slots(_) | Vote::Failed => Ballot::Failed,
        };
        self.round.record(node, ballot);
        self.count_slots();
    }

    /// Takes in the fencing counter that a node told, if it can be one.
    fn merge(
        &mut self,
        node: usize,
        counter: Option<Counter>,
        node_clock: impl FnOnce() -> Option<Duration>,
    ) -> Result<(), NoCounter> {
        let (Some(fence), Some(counter)) = (&mut self.fence, counter) else { return Ok(()) };
        if let Some(number) = counter.number() {
            fence.proposal().believe(number, node_clock)?;
        }
        fence.merge(node, counter);
        Ok(())
    }

    /// How a round that was won gets its fencing token; `None` if it gets none.
    #[must_use]
    pub fn fencing(&self, listening: Listening) -> Option<Fencing> {
        self.fence.as_ref().map(|fence| fence.decide(self.round.granted(), listening))
    }

    /// What comes of the round with what was heard. `look` gives the nodes as they are now, and the moment at which they were
    /// looked at; it is asked for when a verdict is near.
    pub fn hearing(
        &mut self,
        voters: Voters,
        all_have_answered: bool,
        look: impl Fn() -> (Vec<NodeStatus>, Instant),
    ) -> Hearing {
        // Both by what was seen at one moment.
        let seen = OnceCell::new();
        let look = || seen.get_or_init(&look);
        let is_near = matches!(self.round.verdict(), Some(Verdict::Won | Verdict::Refused));
        let ages = if voters != Voters::All && is_near { self.strike(voters, look) } else { Ages::Certain };
        let fire = if self.is_fire_near() { self.fire_as_seen(Listening::GoesOn, look) } else { None };
        if let Some(fire_tally) = &mut self.fire {
            fire_tally.may_run = fire == Some(OnceDecision::Run);
        }
        if matches!(fire, Some(OnceDecision::AlreadyRan { .. })) {
            // Whoever holds the lock: nobody wants it any more.
            return Hearing::IsOver(self.round.verdict().unwrap_or(Verdict::Refused));
        }
        match self.round.verdict() {
            Some(verdict) if all_have_answered => Hearing::IsOver(verdict),
            Some(verdict) if ages == Ages::Uncertain => Hearing::GoesOnFor(verdict),
            Some(Verdict::Won)
                if self.fencing(Listening::GoesOn) == Some(Fencing::Listen) || fire == Some(OnceDecision::Listen) =>
            {
                Hearing::GoesOn
            }
            None if self.slots.as_ref().is_some_and(|slots| slots.may_ask_again(self.quorum, self.round.refused())) => {
                Hearing::GoesOnBriefly(Verdict::Refused)
            }
            // Nobody is slowed by that, and the error can say how many nodes answered.
            None | Some(Verdict::Unreachable) => Hearing::GoesOn,
            Some(verdict) => Hearing::IsOver(verdict),
        }
    }

    /// The verdict when the time is over: those that have not answered by now do not vote. A node that has not been reached by now
    /// cannot be, unless it is the caller's own time that was short.
    pub fn close(
        &mut self,
        voters: Voters,
        late: NodeSet,
        is_cut_short: bool,
        look: impl FnOnce() -> (Vec<NodeStatus>, Instant),
    ) -> Option<Verdict> {
        late.iter().for_each(|node| self.round.record(node, Ballot::Failed));
        if voters != Voters::All && self.strike(voters, look) == Ages::Uncertain && is_cut_short {
            for node in self.round.granted().iter() {
                self.round.strike(node);
                self.objections.push((node, Objection::PerhapsYoung));
            }
        }
        self.round.verdict()
    }

    /// Why votes were struck since this was asked last.
    pub fn take_objections(&mut self) -> impl Iterator<Item = (usize, Objection)> + use<> {
        std::mem::take(&mut self.objections).into_iter()
    }

    /// The verdict on an attempt to acquire: whether a refusal means that somebody holds the lock.
    pub fn classify_acquire(&self, verdict: Verdict) -> Verdict {
        let is_held = || match &self.slots {
            Some(slots) => slots.is_taken(self.quorum),
            None => self.rivals.has_holder(self.quorum),
        };
        let is_split = verdict == Verdict::Refused && !is_held();
        if is_split { Verdict::Split } else { verdict }
    }

    /// The verdict on an attempt to take a lock over: whether a refusal means that its owner does not have it any more.
    pub fn classify_adoption(&self, verdict: Verdict) -> Verdict {
        let is_split = verdict == Verdict::Refused && !self.rivals.rule_out(self.missing, self.quorum);
        if is_split { Verdict::Split } else { verdict }
    }

    /// The verdict on an extension or a release: nodes that never held the key refuse too, so only a majority of them
    /// says that it is not this owner's.
    pub fn classify_owner_op(&self, verdict: Verdict) -> Verdict {
        let is_told = self.round.refused().len() >= self.quorum.needed();
        if verdict == Verdict::Refused && !is_told { Verdict::Unreachable } else { verdict }
    }

    /// The nodes that granted.
    #[must_use]
    pub fn granted(&self) -> NodeSet {
        self.round.granted()
    }

    /// The nodes that refused.
    #[must_use]
    pub fn refused(&self) -> NodeSet {
        self.round.refused()
    }

    /// Whether a node that granted the lock said that another process waits for it.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.is_wanted
    }

    /// Two nodes of the configuration that are one and the same server, if there are any.
    #[must_use]
    pub fn twins(&self) -> Option<(usize, usize)> {
        self.twins
    }

    /// The greatest fencing counter that was heard of; zero if none was.
    #[must_use]
    pub fn greatest_counter(&self) -> u64 {
        self.fence.as_ref().map_or(0, Fence::seen)
    }

    /// What a round that was not won tells about the nodes that were asked; `part` says which key of the lock was asked for, where it was
    /// one.
    pub fn observations(&self, part: u8) -> impl Iterator<Item = (At, NodeObservation)> {
        let part = self.slot().unwrap_or(part);
        let at = move |node| At { node, part };
        let is_one = self.slots.is_none();
        let of_one = move |nodes: NodeSet| if is_one { nodes } else { NodeSet::default() };
        let given_back = of_one(self.round.granted()).iter().map(move |node| (at(node), NodeObservation::GivenBack));
        let silent = of_one(self.round.failed()).iter().map(move |node| (at(node), NodeObservation::Unknown));
        let held = self.held.iter().map(move |(node, key)| (at(*node), NodeObservation::Held(*key)));
        let of_slots = self.slots.iter().flat_map(|slots| slots.observations(self.round.failed()));
        given_back.chain(silent).chain(held).chain(of_slots)
    }
}

#[cfg(test)]
mod tests;
