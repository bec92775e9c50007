use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use super::{AttemptFailed, InFlight};
use crate::error::NodeFailures;
use crate::node::{NodeStatus, Reply, Voter};
use crate::platform::clock;
use crate::protocol::{
    Ballot, Counter, Electorate, Fence, Fencing, Listening, NodeObservation, NodeSet, OthersKey, Quorum, Rivals, Round,
    ServerInfo, Standing, Verdict,
};
use crate::rules::{Rule, holds};
use crate::values::keys::Keys;

/// Whose votes count in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Voters {
    /// Those of all nodes: the node itself compares the owner.
    All,
    /// Those of the [`Electorate`]: a node that restarted may have forgotten to whom it granted the lock.
    Electorate,
    /// Those of the [electorate of an extension](Electorate::of_extension): somebody may have heard another server in its place.
    Extension,
}

/// What was heard in a round.
pub(super) struct Heard {
    /// The key that the votes are about.
    pub(super) key: Arc<str>,
    /// The votes.
    pub(super) round: Round,
    /// What the nodes that did not vote said.
    pub(super) failures: NodeFailures,
    /// Another owner's key, where a node refused for it.
    held: Vec<(usize, OthersKey)>,
    /// For whom nodes refused.
    rivals: Rivals,
    /// How many nodes have no key.
    missing: usize,
    /// How the lock gets its fencing token, if it gets one.
    pub(super) fence: Option<Fence>,
    /// Whether a node that granted the lock said that another process waits for it.
    pub(super) is_wanted: bool,
    /// See [`AttemptFailed::was_cut_short`].
    pub(super) was_cut_short: bool,
    /// See [`AttemptFailed::misconfigured`].
    pub(super) misconfigured: Option<String>,
}

/// The precision with which Redis expires keys. One of which nothing is left, in whole milliseconds, has up to so much.
///
/// It is not added to what is left of others: timers are late by about as much, and to ask once too often costs less.
const EXPIRY_PRECISION: Duration = Duration::from_millis(1);

impl Heard {
    pub(super) fn nothing(quorum: Quorum, key: &Arc<str>) -> Self {
        Self {
            key: Arc::clone(key),
            round: Round::new(quorum),
            failures: NodeFailures::default(),
            held: Vec::new(),
            rivals: Rivals::default(),
            missing: 0,
            fence: None,
            is_wanted: false,
            was_cut_short: false,
            misconfigured: None,
        }
    }

    /// Counts a reply.
    pub(super) fn note(&mut self, node: usize, voter: &dyn Voter, reply: Reply) {
        let told = match reply {
            Reply::Granted { counter, .. } | Reply::NotOurs { counter, .. } => counter,
            Reply::Done | Reply::Missing | Reply::Failed(_) => None,
        };
        if let Err(reason) = self.merge(node, voter, told) {
            self.failures.push(voter.label(), reason);
            self.round.record(node, Ballot::Failed);
            return;
        }
        let ballot = match reply {
            Reply::Done => Ballot::Granted,
            Reply::Granted { is_wanted, .. } => {
                self.is_wanted |= is_wanted;
                Ballot::Granted
            }
            Reply::NotOurs { owner, remaining, .. } => {
                if let Some(owner) = &owner {
                    self.rivals.note(owner);
                }
                // A moment that there is not is as good as none.
                let expires = remaining.and_then(|remaining| clock::now().checked_add(remaining.max(EXPIRY_PRECISION)));
                self.held.push((node, OthersKey { owner: owner.as_deref().map(hash_of), expires }));
                Ballot::Refused
            }
            Reply::Missing => {
                self.missing += 1;
                Ballot::Refused
            }
            Reply::Failed(failure) => {
                self.failures.push(voter.label(), &*failure.reason);
                Ballot::Failed
            }
        };
        self.round.record(node, ballot);
    }

    /// Takes in the fencing counter that a node told, if it can be one.
    fn merge(&mut self, node: usize, voter: &dyn Voter, counter: Option<Counter>) -> Result<(), String> {
        let (Some(fence), Some(counter)) = (&mut self.fence, counter) else { return Ok(()) };
        if let Some(number) = counter.number() {
            let node_clock = || match voter.known(&self.key) {
                NodeStatus::Introduced(server_info) => server_info.clock(clock::now()),
                NodeStatus::Connecting | NodeStatus::Unreachable => None,
            };
            fence.proposal().believe(number, node_clock).map_err(|fault| fault.about(&Keys::fence(&self.key)))?;
        }
        fence.merge(node, counter);
        Ok(())
    }

    /// How a round that was won gets its fencing token; `None` if it gets none.
    pub(super) fn fencing(&self, listening: Listening) -> Option<Fencing> {
        self.fence.as_ref().map(|fence| fence.decide(self.round.granted(), listening))
    }

    /// What to do with what was heard.
    pub(super) fn next(&mut self, voters: Voters, nodes: &[Arc<dyn Voter>], in_flight: &[InFlight]) -> Next {
        let verdict = self.round.verdict();
        let is_uncertain = voters != Voters::All
            && matches!(verdict, Some(Verdict::Won | Verdict::Refused))
            && self.check_voters(voters, nodes) == Age::Uncertain;
        match self.round.verdict() {
            Some(verdict) if in_flight.is_empty() => Next::Decide(verdict),
            Some(verdict) if is_uncertain => Next::DecideSoon(verdict),
            Some(Verdict::Won) if self.fencing(Listening::GoesOn) == Some(Fencing::Listen) => Next::Listen,
            // Nobody is slowed by listening on, and the error can say how many nodes answered.
            None | Some(Verdict::Unreachable) => Next::Listen,
            Some(verdict) => Next::Decide(verdict),
        }
    }

    /// The time is over: whoever has not been reached by now cannot be, unless the caller's own time was short.
    pub(super) fn close(&mut self, voters: Voters, nodes: &[Arc<dyn Voter>], is_cut_short: bool) {
        if voters != Voters::All && self.check_voters(voters, nodes) == Age::Uncertain && is_cut_short {
            for node in self.round.granted().iter() {
                self.round.strike(node);
                self.failures.push(nodes[node].label(), "it is young, and there was no time to look for older nodes");
            }
        }
    }

    /// Takes back the votes of nodes that may not vote.
    fn check_voters(&mut self, voters: Voters, nodes: &[Arc<dyn Voter>]) -> Age {
        let is_extension = voters == Voters::Extension;
        if is_extension && !holds(Rule::YoungCountInNoExtension) {
            return Age::Certain;
        }
        // There is nobody who could know better.
        if nodes.len() == 1 {
            return Age::Certain;
        }
        let known: Vec<_> = nodes.iter().map(|node| node.known(&self.key)).collect();
        // Not before: who is old at a moment need not have been old a moment earlier.
        let now = clock::now();
        let server_info = known.iter().map(|known| match known {
            NodeStatus::Introduced(server_info) => Some(&**server_info),
            NodeStatus::Connecting | NodeStatus::Unreachable => None,
        });
        let electorate = if is_extension {
            Electorate::of_extension(now, server_info.clone())
        } else {
            Electorate::of(now, server_info.clone())
        };
        let time_left = |server_info: &ServerInfo| {
            if is_extension { server_info.counts_in(now) } else { server_info.grows_in(now) }
        };
        if let Some((one, other)) = electorate.same_server().filter(|_| holds(Rule::OneVoteAServer)) {
            self.misconfigured = Some(format!(
                "{} and {} are one and the same server; a majority counts independent nodes, so name each once",
                nodes[one].label(),
                nodes[other].label()
            ));
        }
        if electorate.voters().len() == nodes.len() {
            return Age::Certain;
        }
        for (node, voter) in nodes.iter().enumerate() {
            let has_granted = self.round.granted().contains(node);
            let has_refused = self.round.refused().contains(node);
            let reason = match electorate.standing(node) {
                Standing::Young | Standing::Unknown if !holds(Rule::Abstention) => continue,
                Standing::SameServer if !holds(Rule::OneVoteAServer) => continue,
                Standing::Replica if has_granted || has_refused => "it is a replica; name its master".to_owned(),
                Standing::SameServer if has_granted || has_refused => "it stands at two positions".to_owned(),
                Standing::Young if has_granted => {
                    let votes_in = server_info.clone().nth(node).flatten().map(time_left);
                    let votes_in = votes_in.unwrap_or_default();
                    format!("it restarted and may have forgotten locks; it votes again in {votes_in:?}")
                }
                Standing::Unknown if has_granted => "its connection ended behind its vote".to_owned(),
                // Whoever is young may still know that somebody else holds the lock.
                Standing::Votes | Standing::Young | Standing::Unknown | Standing::Replica | Standing::SameServer => {
                    continue;
                }
            };
            self.round.strike(node);
            self.failures.push(voter.label(), reason);
        }
        // Young nodes vote while no older one can be reached: one that is about to be reached may be older.
        let not_yet: NodeSet = known
            .iter()
            .enumerate()
            .filter(|(_, known)| matches!(known, NodeStatus::Connecting))
            .map(|(node, _)| node)
            .collect();
        let has_young_voter = server_info.enumerate().any(|(node, server_info)| {
            let is_young = server_info.is_some_and(|server_info| !time_left(server_info).is_zero());
            is_young && self.round.granted().contains(node)
        });
        if has_young_voter && !not_yet.is_empty() { Age::Uncertain } else { Age::Certain }
    }

    /// The verdict on an attempt to acquire: whether a refusal means that somebody holds the lock.
    pub(super) fn classify_acquire(&self, verdict: Verdict, quorum: Quorum) -> Verdict {
        let is_split = verdict == Verdict::Refused && !self.rivals.has_holder(quorum);
        if is_split { Verdict::Split } else { verdict }
    }

    /// The verdict on an attempt to take a lock over: whether a refusal means that its owner does not have it any more.
    pub(super) fn classify_adoption(&self, verdict: Verdict, quorum: Quorum) -> Verdict {
        let is_split = verdict == Verdict::Refused && !self.rivals.rule_out(self.missing, quorum);
        if is_split { Verdict::Split } else { verdict }
    }

    /// The verdict on an extension or a release: nodes that never held the key refuse too, so only a majority of them
    /// says that it is not this owner's.
    pub(super) fn classify_owner_op(&self, verdict: Verdict, quorum: Quorum) -> Verdict {
        let is_told = self.round.refused().len() >= quorum.needed();
        if verdict == Verdict::Refused && !is_told { Verdict::Unreachable } else { verdict }
    }

    pub(super) fn into_failed(self, verdict: Verdict) -> AttemptFailed {
        let Self { round, failures, held, fence, was_cut_short, misconfigured, .. } = self;
        let counter = fence.map_or(0, |fence| fence.seen());
        let given_back = round.granted().iter().map(|node| (node, NodeObservation::GivenBack));
        let silent = round.failed().iter().map(|node| (node, NodeObservation::Unknown));
        let held = held.into_iter().map(|(node, sighting)| (node, NodeObservation::Held(sighting)));
        let seen = given_back.chain(silent).chain(held).collect();
        AttemptFailed { verdict, granted: round.granted().len(), failures, was_cut_short, seen, counter, misconfigured }
    }
}

/// Tells one owner's value from another's.
fn hash_of(owner: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    owner.hash(&mut hasher);
    hasher.finish()
}

/// What to do with what was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Next {
    /// Listen on.
    Listen,
    /// The verdict is this, unless a node that is just being connected to turns out to be old. Its connection has the time
    /// of a reply; whoever cannot be connected to within that cannot be reached.
    DecideSoon(Verdict),
    /// The verdict is this.
    Decide(Verdict),
}

/// Whether the votes of young nodes can be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Age {
    /// Nothing that may still be learnt changes who votes.
    Certain,
    /// An older node may be about to be reached.
    Uncertain,
}
