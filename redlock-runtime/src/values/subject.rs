use std::sync::Arc;

/// What a lock is about, as the nodes see it: the keys that an owner's value stands under, and what a node has to find there to
/// grant them.
///
/// It is the only place that knows how many keys a lock has. A request [is made](crate::lock) with one; from there to the node's
/// script it is passed on as it is, and whoever is on the way asks it for no more than
///
/// - [`key`](Self::key): the key that stands for the whole, by which a cluster finds the server, and people find the lock;
/// - [`keys`](Self::keys): all of them, for whoever is told of changes;
/// - [`line`](Self::line): the same for all who keep one another waiting.
///
/// # A new kind
///
/// All keys of a subject are in one slot of a cluster ([`slot::key_beside`](super::slot::key_beside)). A kind is a variant here and,
/// with it, what a node does for each [`Action`](crate::node::Action): an arm in `node::redis::commands::locks` with its script, one
/// in `node::memory`, and one in `node::custom`, or an error of the request as for [marks](crate::node::Voter::keeps_marks), because
/// the nodes of users cannot. One owner's value stands for the whole of a subject, so a release is sent to a node once, whatever its acquire may have left there: its script
/// looks at all keys. How votes are counted where a grant is more than yes or no is decided in `protocol`. Acquisitions, leases,
/// renewals, repairs, release rounds and the lines of waiters need no change.
///
/// Cloning takes no allocation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Subject {
    /// One key: a node grants it if it does not exist.
    Key(Arc<str>),
}

impl Subject {
    /// The key that stands for the whole.
    pub(crate) fn key(&self) -> &Arc<str> {
        match self {
            Self::Key(key) => key,
        }
    }

    /// Every key by whose change somebody may get what he waits for.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &Arc<str>> {
        match self {
            Self::Key(key) => std::iter::once(key),
        }
    }

    /// What they stand in line for who keep one another waiting.
    pub(crate) fn line(&self) -> &Arc<str> {
        match self {
            Self::Key(key) => key,
        }
    }

    /// The [line](Self::line) that a change of this key is news for.
    pub(crate) fn line_of(key: &str) -> &str {
        key
    }
}

impl From<Arc<str>> for Subject {
    fn from(key: Arc<str>) -> Self {
        Self::Key(key)
    }
}

impl From<&Arc<str>> for Subject {
    fn from(key: &Arc<str>) -> Self {
        Self::Key(Arc::clone(key))
    }
}

#[cfg(test)]
impl From<&str> for Subject {
    fn from(key: &str) -> Self {
        Self::Key(Arc::from(key))
    }
}
