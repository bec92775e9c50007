//! The votes of nodes that may not vote.

use std::borrow::Borrow;

use super::{Objection, Seen, Tally};
use crate::protocol::{NodeStatus, ServerInfo, Standing, Voters};
use crate::rules::{Rule, holds};

/// Whether the votes of young nodes can be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ages {
    /// Nothing that may still be learnt changes who votes.
    Certain,
    /// An older node may be about to be reached.
    Uncertain,
}

impl Tally {
    /// Takes back the votes of nodes that may not vote.
    pub(super) fn strike<T: Borrow<Seen>>(&mut self, voters: Voters, look: impl FnOnce() -> T) -> Ages {
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
}
