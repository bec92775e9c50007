//! What is explored, and which rules are kept.

use redlock_runtime::protocol::FenceFallback;

/// What is explored.
#[derive(Clone, Debug)]
pub(super) struct World {
    /// How many attempts each client makes, one after the other.
    pub(super) clients: &'static [usize],
    /// How many tokens each client reserves for those who follow its attempt within its process, besides its own; all of them are given.
    pub(super) rooms: &'static [u64],
    /// The clocks that an attempt may have, in microseconds; with one value for all, nothing but the counters can help.
    pub(super) clocks: &'static [u8],
    /// How many answers may be lost, or requests late; `u8::MAX` for all of them. A request that never arrives costs nothing: events need not happen.
    pub(super) losses: u8,
    /// Whether one more attempt is made, which one node grants, and whose answer is never heard.
    pub(super) lost_round: bool,
    /// Whether one node may restart empty.
    pub(super) restarts: bool,
    /// What to do without evidence.
    pub(super) doubt: FenceFallback,
    /// Which rules are kept.
    pub(super) rules: Rules,
}

/// The rules of fencing, each of which can be broken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// What is done with a token that has to be committed.
    pub(super) commit: Commit,
    /// Whether a node compares the owner before it commits.
    pub(super) compares_owner: bool,
    /// Whether only a counter that is equal to the token confirms it.
    pub(super) confirms_equal: bool,
    /// Where room for a block of tokens is left.
    pub(super) room: Room,
    /// What a node does that restarted empty.
    pub(super) forgetting: Forgetting,
    /// Whether a node that restarted abstains while somebody is under way who began before.
    pub(super) abstains: bool,
}

/// What is done with a token that has to be committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Commit {
    /// A majority confirms it.
    Confirmed,
    /// It is sent, and nobody waits for an answer.
    Sent,
    /// The greatest answer is taken at once.
    None,
}

/// Where room for a block of tokens is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// In each counter that a grant raises, and below a token that is committed.
    Left,
    /// Not in the counters.
    NotByGrants,
    /// Not below a token that is committed.
    NotByCommits,
}

/// What a node does that restarted empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Forgetting {
    /// It says that it forgot, and creates no counter with a grant.
    Told,
    /// It says so, but creates one, which later rounds take for evidence.
    Planted,
    /// It does not say so.
    Denied,
}

impl Rules {
    /// All rules as they are.
    pub(super) const KEPT: Self = Self {
        commit: Commit::Confirmed,
        compares_owner: true,
        confirms_equal: true,
        room: Room::Left,
        forgetting: Forgetting::Told,
        abstains: true,
    };
}

impl World {
    /// How many attempts may get a token.
    pub(super) fn attempts(&self) -> usize {
        self.clients.iter().sum()
    }

    /// The attempt that is lost.
    pub(super) fn lost_round(&self) -> Option<usize> {
        self.lost_round.then(|| self.attempts())
    }

    /// How many tokens an attempt reserves besides its own. One that is lost may have reserved as many as any other.
    pub(super) fn room(&self, attempt: usize) -> u64 {
        if attempt == self.attempts() {
            return self.rooms.iter().copied().max().unwrap_or(0);
        }
        self.rooms[self.predecessor(attempt).0]
    }

    /// Whether it does not matter which of them is which.
    pub(super) fn are_alike(&self, client: usize, other: usize) -> bool {
        self.clients[client] == self.clients[other] && self.rooms[client] == self.rooms[other]
    }

    /// The client whose attempt this is, and the attempt before it if it is not the first.
    pub(super) fn predecessor(&self, attempt: usize) -> (usize, Option<usize>) {
        let mut first = 0;
        for (client, attempts) in self.clients.iter().enumerate() {
            if attempt < first + attempts {
                return (client, (attempt > first).then(|| attempt - 1));
            }
            first += attempts;
        }
        panic!("there is no such attempt");
    }
}
