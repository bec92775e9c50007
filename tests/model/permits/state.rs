//! Everything at one moment, in as few bytes as it takes.

/// How many nodes there are.
pub(super) const NODES: usize = 3;

/// How many clients there can be.
pub(super) const CLIENTS: usize = 4;

/// How many permits there can be.
pub(super) const PERMITS: usize = 2;

/// Everything at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct State {
    /// The nodes and what passed between them and the clients, sorted: it does not matter which node is which.
    pub(super) nodes: [Node; NODES],
    /// The clients.
    pub(super) clients: [Phase; CLIENTS],
    /// How many more answers may be lost, or keys be in the way that somebody left.
    pub(super) losses: u8,
    /// How many more nodes may restart.
    pub(super) restarts: u8,
}

/// A node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Node {
    /// Who has the key of each permit.
    pub(super) slots: [Key; PERMITS],
    /// Whether it restarted empty.
    pub(super) has_restarted: bool,
    /// The clients that were under way then and still are, as bits.
    pub(super) waits_for: u8,
    /// The clients for whom it abstains, as bits.
    pub(super) abstains_for: u8,
    /// What passed between it and each client.
    pub(super) asked: [Asked; CLIENTS],
}

/// Who has a key on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Key {
    /// Nobody who needs it; there may be one that somebody left.
    Idle,
    /// This client, who may need it.
    Of(u8),
}

/// What passed between a node and a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Asked {
    /// A request is on its way; whether one before it was granted the very permit that this one is about.
    Waiting { had: bool },
    /// It was answered, and that was heard.
    Answered {
        /// Which permit was granted.
        granted: Option<u8>,
        /// Which were free before, as bits.
        free: u8,
        /// Whether the node may vote.
        votes: bool,
        /// Whether the request before this one was granted the very permit that this one is about.
        had: bool,
    },
    /// Nothing will pass any more.
    Nothing,
}

/// How far a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Phase {
    NotBegun,
    /// It asks for any permit, this one first.
    AsksForAny {
        first: u8,
    },
    /// It asks for this one alone.
    AsksForOne {
        slot: u8,
    },
    /// It has this one.
    Holds {
        slot: u8,
        is_second_choice: bool,
    },
    /// It decides nothing any more.
    Over,
}

impl State {
    /// Whether a client has a permit or may yet get one: its keys do not expire.
    pub(super) fn is_valid(&self, client: usize) -> bool {
        !matches!(self.clients[client], Phase::NotBegun | Phase::Over)
    }

    /// The permits that are held.
    pub(super) fn held(&self) -> impl Iterator<Item = u8> {
        self.clients.iter().filter_map(|client| match client {
            Phase::Holds { slot, .. } => Some(*slot),
            _ => None,
        })
    }
}

/// The model's numbers are small.
pub(super) fn narrow(number: usize) -> u8 {
    u8::try_from(number).expect("the model's numbers are small")
}
