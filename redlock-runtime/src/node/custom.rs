//! What somebody else implements to bring a voter of their own.

mod adapter;
mod answers;
mod requests;

pub(crate) use self::adapter::ForeignNode;
pub use self::answers::{Held, Identity, NodeError, Outcome, Vote};
pub use self::requests::{Acquire, Commit, CounterRule, Extend, Keep, Release};

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::Changes;

/// A future in a box, as the methods of [`Node`] return it: `Box::pin(async move { … })`.
///
/// ```
/// use redlock_runtime::node::{BoxFuture, NodeError};
///
/// fn count<'a>(keys: &'a [&'a str]) -> BoxFuture<'a, Result<usize, NodeError>> {
///     Box::pin(async move { Ok(keys.len()) })
/// }
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// assert_eq!(count(&["a", "b"]).await.unwrap(), 2);
/// # });
/// ```
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One independent voter that is neither Redis nor `memory://`: a table of a database, a key of etcd, a Redis client of another
/// crate.
///
/// Given to [`LockManagerBuilder::node`](crate::LockManagerBuilder::node), it votes beside the others: a lock is held when a
/// majority of all nodes granted it. It keeps *keys*, each with an owner and an end, and changes a key only for its owner. What
/// follows is all that a lock relies on.
///
/// # The contract
///
/// **Each request is atomic**: on this node nothing comes between its comparison and its change, whoever else asks, from
/// this process or another. A `SELECT` and then an `UPDATE` without a lock on the row is not.
///
/// **A key ends by itself**, when its TTL is over by the clock of the store, also if this process is gone. An expired key does not
/// exist, and is never brought back by [`extend`](Self::extend).
///
/// **A vote is a promise**: a grant says that from now on, until the key ends or its owner releases it, nobody else is granted it
/// here. A store that forgets on the way (a cache that evicts, a replica that lags behind) can make two holders; one that forgets
/// when it restarts tells its age ([`identity`](Self::identity)).
///
/// **Nodes are independent**: one database under two names is one voter that counts twice.
///
/// **Errors say what is known** ([`NodeError`]). After an error that leaves open whether the key was set, the lock is released
/// here. A request must not be carried out after its future has ended; where that cannot be prevented (a cut connection),
/// what it sets stays for its TTL at most.
///
/// # How it is called
///
/// Requests on one key come one after another, in the order in which they were made; those on different keys, at the same time.
/// The futures run as tasks of whatever tokio runtime the caller is on, and must not block its thread: put what blocks into
/// [`tokio::task::spawn_blocking`](https://docs.rs/tokio/latest/tokio/task/fn.spawn_blocking.html). A client whose connections
/// belong to one runtime needs that runtime to go on.
///
/// A request runs to its end also if whoever wanted it is gone. An answer that comes later than
/// [`node_timeout`](crate::LockManagerBuilder::node_timeout) is no vote any more, but awaited, so that the release comes behind
/// it; meanwhile nothing else is asked. A future that has not ended after ten times as long is dropped, as if it had answered
/// that nobody knows. A panic counts as such an answer, and does nobody else any harm.
///
/// With the feature `testing`, `testing::check_node` tries out whether a node keeps this contract.
///
/// # Example
///
/// The whole of a node that keeps its keys in a map of this process. There are three, because a majority of three
/// goes on when one is down; fencing is off, because it keeps no [counters](Self::has_counters).
///
/// ```
#[doc = include_str!("../../doc/map_node.rs")]
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let map = |label: &str| Map { label: label.to_owned(), ..Map::default() };
/// let builder = redlock_runtime::LockManager::builder().node(map("map 1")).node(map("map 2")).node(map("map 3"));
/// let locks = builder.fencing(false).build()?;
/// let guard = locks.lock("invoice:7").acquire().await?;
/// assert!(locks.lock("invoice:7").try_acquire().await?.is_none());
/// guard.release().await?;
/// assert!(locks.lock("invoice:7").try_acquire().await?.is_some());
/// # Ok::<(), redlock_runtime::Error>(())
/// # })?;
/// # Ok::<(), redlock_runtime::Error>(())
/// ```
///
/// # Over a connection that you have
///
/// A `ConnectionManager` of the crate `redis` (its feature `connection-manager`), or a connection of a pool, as a node.
/// [`LockManagerBuilder::clients`](crate::LockManagerBuilder::clients) needs nothing of this and does more (it wakes waiters,
/// has fencing tokens, notices restarts), so this is for a server that may have no more connections than there are.
///
/// ```no_run
#[doc = include_str!("../../doc/connection_manager_node.rs")]
///
/// # async fn with(connection: ConnectionManager) -> Result<(), redlock_runtime::Error> {
/// let node = Managed { label: "redis://10.0.0.1".to_owned(), connection };
/// let locks = redlock_runtime::LockManager::builder().node(node).fencing(false).build()?;
/// # Ok(())
/// # }
/// ```
pub trait Node: Send + Sync + 'static {
    /// Its unique name in errors, reports and logs, without credentials. Asked once.
    fn label(&self) -> &str;

    /// If there is no such key, sets it to the owner, for the TTL, and grants; else refuses, and says who holds it.
    ///
    /// With a [`CounterRule`], in the same step, what that says: also a refusal then tells the counter.
    fn acquire(&self, acquire: Acquire) -> BoxFuture<'_, Result<Vote, NodeError>>;

    /// If the key is the owner's, lets it live for the TTL from now, or for as long as it would anyway if that is longer.
    /// Never creates a key.
    fn extend(&self, extend: Extend) -> BoxFuture<'_, Result<Outcome, NodeError>>;

    /// If the key is the owner's, deletes it, or gives it to another one ([`Keep`]).
    ///
    /// Comes more than once, also where the key was never set, and long after it expired: then there is nothing to do, which is
    /// no error. After an error it is sent again.
    fn release(&self, release: Release) -> BoxFuture<'_, Result<Outcome, NodeError>>;

    /// Whether it keeps fencing counters: for each key a number that outlives it. Default: no. Asked once.
    ///
    /// Fencing tokens need nodes with counters in every majority: a node without says nothing about earlier tokens, and confirms
    /// none. [`build`](crate::LockManagerBuilder::build) refuses a configuration in which less than a majority has them, unless
    /// [`fencing`](crate::LockManagerBuilder::fencing) is off. If some nodes have none, a lock is acquired only while a majority
    /// *of all* that has them grants it.
    ///
    /// ```
    /// # use redlock_runtime::LockManager;
    /// use redlock_runtime::node::Node;
    /// # use redlock_runtime::node::{Acquire, BoxFuture, Extend, NodeError, Outcome, Release, Vote};
    ///
    /// struct Store;
    ///
    /// impl Node for Store {
    ///     fn has_counters(&self) -> bool {
    ///         false
    ///     }
    ///     // …
    /// #     fn label(&self) -> &str { "store" }
    /// #     fn acquire(&self, _: Acquire) -> BoxFuture<'_, Result<Vote, NodeError>> { Box::pin(async { Ok(Vote::granted()) }) }
    /// #     fn extend(&self, _: Extend) -> BoxFuture<'_, Result<Outcome, NodeError>> { Box::pin(async { Ok(Outcome::Done) }) }
    /// #     fn release(&self, _: Release) -> BoxFuture<'_, Result<Outcome, NodeError>> { Box::pin(async { Ok(Outcome::Done) }) }
    /// }
    ///
    /// // Tokens are not greater than earlier ones where too few nodes count, so this is refused:
    /// assert!(LockManager::builder().node(Store).build().is_err());
    /// // One of three may do without:
    /// LockManager::builder().nodes(["memory://a", "memory://b"]).node(Store).build()?;
    /// # Ok::<(), redlock_runtime::Error>(())
    /// ```
    fn has_counters(&self) -> bool {
        false
    }

    /// If the key is the owner's, raises its counter to the token, unless it is as great or greater, and answers with the
    /// counter; if the key is not the owner's, changes nothing and answers `None`. Asked only of nodes that
    /// [have counters](Self::has_counters).
    ///
    /// The comparison of the owner matters: a commit that comes late must not put an older token before a newer one.
    ///
    /// ```
    /// # use std::sync::{Arc, Mutex};
    /// # use redlock_runtime::LockManager;
    /// use redlock_runtime::node::{BoxFuture, Commit, Node, NodeError};
    /// # use redlock_runtime::node::{Acquire, Extend, Outcome, Release, Vote};
    ///
    /// /// What a store keeps of one key: its owner, and its counter. Before them, what the store is called.
    /// struct Row(&'static str, Arc<Mutex<(Arc<str>, u64)>>);
    ///
    /// impl Node for Row {
    ///     fn has_counters(&self) -> bool {
    ///         true
    ///     }
    ///
    ///     fn commit(&self, commit: Commit) -> BoxFuture<'_, Result<Option<u64>, NodeError>> {
    ///         Box::pin(async move {
    ///             // UPDATE … SET counter = greatest(counter, token) WHERE … AND owner = … RETURNING counter
    ///             let mut row = self.1.lock().unwrap();
    ///             if row.0 != commit.owner {
    ///                 return Ok(None);
    ///             }
    ///             row.1 = row.1.max(commit.token);
    ///             Ok(Some(row.1))
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
    fn commit(&self, commit: Commit) -> BoxFuture<'_, Result<Option<u64>, NodeError>> {
        let _ = commit;
        Box::pin(async { Err(NodeError::not_sent("it has no fencing counters")) })
    }

    /// Which server it is, and how old, as it was at its last vote or later. Must answer at once. Default: unknown, which
    /// is taken for a server of its own that is old.
    ///
    /// A server that restarted, and may have forgotten what it granted, does not vote before it is older than
    /// [`longest_ttl`](crate::LockManagerBuilder::longest_ttl); so a store that may forget has to tell its age, read on the
    /// connection that carries its votes. While an old one can be reached, younger ones do not vote: beside Redis nodes that
    /// were just started, a store that was just set up has to say so too. Two nodes that name the same server are refused.
    ///
    /// ```
    /// # use std::time::{Duration, Instant};
    /// # use redlock_runtime::{LockManager, NodeStanding};
    /// use redlock_runtime::node::{Identity, Node};
    /// # use redlock_runtime::node::{Acquire, BoxFuture, Extend, Held, NodeError, Outcome, Release, Vote};
    ///
    /// struct Store {
    ///     started: Instant,
    /// }
    ///
    /// impl Node for Store {
    ///     fn identity(&self) -> Option<Identity> {
    ///         Some(Identity::new("started at 12:00:03", self.started.elapsed()))
    ///     }
    ///     // …
    /// #     fn label(&self) -> &str { "store" }
    /// #     fn acquire(&self, _: Acquire) -> BoxFuture<'_, Result<Vote, NodeError>> { Box::pin(async { Ok(Vote::granted()) }) }
    /// #     fn extend(&self, _: Extend) -> BoxFuture<'_, Result<Outcome, NodeError>> { Box::pin(async { Ok(Outcome::Done) }) }
    /// #     fn release(&self, _: Release) -> BoxFuture<'_, Result<Outcome, NodeError>> { Box::pin(async { Ok(Outcome::Done) }) }
    /// #     fn inspect(&self, _: std::sync::Arc<str>) -> BoxFuture<'_, Result<Option<Held>, NodeError>> { Box::pin(async { Ok(None) }) }
    /// }
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let young = Store { started: Instant::now() };
    /// let locks = LockManager::builder().nodes(["memory://a", "memory://b"]).node(young).build()?;
    /// assert_eq!(locks.nodes().await?[2].standing, NodeStanding::Young);
    /// # Ok::<(), redlock_runtime::Error>(())
    /// # }).unwrap();
    /// ```
    fn identity(&self) -> Option<Identity> {
        None
    }

    /// Takes what changes are to be reported to; called once, before anything is asked. Default: nothing is reported.
    ///
    /// A change is reported behind an acquire that was refused and [watched](Acquire::is_watched): at least when the key is
    /// deleted or gets another owner, not when it expires. Whoever cannot report for a while tells that any key may have changed.
    /// Without reports those who wait are woken by releases in their own process and when the key they wait for expires, and ask
    /// now and then besides.
    ///
    /// ```
    /// # use std::sync::OnceLock;
    /// # use redlock_runtime::LockManager;
    /// use redlock_runtime::node::{Acquire, BoxFuture, Changes, Node, NodeError, Outcome, Release, Vote};
    /// # use redlock_runtime::node::Extend;
    ///
    /// #[derive(Default)]
    /// struct Store {
    ///     changes: OnceLock<Changes>,
    /// }
    ///
    /// impl Node for Store {
    ///     fn watch(&self, changes: Changes) {
    ///         let _ = self.changes.set(changes);
    ///     }
    ///
    ///     fn release(&self, release: Release) -> BoxFuture<'_, Result<Outcome, NodeError>> {
    ///         Box::pin(async move {
    ///             // Those of this process are told here; what others release has to come from the store.
    ///             if let Some(changes) = self.changes.get() {
    ///                 changes.key(&release.key);
    ///             }
    ///             Ok(Outcome::Done)
    ///         })
    ///     }
    ///     // …
    /// #     fn label(&self) -> &str { "store" }
    /// #     fn acquire(&self, _: Acquire) -> BoxFuture<'_, Result<Vote, NodeError>> { Box::pin(async { Ok(Vote::granted()) }) }
    /// #     fn extend(&self, _: Extend) -> BoxFuture<'_, Result<Outcome, NodeError>> { Box::pin(async { Ok(Outcome::Done) }) }
    /// }
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let locks = LockManager::builder().node(Store::default()).fencing(false).build()?;
    /// locks.lock("invoice:7").acquire().await?.release().await?;
    /// # Ok::<(), redlock_runtime::Error>(())
    /// # }).unwrap();
    /// ```
    fn watch(&self, changes: Changes) {
        let _ = changes;
    }

    /// Who holds a key, for people. Default: it cannot tell.
    ///
    /// ```
    /// # use std::collections::HashMap;
    /// # use std::sync::{Arc, Mutex};
    /// # use redlock_runtime::LockManager;
    /// use redlock_runtime::node::{BoxFuture, Held, Node, NodeError};
    /// # use redlock_runtime::node::{Acquire, Extend, Outcome, Release, Vote};
    ///
    /// /// The owner of each key.
    /// #[derive(Default)]
    /// struct Owners(Mutex<HashMap<Arc<str>, Arc<str>>>);
    ///
    /// impl Node for Owners {
    ///     fn inspect(&self, key: Arc<str>) -> BoxFuture<'_, Result<Option<Held>, NodeError>> {
    ///         Box::pin(async move {
    ///             let owners = self.0.lock().unwrap();
    ///             Ok(owners.get(&key).map(|owner| Held::new(Arc::clone(owner), None)))
    ///         })
    ///     }
    ///     // …
    /// #     fn label(&self) -> &str { "store" }
    /// #     fn extend(&self, _: Extend) -> BoxFuture<'_, Result<Outcome, NodeError>> { Box::pin(async { Ok(Outcome::Done) }) }
    /// #     fn release(&self, _: Release) -> BoxFuture<'_, Result<Outcome, NodeError>> { Box::pin(async { Ok(Outcome::Done) }) }
    /// #     fn acquire(&self, acquire: Acquire) -> BoxFuture<'_, Result<Vote, NodeError>> {
    /// #         self.0.lock().unwrap().insert(acquire.key, acquire.owner);
    /// #         Box::pin(async { Ok(Vote::granted()) })
    /// #     }
    /// }
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let locks = LockManager::builder().node(Owners::default()).fencing(false).build()?;
    /// let _guard = locks.lock("invoice:7").acquire().await?;
    /// assert!(locks.inspect("invoice:7").await?.is_held());
    /// # Ok::<(), redlock_runtime::Error>(())
    /// # }).unwrap();
    /// ```
    fn inspect(&self, key: Arc<str>) -> BoxFuture<'_, Result<Option<Held>, NodeError>> {
        let _ = key;
        Box::pin(async { Err(NodeError::not_sent("it cannot be inspected")) })
    }

    /// All keys that begin with this prefix, for people. Default: it cannot tell.
    ///
    /// ```
    /// # use std::collections::HashMap;
    /// # use std::sync::{Arc, Mutex};
    /// # use redlock_runtime::LockManager;
    /// use redlock_runtime::node::{BoxFuture, Node, NodeError};
    /// # use redlock_runtime::node::{Acquire, Extend, Outcome, Release, Vote};
    ///
    /// /// The owner of each key.
    /// #[derive(Default)]
    /// struct Owners(Mutex<HashMap<Arc<str>, Arc<str>>>);
    ///
    /// impl Node for Owners {
    ///     fn list(&self, prefix: Arc<str>) -> BoxFuture<'_, Result<Vec<String>, NodeError>> {
    ///         Box::pin(async move {
    ///             let owners = self.0.lock().unwrap();
    ///             Ok(owners.keys().filter(|key| key.starts_with(&*prefix)).map(ToString::to_string).collect())
    ///         })
    ///     }
    ///     // …
    /// #     fn label(&self) -> &str { "store" }
    /// #     fn extend(&self, _: Extend) -> BoxFuture<'_, Result<Outcome, NodeError>> { Box::pin(async { Ok(Outcome::Done) }) }
    /// #     fn release(&self, _: Release) -> BoxFuture<'_, Result<Outcome, NodeError>> { Box::pin(async { Ok(Outcome::Done) }) }
    /// #     fn acquire(&self, acquire: Acquire) -> BoxFuture<'_, Result<Vote, NodeError>> {
    /// #         self.0.lock().unwrap().insert(acquire.key, acquire.owner);
    /// #         Box::pin(async { Ok(Vote::granted()) })
    /// #     }
    /// }
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let locks = LockManager::builder().node(Owners::default()).fencing(false).build()?;
    /// let _guard = locks.lock("invoice:7").acquire().await?;
    /// assert_eq!(locks.list().next().await.transpose()?.as_deref(), Some("invoice:7"));
    /// # Ok::<(), redlock_runtime::Error>(())
    /// # }).unwrap();
    /// ```
    fn list(&self, prefix: Arc<str>) -> BoxFuture<'_, Result<Vec<String>, NodeError>> {
        let _ = prefix;
        Box::pin(async { Err(NodeError::not_sent("it cannot list its keys")) })
    }

    /// Deletes a key, whoever has it; says whether there was one. Default: it cannot.
    ///
    /// ```
    /// # use std::collections::HashMap;
    /// # use std::sync::{Arc, Mutex};
    /// # use redlock_runtime::LockManager;
    /// use redlock_runtime::node::{BoxFuture, Node, NodeError};
    /// # use redlock_runtime::node::{Acquire, Extend, Outcome, Release, Vote};
    ///
    /// /// The owner of each key.
    /// #[derive(Default)]
    /// struct Owners(Mutex<HashMap<Arc<str>, Arc<str>>>);
    ///
    /// impl Node for Owners {
    ///     fn reset(&self, key: Arc<str>) -> BoxFuture<'_, Result<bool, NodeError>> {
    ///         Box::pin(async move { Ok(self.0.lock().unwrap().remove(&key).is_some()) })
    ///     }
    ///     // …
    /// #     fn label(&self) -> &str { "store" }
    /// #     fn extend(&self, _: Extend) -> BoxFuture<'_, Result<Outcome, NodeError>> { Box::pin(async { Ok(Outcome::Done) }) }
    /// #     fn release(&self, _: Release) -> BoxFuture<'_, Result<Outcome, NodeError>> { Box::pin(async { Ok(Outcome::Done) }) }
    /// #     fn acquire(&self, acquire: Acquire) -> BoxFuture<'_, Result<Vote, NodeError>> {
    /// #         self.0.lock().unwrap().insert(acquire.key, acquire.owner);
    /// #         Box::pin(async { Ok(Vote::granted()) })
    /// #     }
    /// }
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let locks = LockManager::builder().node(Owners::default()).fencing(false).build()?;
    /// let _guard = locks.lock("invoice:7").acquire().await?;
    /// assert_eq!(locks.reset("invoice:7").await?, 1); // one node had it
    /// assert_eq!(locks.reset("invoice:7").await?, 0);
    /// # Ok::<(), redlock_runtime::Error>(())
    /// # }).unwrap();
    /// ```
    fn reset(&self, key: Arc<str>) -> BoxFuture<'_, Result<bool, NodeError>> {
        let _ = key;
        Box::pin(async { Err(NodeError::not_sent("it cannot reset keys")) })
    }
}
