//! What is explored, and which rule is broken.

use redlock_runtime::protocol::Mode;

/// What is explored, on so many nodes.
#[derive(Clone, Debug)]
pub(super) struct World<const NODES: usize> {
    /// What each attempt wants.
    pub(super) claims: &'static [Claim],
    /// How many restarts there may be, of different nodes.
    pub(super) restarts: u8,
    /// Whether writers may become readers.
    pub(super) downgrades: bool,
    /// Which rule is broken.
    pub(super) broken: Option<Rule>,
}

/// What somebody wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// A lock that readers can share.
    Of(Mode),
    /// Locks of several names at once, as bits.
    Names(u8),
}

/// A rule, which can be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// A writer is granted the lock where no reader has it.
    WritersLookForReaders,
    /// A reader is granted the lock where no writer has it.
    ReadersLookForWriters,
    /// A reader needs a majority.
    ReadersNeedMajority,
    /// Each reader's entry expires by itself.
    ReadersExpireOneByOne,
    /// An entry lives as long as its owner believes, whatever the clocks of both say.
    EntriesOutliveValidity,
    /// An intent is no grant.
    IntentIsNoGrant,
    /// An entry that a node lost is set again where it could be granted.
    RepairsLook,
    /// A writer stops writing before he becomes a reader.
    StopsWritingFirst,
    /// A node that restarted abstains while somebody is under way who began before.
    Abstention,
    /// It counts in no extension while somebody asks who may have heard it before.
    YoungCountInNoExtension,
    /// A node grants all of several names or none.
    AllOrNothing,
}

impl Claim {
    pub(super) const READ: Self = Self::Of(Mode::Read);
    pub(super) const WRITE: Self = Self::Of(Mode::Write);

    /// What stands on a node for it, as bits: a writer's entry and a reader's, or one for each name.
    pub(super) fn parts(self) -> u8 {
        match self {
            Self::Of(Mode::Write) => WRITTEN,
            Self::Of(Mode::Read) => READ,
            Self::Names(names) => names,
        }
    }

    /// Whether two cannot have at once what they want.
    pub(super) fn excludes(self, other: Self) -> bool {
        match (self, other) {
            (Self::Of(mode), Self::Of(other)) => mode.excludes(other),
            (Self::Names(names), Self::Names(other)) => names & other != 0,
            (Self::Of(_), Self::Names(_)) | (Self::Names(_), Self::Of(_)) => false,
        }
    }
}

/// A writer's entry.
pub(super) const WRITTEN: u8 = 1;

/// A reader's entry.
pub(super) const READ: u8 = 2;

impl<const NODES: usize> World<NODES> {
    /// How many attempts there are.
    pub(super) fn attempts(&self) -> usize {
        self.claims.len()
    }

    /// Whether a rule is kept.
    pub(super) fn keeps(&self, rule: Rule) -> bool {
        self.broken != Some(rule)
    }
}
