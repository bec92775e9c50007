//! One voter; and what somebody else implements to bring one of their own: [`Node`].

pub(crate) mod check;
mod command;
mod connection_id;
pub(crate) mod counters;
pub(crate) mod custom;
mod identity;
pub(crate) mod inspect;
pub(crate) mod limits;
pub(crate) mod memory;
pub(crate) mod redis;
mod reply;
#[cfg(test)]
pub(crate) mod scripted;

use std::fmt::Debug;
use std::sync::Arc;

pub use self::custom::{
    Acquire, BoxFuture, Commit, CounterRule, Extend, Held, Identity, Keep, Node, NodeError, Outcome, Release, Vote,
};

use self::check::Examining;
pub(crate) use self::command::{Action, Command, MarkQuery, NewMark, Predecessor};
pub(crate) use self::connection_id::{ConnectionId, PeerAddress};
use self::counters::Counting;
use self::inspect::Inspecting;
pub(crate) use self::reply::{Carrier, Delivery, Failure, Pending, PendingReply, Reply};
use crate::observe::NodeView;
pub(crate) use crate::protocol::NodeStatus;

/// One independent master that votes on who holds a lock.
pub(crate) trait Voter: Counting + Examining + Inspecting + Debug + Send + Sync {
    /// The node's URL, without credentials.
    fn label(&self) -> &str;

    /// Which node it is, to whichever manager it belongs.
    fn id(&self) -> VoterId<'_> {
        VoterId::Address(self.label())
    }

    /// Puts a command to the node.
    ///
    /// The command is handed over when the reply is polled for the first time. From then on the reply must be
    /// polled to its end, by whomever: a reply that is dropped leaves open whether the command was sent. It has
    /// no deadline of its own; it ends when the node answers or the connection is closed.
    fn ask(&self, command: Arc<Command>) -> PendingReply;

    /// What is known about the server that votes on this key, at least as new as the last vote on it.
    fn known(&self, key: &str) -> NodeStatus;

    /// Tells the node that a reply about this key did not come in time. Until whatever it is answers again, the node votes
    /// "no" at once where that would be asked.
    fn overdue(&self, key: &str);

    /// Reports changes of keys from now on; called once, before anything is asked.
    ///
    /// A change of a key is reported once behind each acquire that was refused while it was watched ([`Action::Acquire`]),
    /// at least when the key is deleted or overwritten; not when it expires. A node that cannot report any more, or
    /// could not for a while (its connection ended, or was made anew, or answers again), reports that any key may have
    /// changed.
    fn report_to(&self, changes: Changes);

    /// Tells from now on whether the node answers, also while nothing is asked; called once, before anything is. What an answer
    /// shows is told by whoever asked.
    fn show_to(&self, _: NodeView) {}

    /// Whether it is at the other end of a socket.
    fn uses_sockets(&self) -> bool {
        true
    }

    /// Whether it is in this process's memory, and so can live by the clock of whoever asks.
    fn is_in_memory(&self) -> bool {
        false
    }

    /// Whether it keeps marks of completed fires.
    fn keeps_marks(&self) -> bool {
        true
    }

    /// Whether it can grant one of several keys.
    fn grants_permits(&self) -> bool {
        true
    }

    /// Whether it can reserve fencing tokens with a grant.
    fn reserves_tokens(&self) -> bool {
        true
    }

    /// Ends all connections for good. Releases are still sent, each on a connection of its own; nothing else is.
    fn close(&self) {}
}

/// What tells one node from another, as far as that is known without asking it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VoterId<'a> {
    /// Whoever is configured with this address asks this node.
    Address(&'a str),
    /// It is this object of this process.
    Object(usize),
}

/// Who wants to know of changes of keys.
pub(crate) trait Listener: Send + Sync {
    /// A node says that a key changed, or that any key may have (`None`). Called on the way of the node's answers, so it
    /// must be quick.
    fn changed(&self, node: usize, key: Option<&str>);
}

/// Where a node reports changes of keys.
///
/// ```
/// # use std::sync::Mutex;
/// # use redlock_runtime::LockManager;
/// use redlock_runtime::node::{Changes, Node};
/// # use redlock_runtime::node::{Acquire, BoxFuture, Extend, NodeError, Outcome, Release, Vote};
/// use tokio::sync::mpsc::Receiver;
///
/// /// What the store reports to this process: the keys that others released.
/// struct Store(Mutex<Option<Receiver<String>>>);
///
/// impl Node for Store {
///     fn watch(&self, changes: Changes) {
///         let mut released = self.0.lock().unwrap().take().expect("it is called once");
///         tokio::spawn(async move {
///             while let Some(key) = released.recv().await {
///                 changes.key(&key);
///             }
///             changes.any(); // from here on nothing is reported
///         });
///     }
///     // …
/// #     fn label(&self) -> &str { "store" }
/// #     fn acquire(&self, _: Acquire) -> BoxFuture<'_, Result<Vote, NodeError>> { Box::pin(async { Ok(Vote::granted()) }) }
/// #     fn extend(&self, _: Extend) -> BoxFuture<'_, Result<Outcome, NodeError>> { Box::pin(async { Ok(Outcome::Done) }) }
/// #     fn release(&self, _: Release) -> BoxFuture<'_, Result<Outcome, NodeError>> { Box::pin(async { Ok(Outcome::Done) }) }
/// }
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let (store, reported) = tokio::sync::mpsc::channel(8);
/// let locks = LockManager::builder().node(Store(Mutex::new(Some(reported)))).fencing(false).build()?;
/// store.send("redlock:ConfigurableLock.invoice:7".to_owned()).await.unwrap();
/// # drop(store);
/// # locks.lock("invoice:7").acquire().await?.release().await?;
/// # Ok::<(), redlock_runtime::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct Changes {
    /// The node's position in the configuration.
    node: usize,
    /// Who is told.
    listener: Arc<dyn Listener>,
}

impl Changes {
    pub(crate) fn new(node: usize, listener: Arc<dyn Listener>) -> Self {
        Self { node, listener }
    }

    /// Whether both tell the same listener of the same node.
    pub(crate) fn is_same_as(&self, other: &Self) -> bool {
        self.node == other.node && std::ptr::addr_eq(Arc::as_ptr(&self.listener), Arc::as_ptr(&other.listener))
    }

    /// This key changed. Returns at once.
    pub fn key(&self, key: &str) {
        self.listener.changed(self.node, Some(key));
    }

    /// Any key may have changed: changes went unreported, or may from now on. Returns at once.
    pub fn any(&self) {
        self.listener.changed(self.node, None);
    }
}

impl Debug for Changes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Changes").field("node", &self.node).finish_non_exhaustive()
    }
}
