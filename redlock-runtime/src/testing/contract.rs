//! Whether a node keeps what its trait promises.

mod counters;
mod drops;
mod keys;
mod looks;
mod races;
mod reports;
mod trial;

use std::fmt;
use std::future::ready;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join, join_all, join4};

use crate::node::Node;

use self::trial::Trial;

/// Tries out whether a node of your own keeps [the contract](Node#the-contract) of [`Node`], and tells each promise that it breaks.
///
/// `make_node` makes a node of **one** store, and another one of the same store when it is called again, as another process would have it.
/// The store need not be empty: every key that is used begins with `redlock:ConfigurableLock.check-node-` and a random number, and ends a
/// minute later. It takes about two seconds, and half a minute if promises are broken or the machine is slow.
///
/// What is tried out: grants and refusals, many who ask at once, keys that end neither early nor late, owners that are compared exactly in
/// [`extend`](Node::extend), [`release`](Node::release) and [`commit`](Node::commit), names that look alike, requests that are dropped, and
/// what else the node offers: fencing counters, reports of changes, `inspect`, `list`, `reset`. What cannot be tried out from outside
/// stays to you: that the store does not forget, that its [`identity`](Node::identity) is another one after a restart, and that an
/// [error](crate::node::NodeError) says what is known.
///
/// It must be called within a tokio runtime with timers, and in real time: the keys of a store do not live by a paused clock.
///
/// # Errors
///
/// [`BrokenPromises`], one line each. Its `Debug` is the same text, so that `unwrap` shows it.
///
/// # Cancel safety
///
/// If the future is dropped, keys stay for up to a minute.
///
/// # Example
///
/// A node on a map that never ends a key, and deletes it for whoever asks:
///
/// ```
/// use std::collections::HashMap;
/// use std::sync::{Arc, Mutex};
///
/// use redlock_runtime::node::{Acquire, BoxFuture, Extend, Node, NodeError, Outcome, Release, Vote};
/// use redlock_runtime::testing::check_node;
///
/// struct Map(Arc<Mutex<HashMap<Arc<str>, Arc<str>>>>);
///
/// impl Node for Map {
///     fn label(&self) -> &str {
///         "map"
///     }
///
///     fn acquire(&self, acquire: Acquire) -> BoxFuture<'_, Result<Vote, NodeError>> {
///         Box::pin(async move {
///             let mut keys = self.0.lock().unwrap();
///             if let Some(owner) = keys.get(&acquire.key) {
///                 return Ok(Vote::held_by(Arc::clone(owner), None));
///             }
///             keys.insert(acquire.key, acquire.owner);
///             Ok(Vote::granted())
///         })
///     }
///     # fn extend(&self, extend: Extend) -> BoxFuture<'_, Result<Outcome, NodeError>> {
///     #     Box::pin(async move {
///     #         Ok(match self.0.lock().unwrap().get(&extend.key) {
///     #             Some(owner) if *owner == extend.owner => Outcome::Done,
///     #             Some(_) => Outcome::OtherOwner,
///     #             None => Outcome::NoKey,
///     #         })
///     #     })
///     # }
///
///     // …
///
///     fn release(&self, release: Release) -> BoxFuture<'_, Result<Outcome, NodeError>> {
///         Box::pin(async move {
///             let released = self.0.lock().unwrap().remove(&release.key);
///             Ok(if released.is_some() { Outcome::Done } else { Outcome::NoKey })
///         })
///     }
/// }
///
/// # tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
/// let store = Arc::default();
/// let broken = check_node(async || Map(Arc::clone(&store))).await.unwrap_err();
///
/// let lines = broken.to_string();
/// assert!(lines.contains("acquire: a key whose TTL was over: expected a grant to another owner"), "{lines}");
/// assert!(lines.contains("release: of somebody else's key: expected OtherOwner, got Done"), "{lines}");
/// # });
/// ```
pub async fn check_node<N: Node>(make_node: impl AsyncFn() -> N) -> Result<NodeReport, BrokenPromises> {
    let (here, there) = (Arc::new(make_node().await), Arc::new(make_node().await));
    let (trial, told) = Trial::new(here, there);
    // At once, because most of them wait for keys to end.
    let tried: [Trying<'_>; 20] = [
        Box::pin(keys::a_free_key_is_granted_and_a_held_one_refused(trial.clone())),
        Box::pin(keys::a_key_lives_for_its_ttl(trial.clone())),
        Box::pin(keys::names_that_look_alike_are_other_keys(trial.clone())),
        Box::pin(keys::extend_lengthens_and_never_shortens(trial.clone())),
        Box::pin(keys::extend_is_for_the_owner_of_a_key_that_is_there(trial.clone())),
        Box::pin(keys::release_is_for_the_owner_of_a_key_that_is_there(trial.clone())),
        Box::pin(keys::an_expired_key_is_as_none(trial.clone())),
        Box::pin(keys::owners_that_look_alike_are_others(trial.clone())),
        Box::pin(keys::a_release_that_keeps_gives_the_key_away(trial.clone())),
        Box::pin(keys::a_release_that_keeps_may_be_repeated(trial.clone())),
        Box::pin(races::one_of_many_is_granted(trial.clone())),
        Box::pin(races::one_of_many_is_granted_an_expired_key(trial.clone())),
        Box::pin(races::one_of_many_is_given_the_key(trial.clone())),
        Box::pin(drops::a_dropped_request_harms_nothing(trial.clone())),
        Box::pin(drops::a_dropped_acquire_is_released(trial.clone())),
        Box::pin(counters::a_counter_begins_and_grows(trial.clone())),
        Box::pin(counters::a_counter_outlives_its_key(trial.clone())),
        Box::pin(counters::a_commit_raises_for_the_owner_alone(trial.clone())),
        Box::pin(ready(looks::the_label_shows_no_password(&trial))),
        Box::pin(looks::the_identity_is_that_of_the_store(trial.clone())),
    ];
    let offered = join4(
        Box::pin(reports::changes_are_reported(trial.clone(), told)),
        Box::pin(looks::a_key_is_inspected(trial.clone())),
        Box::pin(looks::keys_are_listed(trial.clone())),
        Box::pin(looks::a_key_is_reset(trial.clone())),
    );
    let (kept, offered) = join(join_all(tried), offered).await;
    let mut broken: Vec<_> = kept.into_iter().filter_map(Result::err).collect();
    let mut is_offered = |offered: Result<bool, BrokenPromise>| {
        offered.unwrap_or_else(|promise| {
            broken.push(promise);
            true
        })
    };
    let (reports, inspects, lists, resets) = offered;
    let report = NodeReport {
        has_counters: trial.has_counters(),
        reports_changes: is_offered(reports),
        inspects: is_offered(inspects),
        lists: is_offered(lists),
        resets: is_offered(resets),
    };
    if broken.is_empty() { Ok(report) } else { Err(BrokenPromises { broken }) }
}

/// One thing that is tried out. Each request is a task of its own, so that many run at once on a runtime of many threads.
type Trying<'a> = Pin<Box<dyn Future<Output = Result<(), BrokenPromise>> + 'a>>;

/// What a node that keeps its promises offers beside grants, extensions and releases.
///
/// ```
/// # mod map { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/map_node.rs")); }
/// # use map::Map;
/// # use std::sync::Arc;
/// use redlock_runtime::testing::check_node;
///
/// # tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
/// // The one that the documentation of `Node` has.
/// let store = Map::default();
/// let map = async || Map { label: "map".to_owned(), keys: Arc::clone(&store.keys) };
/// let report = check_node(map).await.unwrap();
/// assert!(!report.has_counters && !report.reports_changes);
/// assert!(!report.inspects && !report.lists && !report.resets);
/// # });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[expect(clippy::struct_excessive_bools, reason = "each is one method of the trait that a node may have or not")]
pub struct NodeReport {
    /// It keeps fencing counters ([`Node::has_counters`]).
    pub has_counters: bool,
    /// It reports what another process changes ([`Node::watch`]). Without, a waiter of another process asks now and then.
    pub reports_changes: bool,
    /// It says who holds a key ([`Node::inspect`]).
    pub inspects: bool,
    /// It lists its keys ([`Node::list`]).
    pub lists: bool,
    /// It deletes a key whoever has it ([`Node::reset`]).
    pub resets: bool,
}

/// The promises that a node breaks. `Display` and `Debug` have a line for each.
///
/// ```
/// # use redlock_runtime::node::{Acquire, BoxFuture, Extend, Node, NodeError, Outcome, Release, Vote};
/// use redlock_runtime::testing::check_node;
///
/// /// Grants whatever it is asked for.
/// struct Generous;
///
/// # impl Node for Generous {
/// #     fn label(&self) -> &str { "store" }
/// #     fn acquire(&self, _: Acquire) -> BoxFuture<'_, Result<Vote, NodeError>> { Box::pin(async { Ok(Vote::granted()) }) }
/// #     fn extend(&self, _: Extend) -> BoxFuture<'_, Result<Outcome, NodeError>> { Box::pin(async { Ok(Outcome::Done) }) }
/// #     fn release(&self, _: Release) -> BoxFuture<'_, Result<Outcome, NodeError>> { Box::pin(async { Ok(Outcome::Done) }) }
/// # }
/// # tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
/// let broken = check_node(async || Generous).await.unwrap_err();
/// assert!(broken.promises().iter().any(|promise| promise.method == "acquire"));
/// assert!(broken.to_string().starts_with(&format!("the node breaks {} of its promises:\n- ", broken.promises().len())));
/// # });
/// ```
#[derive(Clone)]
pub struct BrokenPromises {
    /// At least one.
    broken: Vec<BrokenPromise>,
}

impl BrokenPromises {
    /// Each of them.
    #[must_use]
    pub fn promises(&self) -> &[BrokenPromise] {
        &self.broken
    }
}

impl fmt::Display for BrokenPromises {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the node breaks {} of its promises:", self.broken.len())?;
        self.broken.iter().try_for_each(|promise| write!(f, "\n- {promise}"))
    }
}

impl fmt::Debug for BrokenPromises {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for BrokenPromises {}

/// A promise that a node breaks: which method, when, what was expected, and what came instead.
///
/// ```
/// # use redlock_runtime::node::{Acquire, BoxFuture, Extend, Node, NodeError, Outcome, Release, Vote};
/// use redlock_runtime::testing::check_node;
///
/// /// Grants whatever it is asked for.
/// struct Generous;
///
/// # impl Node for Generous {
/// #     fn label(&self) -> &str { "store" }
/// #     fn acquire(&self, _: Acquire) -> BoxFuture<'_, Result<Vote, NodeError>> { Box::pin(async { Ok(Vote::granted()) }) }
/// #     fn extend(&self, _: Extend) -> BoxFuture<'_, Result<Outcome, NodeError>> { Box::pin(async { Ok(Outcome::Done) }) }
/// #     fn release(&self, _: Release) -> BoxFuture<'_, Result<Outcome, NodeError>> { Box::pin(async { Ok(Outcome::Done) }) }
/// # }
/// # tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
/// let broken = check_node(async || Generous).await.unwrap_err();
/// for promise in broken.promises() {
///     println!("{}, {}: {} was expected", promise.method, promise.situation, promise.expected);
/// }
/// # assert!(!broken.promises().is_empty());
/// # });
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BrokenPromise {
    /// The method of [`Node`].
    pub method: &'static str,
    /// What it was asked, and when.
    pub situation: String,
    /// What a lock relies on.
    pub expected: String,
    /// What came.
    pub came: String,
}

impl BrokenPromise {
    fn new(
        method: &'static str,
        situation: impl fmt::Display,
        expected: impl fmt::Display,
        came: impl fmt::Display,
    ) -> Self {
        let [situation, expected, came] = [situation.to_string(), expected.to_string(), came.to_string()];
        Self { method, situation, expected, came }
    }
}

impl fmt::Display for BrokenPromise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { method, situation, expected, came } = self;
        write!(f, "{method}: {situation}: expected {expected}, got {came}")
    }
}

impl fmt::Debug for BrokenPromise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How long a key lives that is not to end meanwhile.
const LONG: Duration = Duration::from_secs(60);
