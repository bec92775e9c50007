use std::fmt;
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use futures_util::future::join_all;

use crate::Error;
use crate::lock::shared::Shared;
use crate::manager::LockManager;
use crate::node::inspect::Announcing;
use crate::node::{Changes, Listener};
use crate::platform::background::on_any_executor;
use crate::platform::clock;
use crate::waiting::watchers::Bell;

/// How often it is looked whether all nodes still report.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The names of locks of which something changed; given by [`LockManager::changes`].
///
/// ```
/// # use redlock_runtime::{Error, LockManager};
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
/// let mut changes = locks.changes();
/// let watching = async {
///     loop {
///         match changes.next().await {
///             Ok(names) => println!("changed: {names:?}"),
///             Err(Error::ShutDown) => return Ok(()),
///             Err(error) => return Err(error),
///         }
///     }
/// };
/// tokio::join!(watching, locks.shutdown()).0?;
/// # Ok::<(), Error>(())
/// # }).unwrap();
/// ```
#[must_use = "nothing is reported until `next` is called"]
pub struct LockChanges {
    locks: LockManager,
    bell: Arc<Bell>,
    announcements: Announcements,
    /// When it is looked next whether they report: at once for the first time.
    look_at: Option<Instant>,
}

/// Nodes that report all changes of locks.
pub(super) struct Announcements {
    /// The manager's.
    shared: Arc<Shared>,
    bell: Arc<Bell>,
    /// How each node reports; empty before it was asked for, and nothing where one cannot.
    of_nodes: Vec<Option<Box<dyn Announcing>>>,
    /// Whether all nodes report.
    are_complete: bool,
}

/// Passes on what the nodes report.
struct Passing {
    /// Not kept: the connections of a manager end with it.
    shared: Weak<Shared>,
    bell: Arc<Bell>,
}

impl Listener for Passing {
    fn changed(&self, _: usize, key: Option<&str>) {
        // Where changes went unreported, whoever watches looks all the same.
        let name = key.and_then(|key| self.shared.upgrade()?.keys.name_told(key));
        if let Some(name) = name {
            self.bell.ring(&Arc::from(name.as_str()));
        }
    }
}

impl Announcements {
    /// Rings this bell, once the nodes were asked to report.
    pub(super) fn new(shared: &Arc<Shared>, bell: &Arc<Bell>) -> Self {
        let (shared, bell) = (Arc::clone(shared), Arc::clone(bell));
        Self { shared, bell, of_nodes: Vec::new(), are_complete: false }
    }

    /// Whether all nodes reported when that was looked at last.
    pub(super) fn are_complete(&self) -> bool {
        self.are_complete
    }

    /// Asks those nodes to report that do not, or not any more.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it is asked for again.
    pub(super) async fn go_on(&mut self) {
        let engine = &self.shared.engine;
        if self.of_nodes.is_empty() {
            let prefixes: Arc<[String]> = self.shared.keys.prefixes().into();
            let passing = Arc::new(Passing { shared: Arc::downgrade(&self.shared), bell: Arc::clone(&self.bell) });
            let nodes = engine.nodes().iter().enumerate();
            let begin = |(index, node): (usize, &Arc<dyn crate::node::Voter>)| {
                let listener: Arc<dyn Listener> = Arc::<Passing>::clone(&passing);
                node.announce(&prefixes, Changes::new(index, listener))
            };
            self.of_nodes = nodes.map(begin).collect();
        }
        let reply_timeout = engine.node_timeout();
        let going_on = self.of_nodes.iter_mut().map(|node| async move {
            match node {
                Some(node) => node.go_on(reply_timeout).await,
                None => false,
            }
        });
        self.are_complete = join_all(going_on).await.into_iter().all(|is_on| is_on);
    }
}

impl LockManager {
    /// The names of locks of which something changed: acquired, extended or released, of whatever kind; a round trip or less later.
    ///
    /// Each node that can reports all of them (client tracking with broadcasts, Redis 6) on a connection of its own, which is there for as long
    /// as this is used. It is a hint for those who watch a whole fleet: what a lock is, [`inspect_each`](Self::inspect_each) tells. An
    /// expiry is reported when the server notices it; the servers of a Redis Cluster and nodes in memory report nothing; and
    /// changes during a reconnection are lost. So look at all locks now and then, too.
    ///
    /// ```
    /// # use redlock_runtime::LockManager;
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
    /// let mut changes = locks.changes();
    /// # locks.shutdown().await;
    /// while let Ok(names) = changes.next().await {
    ///     for lock in locks.inspect_each(names).await? {
    ///         println!("{lock}");
    ///     }
    /// }
    /// # Ok::<(), redlock_runtime::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn changes(&self) -> LockChanges {
        let bell = Arc::default();
        let announcements = Announcements::new(&self.shared, &bell);
        LockChanges { locks: self.clone(), bell, announcements, look_at: None }
    }
}

impl LockChanges {
    /// The names that were reported since this was called last, each once and in no order; waits until there is one.
    ///
    /// # Errors
    ///
    /// [`Error::ShutDown`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: what changed is told by the next call.
    pub async fn next(&mut self) -> Result<Vec<String>, Error> {
        let uses = self.locks.shared.engine.uses();
        on_any_executor(uses, pin!(self.change())).await
    }

    async fn change(&mut self) -> Result<Vec<String>, Error> {
        loop {
            self.locks.check_open()?;
            // Also while there is always something to tell.
            let look_at = if let Some(moment) = self.look_at.filter(|moment| *moment > clock::now()) {
                moment
            } else {
                self.announcements.go_on().await;
                *self.look_at.insert(clock::now() + LOOK_EVERY)
            };
            let names = self.bell.take_changed();
            if !names.is_empty() {
                return Ok(names.iter().map(ToString::to_string).collect());
            }
            tokio::select! {
                biased;
                () = self.bell.rung() => {}
                () = clock::sleep_until(look_at) => {}
            }
        }
    }
}

impl fmt::Debug for LockChanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockChanges").field("are_complete", &self.announcements.are_complete).finish_non_exhaustive()
    }
}
