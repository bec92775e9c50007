//! One voter.

mod commands;
pub(crate) mod connection;
pub(crate) mod counting;
mod identity;
pub(crate) mod memory;
pub(crate) mod redis;

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::oneshot;

use self::counting::Counting;
use crate::protocol::Papers;

/// One independent master that votes on who holds a lock.
pub(crate) trait Node: Counting + Debug + Send + Sync {
    /// The node's URL, without credentials.
    fn label(&self) -> &str;

    /// Puts a command to the node.
    ///
    /// The command is handed over when the reply is polled for the first time. From then on the reply must be
    /// polled to its end, by whomever: a reply that is dropped leaves open whether the command was sent. It has
    /// no deadline of its own; it ends when the node answers or the connection is closed.
    fn ask(&self, command: Arc<Command>) -> PendingReply;

    /// What is known about the server behind it, at least as new as the last vote that came from it.
    fn known(&self) -> Known;

    /// Tells the node that a reply did not come in time. Until it answers again it votes "no" at once.
    fn overdue(&self);
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
pub(crate) struct PendingReply {
    /// Ends with the reply.
    reply: Pin<Box<dyn Future<Output = Reply> + Send>>,
    /// How much longer than usual it may take, because a connection is being made for it.
    extra_patience: Duration,
    /// The connection that carries it.
    carrier: Carrier,
}

/// The connection that carries a command.
#[derive(Clone, Debug)]
pub(crate) enum Carrier {
    /// None that a server could be asked to kill.
    Unknown,
    /// This one.
    Known(ConnectionId),
    /// One that is being made; set before the command is sent.
    Later(Arc<OnceLock<ConnectionId>>),
}

impl Carrier {
    pub(crate) fn id(&self) -> Option<ConnectionId> {
        match self {
            Self::Unknown => None,
            Self::Known(id) => Some(*id),
            Self::Later(id) => id.get().copied(),
        }
    }
}

impl PendingReply {
    pub(crate) fn new(reply: impl Future<Output = Reply> + Send + 'static) -> Self {
        Self { reply: Box::pin(reply), extra_patience: Duration::ZERO, carrier: Carrier::Unknown }
    }

    /// If its connection is still being made, lets a task of this runtime wait for it, and send.
    pub(crate) fn seen_through_if_unsent(self) -> Self {
        let Carrier::Later(id) = &self.carrier else { return self };
        let (carrier, id) = (self.carrier.clone(), Arc::clone(id));
        let (told, reply) = oneshot::channel();
        tokio::spawn(async move { told.send(self.await) });
        let reply = async move {
            reply.await.unwrap_or_else(|_| {
                let reason = Arc::from("its tokio runtime has ended");
                let delivery = id.get().map_or(Delivery::NotSent, |id| Delivery::Unknown(Some(*id)));
                Reply::Failed(Failure { reason, delivery })
            })
        };
        Self::new(reply).carried_by(carrier)
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

impl Future for PendingReply {
    type Output = Reply;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Reply> {
        self.reply.as_mut().poll(cx)
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
    /// Set when nobody wants the command any more: a node that has not sent it yet then does not.
    recalled: AtomicBool,
}

impl Command {
    pub(crate) fn new(action: Action, key: &Arc<str>, owner: &Arc<str>) -> Arc<Self> {
        let (key, owner) = (Arc::clone(key), Arc::clone(owner));
        Arc::new(Self { action, key, owner, recalled: AtomicBool::new(false) })
    }

    pub(crate) fn recall(&self) {
        self.recalled.store(true, Ordering::Release);
    }

    pub(crate) fn is_recalled(&self) -> bool {
        self.recalled.load(Ordering::Acquire)
    }
}

/// What a command does with its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Set the key to the owner's value if it does not exist.
    Acquire {
        /// How long the key lives.
        ttl: Duration,
    },
    /// Let the key live for the TTL from now, if it has the owner's value.
    Extend {
        /// How long the key lives from now.
        ttl: Duration,
    },
    /// Delete the key, if it has the owner's value.
    Release {
        /// If not zero, let the key live for this much longer instead of deleting it.
        keep: Duration,
        /// A connection whose commands may still be travelling: it is killed first, so that none of them can be
        /// applied behind this release.
        behind: Option<ConnectionId>,
    },
}

/// Which connection to which server: a server that restarts counts its connections from the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConnectionId {
    /// By which number the server knows it.
    pub(crate) number: i64,
    /// A hash of the server's `run_id`.
    pub(crate) server: u64,
}

/// A node's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// It was done.
    Done,
    /// It was not extended: there is no such key.
    Missing,
    /// It was not done: the key has another value, or none.
    NotOurs {
        /// The other owner, if the node said so.
        owner: Option<Arc<str>>,
        /// How long the other owner's key lives, if the node said so.
        remaining: Option<Duration>,
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
    pub(crate) const NOT_OURS: Self = Self::NotOurs { owner: None, remaining: None };

    pub(crate) fn not_sent(reason: impl Into<Arc<str>>) -> Self {
        Self::Failed(Failure { reason: reason.into(), delivery: Delivery::NotSent })
    }
}
