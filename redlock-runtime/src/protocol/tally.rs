use std::borrow::Borrow;
use std::cell::OnceCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{
    At, Ballot, Counter, Fence, Fencing, FireQuestion, Listening, NoCounter, NodeObservation, NodeSet, NodeStatus,
    OnceDecision, OthersKey, Quorum, Rivals, Round, ServerInfo, SlotTally, Standing, ToldMark, ToldSlots, Verdict,
    Voters,
};
use crate::rules::{Rule, holds};

/// The nodes as they are known, and the moment at which they were looked at.
type Seen = (Vec<NodeStatus>, Instant);

/// What a node answered to a question about a key, as far as it counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Vote {
    /// It did what was asked.
    Granted {
        /// The lock's fencing counter, if that was asked for.
        counter: Option<Counter>,
        /// Whether another process waits for the lock.
        is_wanted: bool,
        /// The mark of completed fires, if that was asked for; boxed, because for most locks it is not.
        mark: Option<Box<ToldMark>>,
    },
    /// The key has another owner's value, or none.
    Refused {
        /// The other owner, if the node said so.
        owner: Option<Arc<str>>,
        /// How long the other owner's key lives, if the node said so.
        remaining: Option<Duration>,
        /// The lock's fencing counter, if that was asked for.
        counter: Option<Counter>,
        /// The mark of completed fires, if that was asked for; boxed, because for most locks it is not.
        mark: Option<Box<ToldMark>>,
    },
    /// What it answered to somebody who asked for any permit.
    Slots(Box<ToldSlots>),
    /// There is no such key.
    Missing,
    /// It did not vote.
    Failed,
}

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

/// What the nodes told about a fire.
#[derive(Clone, Debug)]
struct FireTally {
    /// The fire.
    question: Arc<FireQuestion>,
    /// The marks, by node.
    told: Vec<(usize, ToldMark)>,
    /// Whether it may run, as was decided when the last vote came.
    may_run: bool,
}

impl FireTally {
    /// The nodes that showed that the fire was completed.
    fn covering(&self) -> impl Iterator<Item = usize> {
        let covers = |told: &ToldMark| told.stored.is_some_and(|mark| self.question.fire.is_covered_by(mark.fire));
        self.told.iter().filter(move |(_, told)| covers(told)).map(|(node, _)| *node)
    }
}

/// Why the vote of a node does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "whoever reads the error wants to know why a node that answered has no vote"]
pub enum Objection {
    /// What it has under the fencing key is no counter.
    NoCounter(NoCounter),
    /// It follows another server.
    Replica,
    /// It is the server that is configured at this other position, too.
    ConfiguredTwice(usize),
    /// It restarted, and may have forgotten locks. It votes again after this time.
    Young(Duration),
    /// It restarted, and there was no time to look for older nodes.
    PerhapsYoung,
    /// Its connection ended after its vote, so its age is not known.
    ConnectionEnded,
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

/// Whether the votes of young nodes can be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ages {
    /// Nothing that may still be learnt changes who votes.
    Certain,
    /// An older node may be about to be reached.
    Uncertain,
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

    /// The same round, for a lock that is asked for a fire.
    #[must_use]
    pub fn for_fire(self, question: Option<Arc<FireQuestion>>) -> Self {
        let fire = question.map(|question| Box::new(FireTally { question, told: Vec::new(), may_run: false }));
        Self { fire, ..self }
    }

    /// The same round, for somebody who asks for any permit, and wants the slots in this order.
    #[must_use]
    pub fn for_slots(self, order: Option<Box<[u8]>>) -> Self {
        let slots = order.map(|order| Box::new(SlotTally::new(order, self.fence.clone())));
        Self { slots, ..self }
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
                self.held.push((node, OthersKey::told(owner.as_deref(), remaining, now)));
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

    /// Counts what a node told of the slots.
    fn record_slots(&mut self, node: usize, mut told: ToldSlots, node_clock: impl Fn() -> Option<Duration>) {
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
    fn count_slots(&mut self) {
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

    /// What follows from the marks that were told; `None` if the lock is asked for no fire. `look` as in [`Self::hearing`].
    #[must_use]
    pub fn fire(&self, listening: Listening, look: impl Fn() -> (Vec<NodeStatus>, Instant)) -> Option<OnceDecision> {
        self.fire_as_seen(listening, look)
    }

    fn fire_as_seen<T: Borrow<Seen>>(&self, listening: Listening, look: impl FnOnce() -> T) -> Option<OnceDecision> {
        let FireTally { question, told, may_run } = &**self.fire.as_ref()?;
        if *may_run {
            return Some(OnceDecision::Run);
        }
        Some(question.decide(self.quorum, told, self.round.granted(), listening, look().borrow()))
    }

    /// Whether what was told may decide about the fire: the lock is granted, or as many marks cover the fire as prove that it was
    /// completed.
    fn is_fire_near(&self) -> bool {
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

    /// Takes back the votes of nodes that may not vote.
    fn strike<T: Borrow<Seen>>(&mut self, voters: Voters, look: impl FnOnce() -> T) -> Ages {
        if voters == Voters::Extension && !holds(Rule::YoungCountInNoExtension) {
            return Ages::Certain;
        }
        // There is nobody who could know better.
        if self.quorum.nodes() == 1 {
            return Ages::Certain;
        }
        let seen = look();
        let (nodes, now) = seen.borrow();
        let now = *now;
        let infos = || nodes.iter().map(NodeStatus::server_info);
        let electorate = voters.electorate(now, infos());
        let votes_in = |info: &ServerInfo| voters.votes_in(info, now);
        self.twins = electorate.same_server().filter(|_| holds(Rule::OneVoteAServer)).or(self.twins);
        if electorate.voters().len() == nodes.len() {
            return Ages::Certain;
        }
        for (node, info) in infos().enumerate() {
            // Of the permits any: which of them is counted depends on who votes.
            let has_granted = match &self.slots {
                Some(slots) => slots.granted().contains(node) && !self.round.failed().contains(node),
                None => self.round.granted().contains(node),
            };
            let has_voted = has_granted || self.round.refused().contains(node);
            let objection = match electorate.standing(node) {
                Standing::Young | Standing::Unknown if !holds(Rule::Abstention) => continue,
                Standing::SameServer if !holds(Rule::OneVoteAServer) => continue,
                Standing::Replica if has_voted => Objection::Replica,
                Standing::SameServer if has_voted => {
                    let is_twin =
                        |other: Option<&ServerInfo>| other.map(ServerInfo::identity) == info.map(ServerInfo::identity);
                    let twin = infos().enumerate().find(|(other, info)| *other != node && is_twin(*info));
                    Objection::ConfiguredTwice(twin.map_or(node, |(other, _)| other))
                }
                Standing::Young if has_granted => Objection::Young(info.map(votes_in).unwrap_or_default()),
                Standing::Unknown if has_granted => Objection::ConnectionEnded,
                // A young node may still know that somebody else holds the lock.
                Standing::Votes | Standing::Young | Standing::Unknown | Standing::Replica | Standing::SameServer => {
                    continue;
                }
            };
            self.round.strike(node);
            self.objections.push((node, objection));
        }
        self.count_slots();
        // Young nodes vote while no older one can be reached: one that is about to be reached may be older.
        let is_young = |info: Option<&ServerInfo>| info.is_some_and(|info| !votes_in(info).is_zero());
        let has_young_voter =
            infos().enumerate().any(|(node, info)| is_young(info) && self.round.granted().contains(node));
        let may_come = nodes.iter().any(|node| matches!(node, NodeStatus::Connecting));
        if has_young_voter && may_come { Ages::Uncertain } else { Ages::Certain }
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
mod tests {
    use super::*;
    use crate::protocol::{
        FenceFallback, Fire, GrantedSlot, InDoubt, MARK_RETENTION, OnceTerms, Proposal, Role, StoredMark,
    };

    const LONGEST_TTL: Duration = Duration::from_secs(300);
    const GRANTED: Vote = Vote::Granted { counter: None, is_wanted: false, mark: None };

    fn refused(owner: &str) -> Vote {
        Vote::Refused { owner: Some(owner.into()), remaining: None, counter: None, mark: None }
    }

    /// A node of this age in seconds, which is the server with this identity.
    fn server(identity: &str, age: u64, role: Role) -> NodeStatus {
        let info = ServerInfo::new(now(), Duration::from_secs(age), LONGEST_TTL, identity.into(), role);
        NodeStatus::Introduced(Arc::new(info))
    }

    fn old(identity: &str) -> NodeStatus {
        server(identity, 9999, Role::Master)
    }

    fn now() -> Instant {
        crate::platform::clock::now()
    }

    fn tally(votes: &[Vote]) -> Tally {
        let mut tally = Tally::new(Quorum::of(3).unwrap(), None);
        for (node, vote) in votes.iter().enumerate() {
            tally.record(node, vote.clone(), now, || None);
        }
        tally
    }

    /// What comes of these votes of these nodes, and whose votes were struck for what.
    fn check(
        votes: &[Vote],
        nodes: &[NodeStatus; 3],
        round: Voters,
        expect: Hearing,
        objections: &[(usize, Objection)],
    ) {
        let mut tally = tally(votes);
        let hearing = tally.hearing(round, votes.len() == 3, || (nodes.to_vec(), now()));
        let kind =
            |objection| if let Objection::Young(_) = objection { Objection::Young(Duration::ZERO) } else { objection };
        let struck: Vec<_> = tally.take_objections().map(|(node, objection)| (node, kind(objection))).collect();
        assert_eq!((hearing, &*struck), (expect, objections), "{votes:?}, {nodes:?}, {round:?}");
    }

    #[test]
    fn a_majority_of_nodes_that_may_vote_wins() {
        let nodes = [old("a"), old("b"), old("c")];
        check(&[GRANTED, GRANTED], &nodes, Voters::Acquisition, Hearing::IsOver(Verdict::Won), &[]);
        check(&[GRANTED], &nodes, Voters::Acquisition, Hearing::GoesOn, &[]);
        check(
            &[refused("x"), GRANTED, refused("x")],
            &nodes,
            Voters::Acquisition,
            Hearing::IsOver(Verdict::Refused),
            &[],
        );
        // The third may say what the error is about.
        check(&[Vote::Failed, Vote::Failed], &nodes, Voters::Acquisition, Hearing::GoesOn, &[]);
    }

    #[test]
    fn the_votes_of_nodes_that_may_not_vote_are_struck() {
        let young = |identity| server(identity, 20, Role::Master);
        let replica = server("b", 9999, Role::Replica);
        let votes = [GRANTED, GRANTED, Vote::Failed];
        let unreachable = Hearing::IsOver(Verdict::Unreachable);
        let nodes = [old("a"), young("b"), old("c")];
        check(&votes, &nodes, Voters::Acquisition, unreachable, &[(1, Objection::Young(Duration::ZERO))]);
        // In an extension it counts again as soon as no attempt can have heard another server in its place.
        check(&votes, &nodes, Voters::Extension, Hearing::IsOver(Verdict::Won), &[]);
        check(&votes, &nodes, Voters::All, Hearing::IsOver(Verdict::Won), &[]);
        let starting = [old("a"), server("b", 2, Role::Master), old("c")];
        check(&votes, &starting, Voters::Extension, unreachable, &[(1, Objection::Young(Duration::ZERO))]);
        check(&votes, &[old("a"), replica, old("c")], Voters::Acquisition, unreachable, &[(1, Objection::Replica)]);
        let gone = [old("a"), NodeStatus::Unreachable, old("c")];
        check(&votes, &gone, Voters::Acquisition, unreachable, &[(1, Objection::ConnectionEnded)]);
        let twice = [old("a"), old("a"), old("c")];
        let objections = [(0, Objection::ConfiguredTwice(1)), (1, Objection::ConfiguredTwice(0))];
        check(&votes, &twice, Voters::Acquisition, unreachable, &objections);
        // A young node may still know that somebody else holds the lock.
        let refusals = [refused("x"), refused("x")];
        let nodes = [old("a"), young("b"), old("c")];
        check(&refusals, &nodes, Voters::Acquisition, Hearing::IsOver(Verdict::Refused), &[]);
    }

    #[test]
    fn young_nodes_wait_for_one_that_may_be_older() {
        let young = |identity| server(identity, 20, Role::Master);
        let nodes = [young("a"), young("b"), NodeStatus::Connecting];
        check(&[GRANTED, GRANTED], &nodes, Voters::Acquisition, Hearing::GoesOnFor(Verdict::Won), &[]);
        check(
            &[GRANTED, GRANTED],
            &[young("a"), young("b"), NodeStatus::Unreachable],
            Voters::Acquisition,
            Hearing::IsOver(Verdict::Won),
            &[],
        );
        // Where the time that is over is the caller's, the older one might still have come.
        for (is_cut_short, expect) in [(false, Verdict::Won), (true, Verdict::Unreachable)] {
            let mut tally = tally(&[GRANTED, GRANTED]);
            let late = NodeSet::from_iter([2]);
            let verdict = tally.close(Voters::Acquisition, late, is_cut_short, || (nodes.to_vec(), now()));
            assert_eq!(verdict, Some(expect), "{is_cut_short}");
            let objections =
                if is_cut_short { vec![(0, Objection::PerhapsYoung), (1, Objection::PerhapsYoung)] } else { vec![] };
            assert_eq!(tally.take_objections().collect::<Vec<_>>(), objections);
        }
    }

    #[test]
    fn a_refusal_says_that_somebody_holds_the_lock_only_if_one_owner_has_a_majority() {
        use Verdict::{Refused, Split, Unreachable};
        let check = |votes: &[Vote], expect: [Verdict; 3]| {
            let tally = tally(votes);
            let classified =
                [tally.classify_acquire(Refused), tally.classify_adoption(Refused), tally.classify_owner_op(Refused)];
            assert_eq!(classified, expect, "{votes:?}");
        };
        check(&[refused("x"), refused("x"), GRANTED], [Refused, Refused, Refused]);
        check(&[refused("x"), refused("y"), GRANTED], [Split, Split, Refused]);
        check(&[refused("x"), GRANTED, Vote::Failed], [Split, Split, Unreachable]);
        check(&[Vote::Missing, Vote::Missing, GRANTED], [Split, Refused, Refused]);
    }

    #[test]
    fn a_node_whose_counter_can_be_none_has_no_vote() {
        let quorum = Quorum::of(3).unwrap();
        let fallback = FenceFallback::TrustClocks { max_clock_skew: Duration::from_secs(60) };
        let proposal = Proposal::new(Duration::from_secs(1), 0, quorum, fallback);
        let mut tally = Tally::new(quorum, Some(Fence::propose(quorum, proposal, fallback)));
        let granted = |number| Vote::Granted { counter: Some(Counter::Known(number)), is_wanted: true, mark: None };
        tally.record(0, granted(u64::MAX), now, || None);
        tally.record(1, granted(7), now, || None);
        assert_eq!(tally.granted().iter().collect::<Vec<_>>(), [1]);
        let objections: Vec<_> = tally.take_objections().collect();
        assert_eq!(objections, [(0, Objection::NoCounter(NoCounter::TooGreat(u64::MAX)))]);
        assert_eq!((tally.greatest_counter(), tally.is_wanted()), (7, true));
    }

    /// What a node tells that grants this of two permits.
    fn slot(granted: u8) -> Vote {
        let granted = Some(GrantedSlot { slot: granted, counter: None, is_wanted: false });
        Vote::Slots(Box::new(ToldSlots { granted, held: vec![None, None], counters: Vec::new(), permits: None }))
    }

    #[test]
    fn of_permits_the_one_is_counted_that_most_of_the_nodes_granted_which_have_a_vote() {
        let quorum = Quorum::of(3).unwrap();
        let check = |granted: [u8; 3], nodes: [NodeStatus; 3], slot_won: Option<u8>| {
            let mut tally = Tally::new(quorum, None).for_slots(Some([1, 0].into()));
            granted.iter().enumerate().for_each(|(node, granted)| tally.record(node, slot(*granted), now, || None));
            let hearing = tally.hearing(Voters::Acquisition, true, || (nodes.to_vec(), now()));
            let won = (hearing == Hearing::IsOver(Verdict::Won)).then(|| tally.slot()).flatten();
            assert_eq!(won, slot_won, "{granted:?}");
        };
        let old = || ["a", "b", "c"].map(old);
        check([0, 0, 1], old(), Some(0));
        check([1, 0, 1], old(), Some(1));
        let young = || server("b", 1, Role::Master);
        // Its grant does not count, whichever permit it is of.
        check([0, 0, 1], [self::old("a"), young(), self::old("c")], None);
        check([1, 0, 1], [self::old("a"), young(), self::old("c")], Some(1));
    }

    #[test]
    fn of_permits_nobody_waits_long_for_a_vote_that_another_round_does_without() {
        let quorum = Quorum::of(3).unwrap();
        let looked = || (["a", "b", "c"].map(old).to_vec(), now());
        let brief = Hearing::GoesOnBriefly(Verdict::Refused);
        let slots = |granted: u8, taken: &[u8]| {
            let key = OthersKey { owner: None, expires: None };
            let held = (0..3).map(|slot| taken.contains(&slot).then_some(key)).collect();
            let granted = Some(GrantedSlot { slot: granted, counter: None, is_wanted: false });
            Vote::Slots(Box::new(ToldSlots { granted, held, counters: Vec::new(), permits: None }))
        };
        let check = |votes: [Vote; 2], expect| {
            let mut tally = Tally::new(quorum, None).for_slots(Some([0, 1, 2].into()));
            votes.into_iter().enumerate().for_each(|(node, vote)| tally.record(node, vote, now, || None));
            assert_eq!(tally.hearing(Voters::Acquisition, false, looked), expect);
            assert_eq!(tally.classify_acquire(Verdict::Refused), Verdict::Split);
        };
        check([slots(0, &[1]), slots(1, &[0])], brief);
        check([slots(0, &[1, 2]), slots(1, &[0, 2])], Hearing::GoesOn);
        check([slots(0, &[]), Vote::Failed], Hearing::GoesOn);

        for order in [&[0, 1][..], &[0]] {
            let mut narrowed = Tally::new(quorum, None).for_slots(Some(order.into()));
            narrowed.record(0, slots(0, &[]), now, || None);
            narrowed.ask_alone(0);
            assert_eq!(narrowed.hearing(Voters::Acquisition, false, looked), Hearing::GoesOn);
            narrowed.record(1, refused("somebody"), now, || None);
            let expect = if order.len() > 1 { brief } else { Hearing::GoesOn };
            assert_eq!(narrowed.hearing(Voters::Acquisition, false, looked), expect);
        }
    }

    #[test]
    fn the_token_of_a_permit_rests_on_the_counters_of_those_who_did_not_grant_it_as_well() {
        use Counter::{Forgotten, Known};
        let quorum = Quorum::of(3).unwrap();
        let fenced = || {
            let proposal = Proposal::new(Duration::from_micros(10), 0, quorum, FenceFallback::Refuse);
            let fence = Fence::propose(quorum, proposal, FenceFallback::Refuse);
            Tally::new(quorum, Some(fence)).for_slots(Some([0, 1].into()))
        };
        let slots = |slot, counter, counters: &[Option<Counter>]| {
            let granted = Some(GrantedSlot { slot, counter: Some(counter), is_wanted: false });
            Vote::Slots(Box::new(ToldSlots { granted, held: vec![None; 2], counters: counters.into(), permits: None }))
        };
        let check = |astray: Vote, expect| {
            let mut tally = fenced();
            tally.record(0, slots(0, Known(12), &[]), now, || None);
            tally.record(1, slots(0, Forgotten, &[]), now, || None);
            tally.record(2, astray, now, || None);
            assert_eq!((tally.slot(), tally.fencing(Listening::IsOver)), (Some(0), Some(expect)));
        };
        check(slots(1, Known(90), &[Some(Known(40)), Some(Known(80))]), Fencing::Commit(41));
        check(slots(1, Known(90), &[Some(Known(u64::MAX)), None]), Fencing::Refused);
        check(slots(1, Known(90), &[]), Fencing::Refused);

        let mut narrowed = fenced();
        narrowed.record(1, slots(0, Forgotten, &[]), now, || None);
        narrowed.ask_alone(0);
        let counter = Some(Known(40));
        narrowed.record(2, Vote::Refused { owner: None, remaining: None, counter, mark: None }, now, || None);
        narrowed.record(0, Vote::Granted { counter: Some(Known(12)), is_wanted: false, mark: None }, now, || None);
        assert_eq!(narrowed.fencing(Listening::IsOver), Some(Fencing::Commit(41)));
    }

    #[test]
    fn of_permits_a_node_that_is_asked_behind_the_first_says_no_more_than_whether_it_granted_the_same() {
        let mut tally = Tally::new(Quorum::of(3).unwrap(), None).for_slots(Some([0, 1].into()));
        tally.record(1, slot(1), now, || None);
        assert_eq!(tally.slot(), Some(1));
        tally.ask_alone(1);
        tally.record(0, refused("somebody"), now, || None);
        tally.record(2, GRANTED, now, || None);
        let nodes = [old("a"), old("b"), old("c")];
        assert_eq!(tally.hearing(Voters::Acquisition, true, || (nodes.to_vec(), now())), Hearing::IsOver(Verdict::Won));
        assert_eq!((tally.slot(), tally.granted().iter().collect::<Vec<_>>()), (Some(1), vec![1, 2]));
        let held = |(at, seen): (At, NodeObservation)| matches!(seen, NodeObservation::Held(_)).then_some(at);
        assert_eq!(tally.observations(0).filter_map(held).collect::<Vec<_>>(), [At { node: 0, part: 1 }]);
    }

    #[test]
    fn of_permits_a_grant_counts_for_the_slot_that_was_asked_for_also_if_the_first_node_has_no_vote_any_more() {
        let mut tally = Tally::new(Quorum::of(3).unwrap(), None).for_slots(Some([0, 1].into()));
        tally.record(1, slot(1), now, || None);
        tally.ask_alone(1);
        tally.record(0, refused("somebody"), now, || None);
        let nodes = [old("a"), server("b", 1, Role::Master), old("c")];
        assert_eq!(tally.close(Voters::Acquisition, NodeSet::default(), false, || (nodes.to_vec(), now())), None);
        tally.record(2, GRANTED, now, || None);
        let hearing = tally.hearing(Voters::Acquisition, true, || (nodes.to_vec(), now()));
        assert_eq!(hearing, Hearing::IsOver(Verdict::Refused), "one of three has granted it, and one has no vote");
        assert_eq!((tally.slot(), tally.granted().iter().collect::<Vec<_>>()), (Some(1), vec![2]));
    }

    #[test]
    fn of_permits_whoever_tells_nothing_of_the_slots_has_voted() {
        let mut tally = Tally::new(Quorum::of(3).unwrap(), None).for_slots(Some([0, 1].into()));
        let nodes = [old("a"), old("b"), old("c")];
        tally.record(0, Vote::Missing, now, || None);
        tally.record(1, GRANTED, now, || None);
        tally.record(2, slot(1), now, || None);
        assert!(matches!(
            tally.hearing(Voters::Acquisition, true, || (nodes.to_vec(), now())),
            Hearing::IsOver(Verdict::Refused | Verdict::Unreachable)
        ));
    }

    /// Two nodes that do not remember tokens grant, and have no mark of the fire; the third has.
    #[test]
    fn a_mark_that_is_heard_while_the_round_goes_on_counts() {
        let quorum = Quorum::of(3).unwrap();
        let terms =
            OnceTerms { retention: MARK_RETENTION, max_clock_skew: Duration::from_secs(60), in_doubt: InDoubt::Refuse };
        let question = FireQuestion { fire: Fire::counted(7).unwrap(), terms, clock: (now(), MARK_RETENTION) };
        let proposal = Proposal::new(Duration::from_secs(1 << 30), 0, quorum, FenceFallback::Refuse);
        let fence = Fence::propose(quorum, proposal, FenceFallback::Refuse);
        let mut tally = Tally::new(quorum, Some(fence)).for_fire(Some(Arc::new(question)));
        let nodes = || ([old("a"), old("b"), old("c")].to_vec(), now());
        let mut hear = |node, fire: Option<u64>| {
            let stored = fire.map(|fire| StoredMark { fire, token: 1 });
            let told = ToldMark { stored, left: Some(MARK_RETENTION / 2), age: MARK_RETENTION };
            let counter = Some(Counter::Forgotten);
            tally.record(node, Vote::Granted { counter, is_wanted: false, mark: Some(Box::new(told)) }, now, || None);
            let hearing = tally.hearing(Voters::Acquisition, node == 2, nodes);
            (hearing, tally.fire(Listening::GoesOn, nodes), tally.fire(Listening::IsOver, nodes))
        };
        let _ = hear(0, None);
        let (hearing, _, decision) = hear(1, None);
        assert_eq!((hearing, decision), (Hearing::GoesOn, Some(OnceDecision::Run)), "for its token");
        let (_, _, decision) = hear(2, Some(7));
        assert_eq!(decision, Some(OnceDecision::Spread { greatest: 7 }));
    }
}
