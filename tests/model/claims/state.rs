//! Everything at one moment, in as few bytes as it takes.

/// How many attempts there can be.
pub(super) const ATTEMPTS: usize = 4;

/// Everything at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct State<const NODES: usize> {
    /// The nodes and what passed between them and the attempts, sorted: it does not matter which node is which.
    pub(super) nodes: [Node; NODES],
    /// The attempts.
    pub(super) phases: [Phase; ATTEMPTS],
    /// How many more nodes may restart.
    pub(super) restarts: u8,
}

/// A node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Node {
    /// What stands there for each attempt.
    pub(super) entries: [Entry; ATTEMPTS],
    /// Whether it restarted empty.
    pub(super) has_restarted: bool,
    /// The attempts that were under way then, still are, and were not renewed since, as bits.
    pub(super) waits_for: u8,
    /// The attempts in which it abstains, as bits.
    pub(super) abstains_for: u8,
    /// The attempts that asked before it restarted and have not decided yet, as bits.
    pub(super) heard_by: u8,
    /// What passes between it and each attempt.
    pub(super) asked: [Asked; ATTEMPTS],
}

/// What stands on a node for an attempt that is under way or holds. What stands there for others may be gone at any moment, and so
/// it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Entry {
    /// Which parts of what it wants, as bits.
    pub(super) parts: u8,
    /// Whether it lives as long as the validity. Else it may be gone at any moment: an extension has not reached it.
    pub(super) is_kept: bool,
}

/// What passes between a node and an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Asked {
    /// The acquire is on its way, or will be.
    Acquire,
    /// It was granted, that was heard, and it counts.
    Voted,
    /// The entry is to be set again.
    Repair,
    /// Nothing will pass any more.
    Nothing,
}

/// How far an attempt is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Phase {
    NotBegun,
    Acquiring,
    /// It is held.
    Holding,
    /// It is held by a writer who became a reader.
    Downgraded,
    /// It was given up or released, its process died, or its validity is over.
    Over,
}

impl<const NODES: usize> State<NODES> {
    /// How many hold what they want.
    pub(super) fn held(&self) -> usize {
        self.phases.iter().filter(|phase| phase.is_held()).count()
    }
}

impl Entry {
    pub(super) const NONE: Self = Self { parts: 0, is_kept: false };
}

impl Phase {
    pub(super) fn is_held(self) -> bool {
        matches!(self, Self::Holding | Self::Downgraded)
    }

    /// Whether its entries do not expire.
    pub(super) fn is_under_way(self) -> bool {
        self == Self::Acquiring || self.is_held()
    }
}
