use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Set a key, if there is none.
#[derive(Clone)]
#[non_exhaustive]
pub struct Acquire {
    /// The key, the same on every node.
    pub key: Arc<str>,
    /// Its unique owner: random text of up to 100 bytes.
    pub owner: Arc<str>,
    /// How long the key lives, to the millisecond.
    pub ttl: Duration,
    /// Whether the next change of the key is to be reported if this is refused; see [`Node::watch`](super::Node::watch).
    pub is_watched: bool,
    /// What happens to the key's fencing counter; `None`: nothing, and it is not asked for.
    pub counter: Option<CounterRule>,
}

/// What happens to a fencing counter when its key is granted, in the same atomic step.
///
/// If there is a counter, it becomes one more than it was, or [`least`](Self::least) if that is greater. If there is none,
/// it becomes [`first`](Self::first) or, if that is `None`, none is created. The answer has the counter as it is then
/// ([`Vote::with_counter`](super::Vote::with_counter)). A refusal changes nothing, and its answer has the counter as it is.
///
/// A counter outlives its key, and may be forgotten [`keep_for`](Self::keep_for) after it was raised last. It is below 2^53.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CounterRule {
    /// What the counter is at least, behind a grant.
    pub least: u64,
    /// What it begins with.
    pub first: Option<u64>,
    /// How long it is kept, at least.
    pub keep_for: Duration,
}

/// Let a key of this owner live longer.
#[derive(Clone)]
#[non_exhaustive]
pub struct Extend {
    /// The key.
    pub key: Arc<str>,
    /// Its owner.
    pub owner: Arc<str>,
    /// How long it lives from now, at least.
    pub ttl: Duration,
}

/// Delete a key of this owner.
#[derive(Clone)]
#[non_exhaustive]
pub struct Release {
    /// The key.
    pub key: Arc<str>,
    /// Its owner.
    pub owner: Arc<str>,
    /// Who gets the key, instead of its being deleted.
    pub keep: Option<Keep>,
}

/// What becomes of a key that is released before its `min_hold` is over, or adopted. A key that this owner has already was
/// released before: that is [`Outcome::Done`](super::Outcome::Done), and changes nothing.
#[derive(Clone)]
#[non_exhaustive]
pub struct Keep {
    /// The key gets this owner. After a `min_hold` that is nobody who extends or releases it; when a
    /// [token is adopted](crate::LockManager::adopt), it is the next holder.
    pub owner: Arc<str>,
    /// How long it lives from now.
    pub ttl: Duration,
}

/// Raise the fencing counter of a key of this owner.
#[derive(Clone)]
#[non_exhaustive]
pub struct Commit {
    /// The key.
    pub key: Arc<str>,
    /// Its owner.
    pub owner: Arc<str>,
    /// What the counter is raised to, unless it is greater.
    pub token: u64,
    /// How long the counter is kept from now, at least.
    pub keep_for: Duration,
}

// Without owners: whoever reads one can release its lock.

impl fmt::Debug for Acquire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, ttl, is_watched, counter, .. } = self;
        let mut shown = f.debug_struct("Acquire");
        shown.field("key", key).field("ttl", ttl).field("is_watched", is_watched).field("counter", counter);
        shown.finish_non_exhaustive()
    }
}

impl fmt::Debug for Extend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Extend").field("key", &self.key).field("ttl", &self.ttl).finish_non_exhaustive()
    }
}

impl fmt::Debug for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Release").field("key", &self.key).field("keep", &self.keep).finish_non_exhaustive()
    }
}

impl fmt::Debug for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keep").field("ttl", &self.ttl).finish_non_exhaustive()
    }
}

impl fmt::Debug for Commit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Commit").field("key", &self.key).field("token", &self.token).finish_non_exhaustive()
    }
}
