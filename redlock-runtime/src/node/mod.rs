//! One voter; and what somebody else implements to bring one of their own: [`Node`].

pub(crate) mod counting;
pub(crate) mod custom;
pub(crate) mod examining;
pub(crate) mod inspecting;
pub(crate) mod memory;
pub(crate) mod redis;
#[cfg(test)]
pub(crate) mod scripted;

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::oneshot;

pub use self::custom::{
    Acquire, BoxFuture, Commit, CounterRule, Extend, Held, Identity, Keep, Node, NodeError, Outcome, Release, Vote,
};

use self::counting::Counting;
use self::examining::{Examining, Trial};
use self::inspecting::Inspecting;
use self::redis::commands::Wording;
use self::redis::link::endpoint::PeerAddress;
use self::redis::{Errand, Redirect};
use crate::platform::tasks;
use crate::protocol::{Counter, Papers, Proposal, RETENTION};

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
    fn known(&self, key: &str) -> Known;

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

    /// Whether it is at the other end of a socket.
    fn uses_sockets(&self) -> bool {
        true
    }

    /// Whether it is in this process's memory, and so can live by the clock of whoever asks.
    fn is_in_memory(&self) -> bool {
        false
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

/// What is known about a server.
#[derive(Clone, Debug)]
pub(crate) enum Known {
    /// What it said about itself.
    Papers(Arc<Papers>),
    /// A connection is being made for the first time.
    NotYet,
    /// There is no connection.
    Unreachable,
}

/// A reply that is on its way.
pub(crate) type PendingReply = Pending<Reply>;

/// What a command that is on its way comes to.
pub(crate) struct Pending<T> {
    /// What ends with it.
    reply: Replying<T>,
    /// How much longer than usual it may take, because a connection is being made for it.
    extra_patience: Duration,
    /// The connection that carries it.
    carrier: Carrier,
}

/// What a command that is on its way comes to, by what the server answers.
type Finish<T> = fn(Result<Reply, Redirect>) -> T;

/// What ends with a reply.
enum Replying<T> {
    /// Anything.
    Future(Pin<Box<dyn Future<Output = T> + Send>>),
    /// One command to a server.
    Errand(Errand, Finish<T>),
}

/// The connection that carries a command.
#[derive(Clone, Debug)]
pub(crate) enum Carrier {
    /// None that a server could be asked to kill.
    Unknown,
    /// This one.
    Known(ConnectionId),
    /// One that is being made; set before the command is sent, to none for one that a server could not be asked to kill.
    Later(Arc<OnceLock<Option<ConnectionId>>>),
}

impl Carrier {
    pub(crate) fn id(&self) -> Option<ConnectionId> {
        match self {
            Self::Unknown => None,
            Self::Known(id) => Some(*id),
            Self::Later(id) => id.get().copied().flatten(),
        }
    }

    /// Whether there is a connection that may carry the command.
    pub(crate) fn is_made(&self) -> bool {
        match self {
            Self::Unknown | Self::Known(_) => true,
            Self::Later(id) => id.get().is_some(),
        }
    }
}

impl<T> Pending<T> {
    pub(crate) fn new(reply: impl Future<Output = T> + Send + 'static) -> Self {
        Self::with(Replying::Future(Box::pin(reply)))
    }

    fn to(errand: Errand, finish: Finish<T>) -> Self {
        Self::with(Replying::Errand(errand, finish))
    }

    fn with(reply: Replying<T>) -> Self {
        Self { reply, extra_patience: Duration::ZERO, carrier: Carrier::Unknown }
    }

    pub(crate) fn carried_by(self, carrier: Carrier) -> Self {
        Self { carrier, ..self }
    }

    pub(crate) fn carrier(&self) -> &Carrier {
        &self.carrier
    }

    pub(crate) fn with_extra_patience(self, extra_patience: Duration) -> Self {
        Self { extra_patience, ..self }
    }

    pub(crate) fn extra_patience(&self) -> Duration {
        self.extra_patience
    }
}

impl PendingReply {
    /// If its connection is still being made, lets a task of this runtime wait for it, and send.
    pub(crate) fn seen_through_if_unsent(self) -> Self {
        let Carrier::Later(id) = &self.carrier else { return self };
        let (carrier, id) = (self.carrier.clone(), Arc::clone(id));
        let (told, reply) = oneshot::channel();
        tasks::spawn(async move { told.send(self.await) });
        let reply = async move {
            reply.await.unwrap_or_else(|_| {
                let reason = Arc::from("its tokio runtime has ended");
                let delivery = id.get().map_or(Delivery::NotSent, |id| Delivery::Unknown(*id));
                Reply::Failed(Failure { reason, delivery })
            })
        };
        Self::new(reply).carried_by(carrier)
    }
}

impl<T> Future for Pending<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        match &mut self.reply {
            Replying::Future(reply) => reply.as_mut().poll(cx),
            Replying::Errand(errand, finish) => errand.poll_reply(cx).map(*finish),
        }
    }
}

/// One request of one owner for one key.
#[derive(Debug)]
pub(crate) struct Command {
    /// What to do with the key.
    pub(crate) action: Action,
    /// The key, the same on every node.
    pub(crate) key: Arc<str>,
    /// The owner's value.
    pub(crate) owner: Arc<str>,
    /// Which process asks, if this acquire comes from one that waits for the key: such processes are noted.
    pub(crate) contender: Option<Arc<str>>,
    /// What the lock's fencing counter is raised to at least, if it has one.
    pub(crate) fence: Option<Proposal>,
    /// Whose lock it was before this owner adopts it, or did.
    pub(crate) predecessor: Option<Arc<Predecessor>>,
    /// How long that counter stays when it is not used any more.
    pub(crate) retention: Duration,
    /// Set when nobody wants the command any more: a node that has not sent it yet then does not.
    recalled: AtomicBool,
    /// How it is put to a Redis server: the same to all that are alike.
    wording: Wording,
}

impl Command {
    pub(crate) fn new(action: Action, key: &Arc<str>, owner: &Arc<str>) -> Arc<Self> {
        Self::acquire(action, key, owner, None, None)
    }

    /// An acquire, or the commit behind it, with what else it does. By one of those who wait for the key: refused, it notes
    /// its process there; granted, it tells whether another process waits.
    pub(crate) fn acquire(
        action: Action,
        key: &Arc<str>,
        owner: &Arc<str>,
        contender: Option<Arc<str>>,
        fence: Option<Proposal>,
    ) -> Arc<Self> {
        Arc::new(Self { contender, fence, ..Self::plain(action, key, owner) })
    }

    /// A command of an owner who adopts the lock, or did.
    pub(crate) fn of_successor(
        action: Action,
        key: &Arc<str>,
        owner: &Arc<str>,
        predecessor: Option<&Arc<Predecessor>>,
        fence: Option<Proposal>,
    ) -> Arc<Self> {
        Arc::new(Self { fence, predecessor: predecessor.cloned(), ..Self::plain(action, key, owner) })
    }

    fn plain(action: Action, key: &Arc<str>, owner: &Arc<str>) -> Self {
        let (key, owner) = (Arc::clone(key), Arc::clone(owner));
        let (retention, recalled, wording) = (RETENTION, AtomicBool::new(false), Wording::default());
        let (contender, fence, predecessor) = (None, None, None);
        Self { action, key, owner, contender, fence, predecessor, retention, recalled, wording }
    }

    /// A command on a lock that is tried out: whatever it writes is gone soon.
    pub(crate) fn tried_out(action: Action, key: &Arc<str>, owner: &Arc<str>, fence: Option<Proposal>) -> Arc<Self> {
        Arc::new(Self { fence, retention: Trial::TTL, ..Self::plain(action, key, owner) })
    }

    /// Whether the owner may be noted beside the key.
    pub(crate) fn is_noted(&self) -> bool {
        match self.action {
            Action::Acquire { .. } | Action::Adopt { .. } | Action::Commit { .. } => false,
            Action::Extend { is_noted, .. } | Action::Release { is_noted, .. } => is_noted,
        }
    }

    /// Whether a key with this value is the owner's from this adoption on.
    pub(crate) fn is_to_adopt_from(&self, value: &Arc<str>) -> bool {
        *value == self.owner || self.predecessor.as_ref().is_some_and(|before| before.owner == *value)
    }

    /// Whose a key is again that this release is about.
    pub(crate) fn gives_back(&self) -> Option<&Predecessor> {
        self.predecessor.as_deref().filter(|before| before.gets_back.is_some())
    }

    /// Whether this release is about a key with this value.
    pub(crate) fn releases(&self, value: &Arc<str>) -> bool {
        let releases_both = self.predecessor.as_ref().is_some_and(|before| before.gets_back.is_none());
        *value == self.owner || releases_both && self.is_to_adopt_from(value)
    }

    pub(crate) fn recall(&self) {
        self.recalled.store(true, Ordering::Release);
    }

    pub(crate) fn is_recalled(&self) -> bool {
        self.recalled.load(Ordering::Acquire)
    }
}

/// Whose a lock was before it was adopted.
#[derive(Debug)]
pub(crate) struct Predecessor {
    /// The value that the key had.
    pub(crate) owner: Arc<str>,
    /// Whether a release gives the key back, for so long at least where what is left of it is not known. Else it also releases
    /// the key where it is the predecessor's still.
    pub(crate) gets_back: Option<Duration>,
}

/// What a command does with its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Set the key to the owner's value if it does not exist.
    Acquire {
        /// How long the key lives.
        ttl: Duration,
        /// Whether the next change of the key is to be reported if this is refused.
        is_watched: bool,
    },
    /// Give the key to the owner if it is the predecessor's ([`Command::predecessor`]), or the owner's already, and let it live
    /// for the TTL from now, or for as long as it would if that is longer. A grant tells the fencing counter, and does not
    /// raise it. May be repeated at will.
    Adopt {
        /// How long the key lives from now.
        ttl: Duration,
    },
    /// Raise the lock's fencing counter to this token, if the key has the owner's value.
    Commit {
        /// The token.
        token: u64,
    },
    /// Let the key live for the TTL from now, if it has the owner's value.
    Extend {
        /// How long the key lives from now.
        ttl: Duration,
        /// Whether the owner is noted beside the key: the note lives as long.
        is_noted: bool,
    },
    /// Delete the key, if it has the owner's value.
    Release {
        /// If not zero, let the key live for this much longer instead of deleting it, under a value that no owner has.
        keep: Duration,
        /// A connection whose commands may still be travelling: it is killed first, so that none of them can be
        /// applied behind this release.
        behind: Option<ConnectionId>,
        /// Whether the owner may be noted beside the key: the note goes with it.
        is_noted: bool,
    },
}

/// Which connection to which server: a server that restarts counts its connections from the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConnectionId {
    /// By which number the server knows it; behind a proxy, that may be the number of a connection that others use as well.
    pub(crate) number: i64,
    /// What the server calls our end of it, unless a proxy is in between.
    pub(crate) peer: PeerAddress,
    /// A hash of the server's `run_id`.
    pub(crate) server: u64,
}

/// A node's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// It was done.
    Done,
    /// The lock was granted.
    Granted {
        /// Its fencing counter, if that was asked for.
        counter: Option<Counter>,
        /// Whether another process waits for it.
        is_wanted: bool,
    },
    /// It was not extended: there is no such key.
    Missing,
    /// It was not done: the key has another value, or none.
    NotOurs {
        /// The other owner, if the node said so.
        owner: Option<Arc<str>>,
        /// How long the other owner's key lives, if the node said so.
        remaining: Option<Duration>,
        /// The lock's fencing counter, if that was asked for.
        counter: Option<Counter>,
    },
    /// No vote.
    Failed(Failure),
}

/// Why a node did not vote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// For people; without credentials.
    pub(crate) reason: Arc<str>,
    /// What is known about the command.
    pub(crate) delivery: Delivery,
}

/// What is known about a command that was not answered with a vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// It never left this process.
    NotSent,
    /// The node answered it with an error. An error after a write leaves the write.
    Answered,
    /// It was handed to this connection, which ended before the answer came.
    Unknown(Option<ConnectionId>),
}

impl Reply {
    /// Not done, and nothing more is known.
    pub(crate) const NOT_OURS: Self = Self::NotOurs { owner: None, remaining: None, counter: None };

    pub(crate) fn not_sent(reason: impl Into<Arc<str>>) -> Self {
        Self::Failed(Failure { reason: reason.into(), delivery: Delivery::NotSent })
    }
}
