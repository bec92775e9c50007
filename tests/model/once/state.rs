//! Everything at one moment, in as few bytes as it takes.

/// How many nodes there are.
pub(super) const NODES: usize = 3;

/// How many attempts there can be.
pub(super) const ATTEMPTS: usize = 3;

/// Everything at one moment. Fires are small numbers, and zero is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct State {
    /// The nodes and what passed between them and the attempts, sorted: it does not matter which node is which.
    pub(super) nodes: [Node; NODES],
    /// The attempts.
    pub(super) attempts: [Attempt; ATTEMPTS],
    /// What the clock says, in ticks.
    pub(super) time: u8,
    /// How many more answers may be lost, or requests late.
    pub(super) losses: u8,
    /// How many more nodes may restart.
    pub(super) restarts: u8,
    /// The greatest fire that was told to be completed.
    pub(super) completed: u8,
    /// The fires whose bodies started, as bits.
    pub(super) started: u16,
    /// What went wrong.
    pub(super) fault: Option<Fault>,
}

/// What can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Fault {
    /// A fire starts that was told to be completed.
    RunsAgain,
    /// A fire starts twice although it was marked before it did.
    StartsTwice,
}

/// A node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Node {
    /// Who has the lock's key.
    pub(super) key: Key,
    /// The greatest fire that was completed, as far as it knows.
    pub(super) mark: u8,
    /// The marks that it had, as bits, as far as it may come back with them.
    pub(super) had: u8,
    /// Whether it came back with its mark.
    pub(super) is_restored: bool,
    /// Whether the mark expires with what was written before.
    pub(super) expires_early: bool,
    /// When it restarted.
    pub(super) restarted: Option<u8>,
    /// The attempts that were under way then, still are, and were not renewed since, as bits.
    pub(super) waits_for: u8,
    /// The attempts in which it abstains, as bits.
    pub(super) abstains_for: u8,
    /// What passed between it and each attempt.
    pub(super) asked: [Asked; ATTEMPTS],
}

/// Who has the lock's key on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Key {
    /// Nobody.
    Missing,
    /// An attempt's that is over, and sends nothing to the node any more.
    Foreign,
    /// This attempt's.
    Of(u8),
}

/// What passed between a node and an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Asked {
    /// The acquire is on its way, or will be, and behind it the completion if so.
    Acquire { is_completed: bool },
    /// The mark was read; the acquire is on its way.
    Read { told: Told },
    /// It was granted.
    Granted {
        /// The answer, if it was heard.
        heard: Option<Told>,
        /// Whether the node may vote.
        votes: bool,
    },
    /// It was refused, and that was heard.
    Refused { told: Told },
    /// The completion is on its way.
    Complete,
    /// The node has answered a completion, which was not heard.
    Lost,
    /// The completion was confirmed, and that was heard.
    Confirmed,
    /// Nothing will pass any more.
    Nothing,
}

/// What a node told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Told {
    /// Its mark.
    pub(super) mark: u8,
    /// Whether that was evidence.
    pub(super) is_evidence: bool,
}

/// An attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Attempt {
    /// How far it is.
    pub(super) phase: Phase,
    /// What it wants to run.
    pub(super) fire: u8,
    /// How far its clock is ahead.
    pub(super) ahead: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Phase {
    NotBegun,
    Acquiring,
    /// The body runs, and the lock is held.
    Running,
    /// A mark is written.
    Completing {
        mark: u8,
        why: Why,
        /// The validity is over, which matters to nobody.
        is_over: bool,
    },
    /// It decides nothing any more; `mark` may still be on its way.
    Over {
        mark: u8,
    },
}

/// Why a mark is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Why {
    /// The body has ended.
    Ended,
    /// The body shall start.
    Starts,
    /// A minority shows the mark.
    Repair,
}

impl Phase {
    /// Whether a vote that comes now is asked to mark, as those are that came before. The key of what is about to start is not
    /// released, so nothing is sent behind late answers.
    pub(super) fn hears_late_votes(self) -> bool {
        matches!(self, Self::Completing { why: Why::Ended | Why::Repair, is_over: false, .. })
    }
}

impl Attempt {
    /// One that no node has heard of.
    pub(super) const NONE: Self = Self { phase: Phase::NotBegun, fire: 0, ahead: 0 };
}

impl Told {
    /// What does not matter any more.
    pub(super) const FORGOTTEN: Self = Self { mark: 0, is_evidence: false };
}

impl State {
    /// Whether an attempt holds a lock or may yet get one: its keys do not expire.
    pub(super) fn is_valid(&self, attempt: usize) -> bool {
        match self.attempts[attempt].phase {
            Phase::Acquiring | Phase::Running => true,
            Phase::Completing { is_over, .. } => !is_over,
            Phase::NotBegun | Phase::Over { .. } => false,
        }
    }

    /// The attempt decides nothing any more; what it sent may still arrive.
    pub(super) fn end(&mut self, attempt: usize) {
        let mark = match self.attempts[attempt].phase {
            Phase::Completing { mark, .. } => mark,
            _ => 0,
        };
        self.attempts[attempt] = Attempt { phase: Phase::Over { mark }, ..Attempt::NONE };
        self.wait_no_more(attempt);
        for node in &mut self.nodes {
            node.abstains_for &= !(1 << attempt);
            node.asked[attempt] = match node.asked[attempt] {
                Asked::Read { .. } => Asked::Acquire { is_completed: false },
                asked @ (Asked::Acquire { .. } | Asked::Complete) => asked,
                _ => Asked::Nothing,
            };
        }
    }

    /// Nodes that restarted vote again in attempts that begin later, as far as they abstained because of this one.
    pub(super) fn wait_no_more(&mut self, attempt: usize) {
        for node in &mut self.nodes {
            node.waits_for &= !(1 << attempt);
        }
    }

    /// Uses up one of the losses, unless they are without end.
    pub(super) fn lose(&mut self) {
        if self.losses != u8::MAX {
            self.losses -= 1;
        }
    }
}

/// The model's numbers are small.
pub(super) fn narrow(number: usize) -> u8 {
    u8::try_from(number).expect("the model's numbers are small")
}
