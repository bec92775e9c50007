//! Who may have a lock that many readers can have at once, or one writer.
//!
//! A reader and a writer, or two writers, exclude each other; that is about *pairs* of holders, and so a majority can decide it:
//! each node grants the lock only beside those who do not exclude the asker, two majorities share a node, and there one of the two
//! came first. Nothing is counted. What follows for whoever asks is decided as for any lock ([`Round`](super::Round)).
//!
//! # What that needs
//!
//! - A node looks at all who have an entry, also when an entry is set again that it lost: another may have got in meanwhile.
//! - Each reader has an entry of its own, which expires by itself. With one expiry for all of them a reader would lose the lock when
//!   another's is over.
//! - A node that restarted empty abstains, and does not count in an extension, as for any lock
//!   ([`Electorate`](super::Electorate)).
//! - Readers need a majority as writers do. A reader with one node would share none with a writer who has the others.
//!
//! # Writers are not starved
//!
//! Readers who come one after the other could keep a writer out for ever. So a writer who waits, and whom readers keep out, leaves
//! his *intent* on the node, which then admits no new readers. It is not a grant. It expires by itself a little later than its
//! writer asks again, so that readers do not wait for one who died. Those who have the lock keep it, and may set a lost entry again.
//! An attempt of that writer that fails gives back what it was granted and leaves the intents; when he has had the lock they go, so
//! that then whoever comes first gets in, reader or writer. A writer whom another writer keeps out leaves none, for the same reason.
//!
//! # From writer to reader
//!
//! A writer may become a reader without letting go: each node puts a reader's entry in the place of the writer's in one step. He has
//! to stop writing *before* he asks for that, because the first nodes that did it admit other readers. A node that did not hear of
//! it still has a writer there, which excludes more than it must; so the entries of one owner may differ from node to node.
//! The other way round there is none: two readers would wait for each other.

/// How a lock is wanted that readers can share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// Together with other readers.
    Read,
    /// Alone.
    Write,
}

/// What a node has of a lock, without what is the asker's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Occupancy {
    /// A writer has an entry.
    pub is_written: bool,
    /// A reader has one.
    pub is_read: bool,
    /// A writer intends to have one.
    pub is_intended: bool,
}

/// Whether the asker has the lock already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// He wants to get it.
    Comes,
    /// He has it, and this node has lost his entry.
    Holds,
}

/// What a node does with somebody who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "whoever is let in all the same is a second holder"]
pub enum Admission {
    /// It sets his entry.
    Granted,
    /// It does not.
    Refused,
    /// It does not because of readers alone: if he waits, his intent is noted.
    RefusedByReaders,
}

impl Mode {
    /// Whether two who want it so cannot have it at once.
    #[must_use]
    pub fn excludes(self, other: Self) -> bool {
        self == Self::Write || other == Self::Write
    }
}

impl Occupancy {
    /// What a node does that has this.
    pub fn admit(self, mode: Mode, asker: Asker) -> Admission {
        let Self { is_written, is_read, is_intended } = self;
        match mode {
            _ if is_written => Admission::Refused,
            Mode::Read if is_intended && asker == Asker::Comes => Admission::Refused,
            Mode::Write if is_read => Admission::RefusedByReaders,
            Mode::Read | Mode::Write => Admission::Granted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Admission::{Granted, Refused, RefusedByReaders};
    use super::Mode::{Read, Write};
    use super::*;

    #[test]
    fn a_node_admits_readers_beside_readers_and_writers_beside_nobody() {
        let check = |(is_written, is_read, is_intended), expect: [Admission; 3]| {
            let there = Occupancy { is_written, is_read, is_intended };
            let comes = [Read, Write].map(|mode| there.admit(mode, Asker::Comes));
            assert_eq!([comes[0], there.admit(Read, Asker::Holds), comes[1]], expect, "{there:?}");
            assert_eq!(there.admit(Write, Asker::Holds), comes[1], "{there:?}");
        };
        check((false, false, false), [Granted, Granted, Granted]);
        check((false, true, false), [Granted, Granted, RefusedByReaders]);
        check((false, false, true), [Refused, Granted, Granted]);
        check((false, true, true), [Refused, Granted, RefusedByReaders]);
        for (is_read, is_intended) in [(false, false), (false, true), (true, false), (true, true)] {
            check((true, is_read, is_intended), [Refused; 3]);
        }
    }
}
