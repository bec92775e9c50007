//! What nodes and attempts do. Every decision is one of `redlock_runtime::protocol`.

use redlock_runtime::protocol::{Admission, Asker, Ballot, Mode, NodeSet, Occupancy, Quorum, Round, Verdict};

use super::plan::{Claim, READ, Rule, WRITTEN, World};
use super::state::{ATTEMPTS, Asked, Entry, Node, Phase, State};

impl<const NODES: usize> World<NODES> {
    /// A majority of them all.
    pub(super) fn quorum() -> Quorum {
        Quorum::of(NODES).expect("a few nodes")
    }

    /// What an attempt wants now.
    pub(super) fn claim(&self, state: &State<NODES>, attempt: usize) -> Claim {
        if state.phases[attempt] == Phase::Downgraded { Claim::READ } else { self.claims[attempt] }
    }

    /// What is on its way to a node for an attempt: what it wants, or what it held when that was to be set again.
    fn asked_for(&self, state: &State<NODES>, node: usize, attempt: usize) -> Claim {
        let is_late = state.nodes[node].asked[attempt] == Asked::Acquire;
        if is_late { self.claims[attempt] } else { self.claim(state, attempt) }
    }

    /// What an attempt that holds relies on.
    fn relies_on(&self, state: &State<NODES>, attempt: usize) -> Claim {
        if state.phases[attempt] == Phase::Downgraded && !self.keeps(Rule::StopsWritingFirst) {
            let is_read = |node: &&Node| node.entries[attempt].parts == READ;
            if state.nodes.iter().filter(is_read).count() < Self::quorum().needed() {
                return Claim::WRITE;
            }
        }
        self.claim(state, attempt)
    }

    /// Whether two hold what only one of them can.
    pub(super) fn is_held_twice(&self, state: &State<NODES>) -> bool {
        let holding = || (0..self.attempts()).filter(|attempt| state.phases[*attempt].is_held());
        let excludes =
            |one: usize, other: usize| one < other && self.relies_on(state, one).excludes(self.relies_on(state, other));
        holding().any(|one| holding().any(|other| excludes(one, other)))
    }

    /// What a node has that matters to an attempt and cannot be gone.
    fn occupancy(&self, state: &State<NODES>, node: usize, attempt: usize, claim: Claim) -> Occupancy {
        let others =
            state.nodes[node].entries.iter().enumerate().filter(|(other, entry)| {
                *other != attempt && entry.is_kept && self.keeps(Rule::EntriesOutliveValidity)
            });
        let parts = others.fold(0, |parts, (_, entry)| parts | entry.parts);
        match claim {
            Claim::Names(names) => Occupancy { is_written: parts & names != 0, ..Occupancy::default() },
            Claim::Of(mode) => Occupancy {
                is_written: parts & WRITTEN != 0 && (mode == Mode::Write || self.keeps(Rule::ReadersLookForWriters)),
                is_read: parts & READ != 0 && self.keeps(Rule::WritersLookForReaders),
                is_intended: false,
            },
        }
    }

    /// What a node sets if it is asked by an attempt, where all is gone that can be; nothing if it refuses.
    pub(super) fn grants(&self, state: &State<NODES>, node: usize, attempt: usize) -> u8 {
        let asks_again = state.nodes[node].asked[attempt] == Asked::Repair;
        let claim = self.asked_for(state, node, attempt);
        if asks_again && !self.keeps(Rule::RepairsLook) {
            return claim.parts();
        }
        let mode = if let Claim::Of(mode) = claim { mode } else { Mode::Write };
        let asker = if asks_again { Asker::Holds } else { Asker::Comes };
        match self.occupancy(state, node, attempt, claim).admit(mode, asker) {
            Admission::Granted => claim.parts(),
            Admission::Refused | Admission::RefusedByReaders if self.keeps(Rule::AllOrNothing) => 0,
            Admission::Refused | Admission::RefusedByReaders => {
                let others = state.nodes[node].entries.iter().enumerate().filter(|(other, _)| *other != attempt);
                claim.parts() & !others.fold(0, |parts, (_, entry)| parts | entry.parts)
            }
        }
    }

    /// Whether a node keeps a writer out because of readers, and he takes it for a grant.
    pub(super) fn mistakes_intent(&self, state: &State<NODES>, node: usize, attempt: usize) -> bool {
        let there = self.occupancy(state, node, attempt, Claim::WRITE);
        !self.keeps(Rule::IntentIsNoGrant)
            && self.claim(state, attempt) == Claim::WRITE
            && there.admit(Mode::Write, Asker::Comes) == Admission::RefusedByReaders
    }

    /// An attempt begins: before it reaches a node it might as well begin later.
    pub(super) fn begin(state: &mut State<NODES>, attempt: usize) {
        if state.phases[attempt] == Phase::NotBegun {
            state.phases[attempt] = Phase::Acquiring;
            for node in &mut state.nodes {
                if node.waits_for != 0 {
                    node.abstains_for |= 1 << attempt;
                }
            }
        }
    }

    /// Sets what a node grants to an attempt, in the place of what expired.
    pub(super) fn set(&self, state: &mut State<NODES>, node: usize, attempt: usize, parts: u8) {
        let claim = self.asked_for(state, node, attempt);
        for other in (0..self.attempts()).filter(|other| *other != attempt) {
            let entry = &mut state.nodes[node].entries[other];
            let is_in_the_way = match claim {
                Claim::Names(_) => entry.parts & parts != 0,
                Claim::Of(mode) => entry.parts & WRITTEN != 0 || mode == Mode::Write,
            };
            if is_in_the_way && !entry.is_kept {
                *entry = Entry::NONE;
            }
        }
        state.nodes[node].entries[attempt] = Entry { parts, is_kept: true };
    }

    /// A node's answer is heard, and decided on.
    pub(super) fn hear(&self, state: &mut State<NODES>, node: usize, attempt: usize) {
        let abstains = state.nodes[node].abstains_for & (1 << attempt) != 0 && self.keeps(Rule::Abstention);
        state.nodes[node].asked[attempt] = if abstains { Asked::Nothing } else { Asked::Voted };
        let mut round = Round::new(Self::quorum());
        for (node, asked) in state.nodes.iter().enumerate() {
            if asked.asked[attempt] == Asked::Voted {
                round.record(node, Ballot::Granted);
            }
        }
        let is_modest = self.claims[attempt] == Claim::READ && !self.keeps(Rule::ReadersNeedMajority);
        if round.verdict() == Some(Verdict::Won) || is_modest && !round.granted().is_empty() {
            state.phases[attempt] = Phase::Holding;
        }
    }

    /// The least majorities on which an attempt that holds can be extended, with all that it wants.
    pub(super) fn majorities(&self, state: &State<NODES>, attempt: usize) -> impl Iterator<Item = NodeSet> {
        let counts = |node: &Node| node.heard_by == 0 || !self.keeps(Rule::YoungCountInNoExtension);
        let wanted = self.claims[attempt].parts();
        let is_whole = move |entry: Entry| entry.parts == wanted || entry.parts == READ && wanted == WRITTEN;
        let extensible = move |node: usize| {
            let node = &state.nodes[node];
            is_whole(node.entries[attempt]) && counts(node)
        };
        let sets = (0..1_u32 << NODES).map(|bits| (0..NODES).filter(|node| bits & (1 << node) != 0).collect());
        sets.filter(move |set: &NodeSet| set.len() == Self::quorum().needed() && set.iter().all(&extensible))
    }

    /// A majority extends what an attempt holds; elsewhere its entries live no longer than they did, and where there is none it is
    /// to be set again.
    pub(super) fn extend(&self, state: &mut State<NODES>, attempt: usize, majority: NodeSet) {
        let parts = self.claim(state, attempt).parts();
        for (index, node) in state.nodes.iter_mut().enumerate() {
            node.waits_for &= !(1 << attempt);
            let entry = &mut node.entries[attempt];
            if majority.contains(index) {
                *entry = Entry { parts, is_kept: true };
            } else if *entry == Entry::NONE {
                node.asked[attempt] = Asked::Repair;
            } else {
                entry.is_kept = false;
            }
        }
    }

    /// An attempt ends, and what stands for it may be gone at any moment.
    pub(super) fn end(&self, state: &mut State<NODES>, attempt: usize) {
        state.phases[attempt] = Phase::Over;
        for node in &mut state.nodes {
            if node.entries[attempt].parts == READ && !self.keeps(Rule::ReadersExpireOneByOne) {
                let readers = node.entries.iter_mut().filter(|entry| entry.parts == READ);
                readers.for_each(|entry| entry.is_kept = false);
            }
            node.entries[attempt] = Entry::NONE;
            node.waits_for &= !(1 << attempt);
        }
    }

    /// A node restarts empty.
    pub(super) fn restart(&self, state: &mut State<NODES>, node: usize) {
        let are = |is_so: fn(Phase) -> bool| {
            let attempts = (0..self.attempts()).filter(|attempt| is_so(state.phases[*attempt]));
            attempts.fold(0, |bits, attempt| bits | 1 << attempt)
        };
        let under_way = are(Phase::is_under_way);
        let asking = are(|phase| phase == Phase::Acquiring);
        state.restarts -= 1;
        let restarted = &mut state.nodes[node];
        restarted.entries = [Entry::NONE; ATTEMPTS];
        restarted.has_restarted = true;
        restarted.waits_for = under_way;
        restarted.abstains_for = under_way;
        restarted.heard_by = asking;
    }
}
