use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use super::{AttemptFailed, Engine, FireRefusal, PermitsRefused};
use crate::error::NodeFailures;
use crate::node::{Delivery, Reply};
use crate::observe::NodeStanding;
use crate::platform::clock;
use crate::protocol::{Hearing, NodeSet, NodeStatus, Objection, Standing, Tally, Verdict, Voters};
use crate::shown::rounded;
use crate::values::keys::Keys;

/// What is heard in a round: the votes as they are counted, and for people why nodes have none.
pub(super) struct Heard {
    /// The key that the votes are about.
    pub(super) key: Arc<str>,
    /// The votes.
    pub(super) tally: Tally,
    /// What the nodes that did not vote said.
    pub(super) failures: NodeFailures,
    /// The nodes that cannot do what is asked, as they are.
    pub(super) incapable: NodeSet,
    /// See [`AttemptFailed::was_cut_short`].
    pub(super) was_cut_short: bool,
}

impl Heard {
    pub(super) fn nothing(key: &Arc<str>, tally: Tally) -> Self {
        Self {
            key: Arc::clone(key),
            tally,
            failures: NodeFailures::default(),
            incapable: NodeSet::default(),
            was_cut_short: false,
        }
    }

    /// Counts a reply.
    pub(super) fn record(&mut self, engine: &Engine, node: usize, reply: Reply) {
        if let Reply::Failed(failure) = &reply {
            self.failures.push(engine.nodes[node].label(), &*failure.reason);
            if failure.delivery == Delivery::Incapable {
                self.incapable.insert(node);
            }
        }
        engine.look_at_reply(node, &reply);
        let node_clock = || engine.nodes[node].known(&self.key).server_info()?.clock(clock::now());
        self.tally.record(node, reply.into_vote(), clock::now, node_clock);
        self.tell_objections(engine);
    }

    /// What comes of the round with what was heard.
    pub(super) fn hearing(&mut self, engine: &Engine, voters: Voters, all_have_answered: bool) -> Hearing {
        let hearing = self.tally.hearing(voters, all_have_answered, || engine.look_at_nodes(&self.key));
        self.tell_objections(engine);
        if voters == Voters::Acquisition && engine.observers.is_somebody() {
            engine.look_who_came_of_age(&self.key);
        }
        hearing
    }

    /// The verdict when the time is over.
    pub(super) fn close(
        &mut self,
        engine: &Engine,
        voters: Voters,
        late: NodeSet,
        is_cut_short: bool,
    ) -> Option<Verdict> {
        self.was_cut_short = is_cut_short;
        let verdict = self.tally.close(voters, late, is_cut_short, || engine.look_at_nodes(&self.key));
        self.tell_objections(engine);
        verdict
    }

    fn tell_objections(&mut self, engine: &Engine) {
        for (node, objection) in self.tally.take_objections() {
            match objection {
                Objection::Young(_) => engine.observers.stands(node, NodeStanding::Young),
                Objection::Replica => engine.observers.stands(node, NodeStanding::Replica),
                Objection::ConfiguredTwice(_) => engine.observers.stands(node, NodeStanding::SameServer),
                Objection::NoCounter(_) | Objection::PerhapsYoung | Objection::ConnectionEnded => {}
            }
            self.failures.push(engine.nodes[node].label(), engine.describe(objection, &self.key));
        }
    }

    /// Says of each of these nodes why it cannot know of a fire.
    pub(super) fn tell_unknowing(&mut self, engine: &Engine, unknowing: NodeSet, retention: Option<Duration>) {
        for node in unknowing.iter() {
            let label = engine.nodes[node].label();
            if self.failures.iter().any(|failure| failure.node == label) {
                continue;
            }
            let age = engine.nodes[node].known(&self.key).server_info().map(|info| info.age(clock::now()).as_secs());
            let left = self.tally.marks().find(|(told, mark)| *told == node && mark.stored.is_some());
            let lives_longer = left.is_some_and(|(_, mark)| mark.left > retention);
            let reason = match age {
                Some(_) if lives_longer => "its mark of what was completed lives longer than `marks_retention` of this manager, so nobody knows \
                                            when it was written; use the same `marks_retention` in all processes"
                    .to_owned(),
                Some(age) if left.is_some() => format!(
                    "it has run for {age} s, and its mark was written before that, or with a shorter `marks_retention` than that of this \
                     manager, so it cannot know what was completed before"
                ),
                Some(age) => {
                    format!(
                        "it has run for {age} s and has no mark that was written since, so it cannot know what was completed before"
                    )
                }
                None => "it did not answer".to_owned(),
            };
            self.failures.push(label, reason);
        }
    }

    /// An attempt that ended with this about its fire.
    pub(super) fn into_refused(self, engine: &Engine, fire: FireRefusal) -> AttemptFailed {
        let verdict = match fire {
            FireRefusal::AlreadyRan { .. } => Verdict::Refused,
            FireRefusal::Spread { .. } | FireRefusal::Shown | FireRefusal::Doubt { .. } => Verdict::Unreachable,
        };
        AttemptFailed { fire: Some(Box::new(fire)), ..self.into_failed(engine, verdict) }
    }

    /// An attempt for a fire of a time that no clock of the nodes comes near.
    pub(super) fn into_failed_by_clock(self, engine: &Engine) -> AttemptFailed {
        let reason = "this machine's clock is ahead of all nodes' by more than twice `max_clock_skew` (without one, by half the period, or two hours): a fire that is completed now \
                      would block all others until that time; set this clock";
        AttemptFailed { misconfigured: Some(reason.to_owned()), ..self.into_failed(engine, Verdict::Unreachable) }
    }

    /// An attempt that was not won, for the key of this number if the lock has several.
    pub(super) fn into_failed_of(self, engine: &Engine, verdict: Verdict, part: u8) -> AttemptFailed {
        let Self { tally, failures, incapable, was_cut_short, .. } = self;
        let misconfigured = tally.twins().map(|(one, other)| {
            format!(
                "{} and {} are one and the same server; a majority counts independent nodes, so name each once",
                engine.nodes[one].label(),
                engine.nodes[other].label()
            )
        });
        // Without them no majority will ever answer, however long anybody waits.
        let incapable = incapable.iter().map(|node| engine.nodes[node].label());
        let incapable = incapable.filter_map(|label| failures.iter().find(|failure| failure.node == label));
        let misconfigured = misconfigured.or_else(|| {
            let told: Vec<_> = incapable.map(|failure| format!("{}: {}", failure.node, failure.reason)).collect();
            (told.len() > engine.quorum.spare() && verdict == Verdict::Unreachable).then(|| told.join("; "))
        });
        let (granted, counter) = (tally.granted().len(), tally.greatest_counter());
        let seen = tally.observations(part).collect();
        let permits = tally.slots().map(|slots| {
            let second_choice = slots.second_choice(engine.quorum);
            Box::new(PermitsRefused { second_choice, said: slots.others_say(engine.quorum) })
        });
        AttemptFailed { verdict, granted, failures, was_cut_short, seen, counter, misconfigured, fire: None, permits }
    }

    pub(super) fn into_failed(self, engine: &Engine, verdict: Verdict) -> AttemptFailed {
        self.into_failed_of(engine, verdict, 0)
    }
}

impl Engine {
    /// What is known about the nodes, and the moment at which it is looked at. Not an earlier one: who is old at a moment need not
    /// have been old a moment earlier.
    pub(super) fn look_at_nodes(&self, key: &str) -> (Vec<NodeStatus>, Instant) {
        let nodes = self.nodes.iter().map(|node| node.known(key)).collect();
        (nodes, clock::now())
    }

    /// For those who look: what this answer shows of a node.
    fn look_at_reply(&self, node: usize, reply: &Reply) {
        if !self.observers.is_somebody() {
            return;
        }
        let standing = match reply {
            Reply::Failed(failure) if failure.delivery == Delivery::NotSent && self.is_closed() => return,
            Reply::Failed(_) => NodeStanding::Unreachable,
            _ => NodeStanding::Votes,
        };
        // What answers need not vote by now.
        if standing == NodeStanding::Votes && self.answers_without_a_vote(node) {
            return;
        }
        self.observers.stands(node, standing);
    }

    /// For those who look: nodes that did not vote although they answered, and do by now.
    fn look_who_came_of_age(&self, key: &str) {
        if !(0..self.nodes.len()).any(|node| self.answers_without_a_vote(node)) {
            return;
        }
        let (nodes, now) = self.look_at_nodes(key);
        let electorate = Voters::Acquisition.electorate(now, nodes.iter().map(NodeStatus::server_info));
        let voting = (0..self.nodes.len()).filter(|node| electorate.standing(*node) == Standing::Votes);
        let voting = voting.filter(|node| self.answers_without_a_vote(*node));
        voting.for_each(|node| self.observers.stands(node, NodeStanding::Votes));
    }

    /// Whether it was told last that this node has no vote although it answers.
    fn answers_without_a_vote(&self, node: usize) -> bool {
        let told = self.observers.told_of(node);
        matches!(told, Some(NodeStanding::Young | NodeStanding::Replica | NodeStanding::SameServer))
    }

    /// For people.
    fn describe(&self, objection: Objection, key: &str) -> String {
        match objection {
            Objection::NoCounter(fault) => fault.about(&Keys::fence(key)),
            Objection::Replica => "it is a replica; name its master".to_owned(),
            Objection::ConfiguredTwice(other) => {
                format!("configured twice (same run_id as {})", self.nodes[other].label())
            }
            Objection::Young(votes_in) => {
                format!("it restarted and may have forgotten locks; it votes again in {}", rounded(votes_in))
            }
            Objection::PerhapsYoung => "it is young, and there was no time to look for older nodes".to_owned(),
            Objection::ConnectionEnded => "its connection ended after its vote".to_owned(),
        }
    }
}
