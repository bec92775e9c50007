//! Everything at one moment, in as few bytes as it takes.

use redlock_runtime::protocol::{Counter, TokenBlock};

/// How many nodes there are.
pub(super) const NODES: usize = 3;

/// How many attempts there can be.
pub(super) const ATTEMPTS: usize = 5;

/// Everything at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct State {
    /// The nodes and what passed between them and the attempts, sorted: it does not matter which node is which.
    pub(super) nodes: [Node; NODES],
    /// The attempts.
    pub(super) attempts: [Attempt; ATTEMPTS],
    /// How many more answers may be lost, or requests late.
    pub(super) losses: u8,
    /// Whether a node has restarted.
    pub(super) has_restarted: bool,
    /// The attempts that began before the restart and are still under way.
    pub(super) before_restart: u8,
    /// The tokens that were given, as bits.
    pub(super) given: u128,
    /// What went wrong.
    pub(super) fault: Option<Fault>,
}

/// What can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Fault {
    /// A token is not greater than one that was given before its attempt began.
    NotGreater,
    /// A token was given twice.
    Twice,
    /// A second round although a majority agreed.
    Needless,
}

/// A node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Node {
    /// Who has the lock's key.
    pub(super) key: Key,
    /// The counter, if there is one.
    pub(super) counter: Option<u8>,
    /// Whether it restarted empty.
    pub(super) restarted: bool,
    /// What passed between it and each attempt.
    pub(super) asked: [Asked; ATTEMPTS],
}

/// Who has the lock's key on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Key {
    /// Nobody.
    Missing,
    /// An attempt's that sends nothing to the node any more.
    Foreign,
    /// This attempt.
    Of(u8),
}

/// What passed between a node and an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Asked {
    /// The acquire is on its way, or will be.
    Acquire,
    /// It was granted.
    Granted {
        /// The answer, if it was heard and still matters.
        heard: Option<Told>,
        /// Whether the node may vote.
        votes: bool,
    },
    /// It was refused, and that was heard.
    Refused {
        /// The answer.
        told: Told,
    },
    /// The commit was confirmed, and that was heard.
    Confirmed,
    /// The attempt is over and its commit is on its way.
    LateCommit,
    /// Nothing will pass any more.
    Nothing,
}

/// A counter as a node told it, in one byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Told {
    /// This number.
    Known(u8),
    /// None, and none was used for long.
    Unused,
    /// None, and the node cannot say more.
    Forgotten,
}

/// An attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Attempt {
    /// How far it is.
    pub(super) phase: Phase,
    /// Its clock.
    pub(super) clock: u8,
    /// The greatest token that was given before it began.
    pub(super) floor: u8,
    /// Whether a node that restarted may vote for it.
    pub(super) trusts_restarted: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Phase {
    NotBegun,
    Acquiring,
    Committing {
        token: u8,
    },
    /// Its token was given, or it was given up; `committed` may still be on its way.
    Over {
        committed: u8,
    },
}

impl Attempt {
    /// One that no node has heard of.
    pub(super) const NONE: Self = Self { phase: Phase::NotBegun, clock: 0, floor: 0, trusts_restarted: false };
}

impl State {
    /// The greatest token that was given.
    pub(super) fn greatest(&self) -> u8 {
        narrow(127 - u64::from((self.given | 1).leading_zeros()))
    }

    /// Begins an attempt, if it does with this event: before it reaches a node it might as well begin later.
    pub(super) fn begin(&mut self, attempt: usize, begins_at: Option<u8>) {
        if let Some(clock) = begins_at {
            self.attempts[attempt] = Attempt {
                phase: Phase::Acquiring,
                clock,
                floor: self.greatest(),
                trusts_restarted: self.has_restarted && self.before_restart == 0,
            };
        }
    }

    /// Gives an attempt its tokens: that of its own, and the others of its block, of which this is the last.
    pub(super) fn complete(&mut self, attempt: usize, last: u8, room: u64) {
        let mut block = TokenBlock::ending_with(last.into(), room);
        while let Some((token, left)) = block.give() {
            let token = narrow(token);
            if token <= self.attempts[attempt].floor {
                self.fault = Some(Fault::NotGreater);
            } else if self.given & (1 << token) != 0 {
                self.fault = Some(Fault::Twice);
            }
            self.given |= 1 << token;
            block = left;
        }
        self.end(attempt);
    }

    /// The attempt decides nothing any more; what it sent may still arrive.
    pub(super) fn end(&mut self, attempt: usize) {
        let asking = &mut self.attempts[attempt];
        let committed = match asking.phase {
            Phase::Committing { token } => token,
            _ => 0,
        };
        asking.phase = Phase::Over { committed };
        asking.floor = 0;
        asking.trusts_restarted = false;
        self.before_restart &= !(1 << attempt);
        for node in &mut self.nodes {
            node.asked[attempt] = match node.asked[attempt] {
                Asked::Acquire => Asked::Acquire,
                Asked::Granted { votes: true, .. } if committed > 0 => Asked::LateCommit,
                _ => Asked::Nothing,
            };
        }
    }

    /// Uses up one of the losses, unless they are without end.
    pub(super) fn lose(&mut self) {
        if self.losses != u8::MAX {
            self.losses -= 1;
        }
    }

    /// Lets two attempts change places.
    pub(super) fn swap(&mut self, one: usize, other: usize) {
        self.attempts.swap(one, other);
        let bit = |attempt: usize| self.before_restart >> attempt & 1;
        if bit(one) != bit(other) {
            self.before_restart ^= 1 << one | 1 << other;
        }
        let (own, others) = (Key::Of(narrow(one as u64)), Key::Of(narrow(other as u64)));
        for node in &mut self.nodes {
            node.asked.swap(one, other);
            node.key = match node.key {
                key if key == own => others,
                key if key == others => own,
                key => key,
            };
        }
    }
}

/// The model's numbers are small.
pub(super) fn narrow(number: u64) -> u8 {
    u8::try_from(number).expect("the model's numbers are small")
}

impl From<Counter> for Told {
    fn from(counter: Counter) -> Self {
        match counter {
            Counter::Known(number) => Self::Known(narrow(number)),
            Counter::Unused => Self::Unused,
            Counter::Forgotten => Self::Forgotten,
        }
    }
}

impl From<Told> for Counter {
    fn from(told: Told) -> Self {
        match told {
            Told::Known(number) => Self::Known(number.into()),
            Told::Unused => Self::Unused,
            Told::Forgotten => Self::Forgotten,
        }
    }
}
