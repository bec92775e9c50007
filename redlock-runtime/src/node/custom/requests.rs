use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Set a key, if there is none.
///
/// ```
/// # use std::collections::HashMap;
/// # use std::sync::{Arc, Mutex};
/// # use redlock_runtime::LockManager;
/// use redlock_runtime::node::{Acquire, BoxFuture, Node, NodeError, Vote};
/// # use redlock_runtime::node::{Extend, Outcome, Release};
///
/// /// The owner of each key.
/// #[derive(Default)]
/// struct Owners(Mutex<HashMap<Arc<str>, Arc<str>>>);
///
/// impl Node for Owners {
///     fn acquire(&self, acquire: Acquire) -> BoxFuture<'_, Result<Vote, NodeError>> {
///         Box::pin(async move {
///             // INSERT INTO locks VALUES (key, owner, now() + ttl) ON CONFLICT DO NOTHING
///             let mut owners = self.0.lock().unwrap();
///             if let Some(owner) = owners.get(&acquire.key) {
///                 return Ok(Vote::held_by(Arc::clone(owner), None));
///             }
///             owners.insert(acquire.key, acquire.owner);
///             Ok(Vote::granted())
///         })
///     }
///     // …
/// #     fn label(&self) -> &str { "store" }
/// #     fn extend(&self, _: Extend) -> BoxFuture<'_, Result<Outcome, NodeError>> { Box::pin(async { Ok(Outcome::Done) }) }
/// #     fn release(&self, _: Release) -> BoxFuture<'_, Result<Outcome, NodeError>> { Box::pin(async { Ok(Outcome::Done) }) }
/// }
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let locks = LockManager::builder().node(Owners::default()).fencing(false).build()?;
/// let _guard = locks.lock("invoice:7").acquire().await?;
/// assert!(locks.lock("invoice:7").try_acquire().await?.is_none());
/// # Ok::<(), redlock_runtime::Error>(())
/// # }).unwrap();
/// ```
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
///
/// ```
/// # use std::sync::Mutex;
/// # use redlock_runtime::LockManager;
/// use redlock_runtime::node::{Acquire, BoxFuture, CounterRule, Node, NodeError, Vote};
/// # use redlock_runtime::node::{Extend, Outcome, Release};
///
/// /// What the counter becomes when its key is granted.
/// fn raised(stored: Option<u64>, rule: CounterRule) -> Option<u64> {
///     match stored {
///         Some(stored) => Some(rule.least.max(stored + 1)),
///         None => rule.first,
///     }
/// }
///
/// /// The counter of the only key.
/// #[derive(Default)]
/// struct Counting(Mutex<Option<u64>>);
///
/// impl Node for Counting {
///     fn has_counters(&self) -> bool {
///         true
///     }
///
///     fn acquire(&self, acquire: Acquire) -> BoxFuture<'_, Result<Vote, NodeError>> {
///         Box::pin(async move {
///             let mut counter = self.0.lock().unwrap();
///             if let Some(rule) = acquire.counter {
///                 *counter = raised(*counter, rule);
///             }
///             Ok(Vote::granted().with_counter(*counter))
///         })
///     }
///     // …
/// #     fn label(&self) -> &str { "store" }
/// #     fn extend(&self, _: Extend) -> BoxFuture<'_, Result<Outcome, NodeError>> { Box::pin(async { Ok(Outcome::Done) }) }
/// #     fn release(&self, _: Release) -> BoxFuture<'_, Result<Outcome, NodeError>> { Box::pin(async { Ok(Outcome::Done) }) }
/// }
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let locks = LockManager::builder().node(Counting::default()).build()?;
/// let first = locks.lock("invoice:7").acquire().await?;
/// let token = first.fencing_token();
/// first.release().await?;
/// assert!(locks.lock("invoice:7").acquire().await?.fencing_token() > token);
/// # Ok::<(), redlock_runtime::Error>(())
/// # }).unwrap();
/// ```
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
///
/// ```
/// # use std::sync::{Arc, Mutex};
/// # use std::time::{Duration, Instant};
/// # use redlock_runtime::LockManager;
/// use redlock_runtime::node::{BoxFuture, Extend, Node, NodeError, Outcome};
/// # use redlock_runtime::node::{Acquire, Release, Vote};
///
/// /// One key: its owner and its end.
/// struct Row(Mutex<(Arc<str>, Instant)>);
///
/// impl Node for Row {
///     fn extend(&self, extend: Extend) -> BoxFuture<'_, Result<Outcome, NodeError>> {
///         Box::pin(async move {
///             // UPDATE … SET ends = greatest(ends, now() + ttl) WHERE … owner = … AND ends > now()
///             let mut row = self.0.lock().unwrap();
///             let now = Instant::now();
///             Ok(match &mut *row {
///                 (_, end) if *end <= now => Outcome::NoKey,
///                 (owner, _) if *owner != extend.owner => Outcome::OtherOwner,
///                 (_, end) => {
///                     *end = (*end).max(now + extend.ttl);
///                     Outcome::Done
///                 }
///             })
///         })
///     }
///     // …
/// #     fn label(&self) -> &str { "store" }
/// #     fn release(&self, _: Release) -> BoxFuture<'_, Result<Outcome, NodeError>> { Box::pin(async { Ok(Outcome::Done) }) }
/// #     fn acquire(&self, acquire: Acquire) -> BoxFuture<'_, Result<Vote, NodeError>> {
/// #         *self.0.lock().unwrap() = (acquire.owner, Instant::now() + acquire.ttl);
/// #         Box::pin(async { Ok(Vote::granted()) })
/// #     }
/// }
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let row = Row(Mutex::new((Arc::from(""), Instant::now())));
/// let locks = LockManager::builder().node(row).fencing(false).build()?;
/// let guard = locks.lock("invoice:7").acquire().await?;
/// guard.extend(Duration::from_secs(120)).await?;
/// assert!(guard.remaining() > Duration::from_secs(100));
/// # Ok::<(), redlock_runtime::Error>(())
/// # }).unwrap();
/// ```
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
///
/// ```
/// # use std::sync::{Arc, Mutex};
/// # use std::time::Duration;
/// # use redlock_runtime::LockManager;
/// use redlock_runtime::node::{BoxFuture, Node, NodeError, Outcome, Release};
/// # use redlock_runtime::node::{Acquire, Extend, Vote};
///
/// /// The owner of one key.
/// #[derive(Default)]
/// struct Row(Mutex<Option<Arc<str>>>);
/// impl Node for Row {
///     fn release(&self, release: Release) -> BoxFuture<'_, Result<Outcome, NodeError>> {
///         Box::pin(async move {
///             // DELETE … WHERE … owner = …, or UPDATE where another one gets the key
///             let mut row = self.0.lock().unwrap();
///             let keeper = release.keep.map(|keep| keep.owner);
///             Ok(match &*row {
///                 None => Outcome::NoKey,
///                 Some(owner) if *owner == release.owner => {
///                     *row = keeper;
///                     Outcome::Done
///                 }
///                 Some(owner) if keeper.as_ref() == Some(owner) => Outcome::Done, // released before
///                 Some(_) => Outcome::OtherOwner,
///             })
///         })
///     }
///     // …
/// #     fn label(&self) -> &str { "store" }
/// #     fn extend(&self, _: Extend) -> BoxFuture<'_, Result<Outcome, NodeError>> { Box::pin(async { Ok(Outcome::Done) }) }
/// #     fn acquire(&self, acquire: Acquire) -> BoxFuture<'_, Result<Vote, NodeError>> {
/// #         let mut row = self.0.lock().unwrap();
/// #         let vote = match &*row {
/// #             Some(owner) => Vote::held_by(Arc::clone(owner), None),
/// #             None => { *row = Some(acquire.owner); Vote::granted() }
/// #         };
/// #         Box::pin(async { Ok(vote) })
/// #     }
/// }
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let locks = LockManager::builder().node(Row::default()).fencing(false).build()?;
/// locks.lock("invoice:7").acquire().await?.release().await?;
/// assert!(locks.lock("invoice:7").try_acquire().await?.is_some());
/// # Ok::<(), redlock_runtime::Error>(())
/// # }).unwrap();
/// ```
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
///
/// ```
/// # use std::sync::{Arc, Mutex};
/// # use std::time::Duration;
/// # use redlock_runtime::LockManager;
/// use redlock_runtime::node::{BoxFuture, Keep, Node, NodeError, Outcome, Release};
/// # use redlock_runtime::node::{Acquire, Extend, Vote};
///
/// /// The owner of one key.
/// #[derive(Default)]
/// struct Row(Mutex<Option<Arc<str>>>);
/// impl Node for Row {
///     fn release(&self, release: Release) -> BoxFuture<'_, Result<Outcome, NodeError>> {
///         Box::pin(async move {
///             let mut row = self.0.lock().unwrap();
///             *row = match release.keep {
///                 None => None,
///                 Some(Keep { owner, ttl, .. }) => {
///                     assert!(ttl > Duration::from_secs(50)); // to end by itself then
///                     Some(owner)
///                 }
///             };
///             Ok(Outcome::Done)
///         })
///     }
///     // …
/// #     fn label(&self) -> &str { "store" }
/// #     fn extend(&self, _: Extend) -> BoxFuture<'_, Result<Outcome, NodeError>> { Box::pin(async { Ok(Outcome::Done) }) }
/// #     fn acquire(&self, acquire: Acquire) -> BoxFuture<'_, Result<Vote, NodeError>> {
/// #         let mut row = self.0.lock().unwrap();
/// #         let vote = match &*row {
/// #             Some(owner) => Vote::held_by(Arc::clone(owner), None),
/// #             None => { *row = Some(acquire.owner); Vote::granted() }
/// #         };
/// #         Box::pin(async { Ok(vote) })
/// #     }
/// }
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let locks = LockManager::builder().node(Row::default()).fencing(false).build()?;
/// let guard = locks.lock("report").min_hold(Duration::from_secs(60)).acquire().await?;
/// guard.release().await?;
/// assert!(locks.lock("report").try_acquire().await?.is_none()); // not before the minute is over
/// # Ok::<(), redlock_runtime::Error>(())
/// # }).unwrap();
/// ```
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
///
/// ```
/// # use std::sync::{Arc, Mutex};
/// # use redlock_runtime::LockManager;
/// use redlock_runtime::node::{BoxFuture, Commit, Node, NodeError};
/// # use redlock_runtime::node::{Acquire, Extend, Outcome, Release, Vote};
///
/// /// What a store is called, and what it keeps of one key: its owner and its counter.
/// struct Row(&'static str, Arc<Mutex<(Arc<str>, u64)>>);
///
/// impl Node for Row {
///     fn commit(&self, commit: Commit) -> BoxFuture<'_, Result<Option<u64>, NodeError>> {
///         Box::pin(async move {
///             let mut row = self.1.lock().unwrap();
///             let (owner, counter) = &mut *row;
///             if *owner != commit.owner {
///                 return Ok(None); // it is late, and its key is another one's
///             }
///             *counter = commit.token.max(*counter);
///             Ok(Some(*counter))
///         })
///     }
///     // …
/// #     fn extend(&self, _: Extend) -> BoxFuture<'_, Result<Outcome, NodeError>> { Box::pin(async { Ok(Outcome::Done) }) }
/// #     fn release(&self, _: Release) -> BoxFuture<'_, Result<Outcome, NodeError>> { Box::pin(async { Ok(Outcome::Done) }) }
/// #     fn label(&self) -> &str { self.0 }
/// #     fn acquire(&self, acquire: Acquire) -> BoxFuture<'_, Result<Vote, NodeError>> {
/// #         let mut row = self.1.lock().unwrap();
/// #         *row = (acquire.owner, acquire.counter.map_or(0, |rule| rule.least.max(row.1 + 1)));
/// #         let counter = row.1;
/// #         Box::pin(async move { Ok(Vote::granted().with_counter(counter)) })
/// #     }
/// #     fn has_counters(&self) -> bool { true }
/// }
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # let ahead = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_micros() as u64 + 60_000_000;
/// // One of two counters is ahead, so the other has to follow.
/// let rows = [0, ahead].map(|counter| Arc::new(Mutex::new((Arc::from(""), counter))));
/// let [one, other] = rows.each_ref().map(Arc::clone);
/// let locks = LockManager::builder().node(Row("one", one)).node(Row("other", other)).build()?;
/// let guard = locks.lock("invoice:7").acquire().await?;
/// assert_eq!(rows.map(|row| row.lock().unwrap().1), [guard.fencing_token(); 2]);
/// # Ok::<(), redlock_runtime::Error>(())
/// # }).unwrap();
/// ```
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
