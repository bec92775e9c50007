//! A node's answer, and what is known while it is on its way.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::sync::oneshot;

use super::ConnectionId;
use crate::platform::tasks;
use crate::protocol::{AcquireEffect, Counter, ToldMark, ToldSlots, Vote};
use crate::rules::{Rule, holds};

/// A reply that is on its way.
pub(crate) type PendingReply = Pending<Reply>;

/// What a command that is on its way comes to.
pub(crate) struct Pending<T> {
    /// What ends with it.
    reply: Replying<T>,
    /// How much longer than usual it may take, because a connection is being made for it.
    extra_time: Duration,
    /// The connection that carries it.
    carrier: Carrier,
}

/// A request that is used again for another when its reply has come: one allocation for many requests.
pub(in crate::node) trait Pooled<T>: Send {
    fn poll_reply(&mut self, cx: &mut Context<'_>) -> Poll<T>;

    /// Called when the reply has come.
    fn give_back(self: Box<Self>);
}

/// What ends with a reply.
enum Replying<T> {
    /// Anything.
    Future(Pin<Box<dyn Future<Output = T> + Send>>),
    /// What a pool lends and gets back; only in a poll that it ends is it taken out.
    Pooled(Option<Box<dyn Pooled<T>>>),
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
    /// None that matters any more: what it carried is answered, and the release that followed does no harm whenever it comes.
    Answered,
    /// The last of those that a command, or what follows from it, was put to, one after the other: what went before is answered.
    Last(Arc<Mutex<Self>>),
}

impl Carrier {
    /// One that is about to be made, and may be followed by others.
    pub(crate) fn none_yet() -> Self {
        Self::Later(Arc::default()).first()
    }

    /// One that may be followed by others ([`Self::goes_on`]).
    pub(crate) fn first(self) -> Self {
        Self::Last(Arc::new(Mutex::new(self)))
    }

    /// The command is put to another connection, because a server has sent it on; or the next command is, because it is answered.
    pub(crate) fn goes_on(&self, next: Self) {
        if let Self::Last(last) = self {
            *last.lock().unwrap_or_else(PoisonError::into_inner) = next;
        }
    }

    pub(crate) fn id(&self) -> Option<ConnectionId> {
        match self {
            Self::Unknown | Self::Answered => None,
            Self::Known(id) => Some(*id),
            Self::Later(id) => id.get().copied().flatten(),
            Self::Last(last) => last.lock().unwrap_or_else(PoisonError::into_inner).id(),
        }
    }

    /// Whether the command waited for its connection when it was put there.
    fn is_later(&self) -> bool {
        match self {
            Self::Unknown | Self::Answered | Self::Known(_) => false,
            Self::Later(_) => true,
            Self::Last(last) => last.lock().unwrap_or_else(PoisonError::into_inner).is_later(),
        }
    }

    pub(crate) fn is_answered(&self) -> bool {
        match self {
            Self::Answered => true,
            Self::Last(last) => last.lock().unwrap_or_else(PoisonError::into_inner).is_answered(),
            Self::Unknown | Self::Known(_) | Self::Later(_) => false,
        }
    }

    /// Whether there is a connection that may carry the command.
    pub(crate) fn is_made(&self) -> bool {
        match self {
            Self::Unknown | Self::Answered | Self::Known(_) => true,
            Self::Later(id) => id.get().is_some(),
            Self::Last(last) => last.lock().unwrap_or_else(PoisonError::into_inner).is_made(),
        }
    }
}

impl<T> Pending<T> {
    pub(crate) fn new(reply: impl Future<Output = T> + Send + 'static) -> Self {
        Self::with(Replying::Future(Box::pin(reply)))
    }

    /// What a pool lends, which is given back when the reply is there.
    pub(in crate::node) fn pooled(request: Box<dyn Pooled<T>>) -> Self {
        Self::with(Replying::Pooled(Some(request)))
    }

    fn with(reply: Replying<T>) -> Self {
        Self { reply, extra_time: Duration::ZERO, carrier: Carrier::Unknown }
    }

    pub(crate) fn carried_by(self, carrier: Carrier) -> Self {
        Self { carrier, ..self }
    }

    pub(crate) fn carrier(&self) -> &Carrier {
        &self.carrier
    }

    pub(crate) fn with_extra_time(self, extra_time: Duration) -> Self {
        Self { extra_time, ..self }
    }

    pub(crate) fn extra_time(&self) -> Duration {
        self.extra_time
    }
}

impl PendingReply {
    /// If its connection is still being made, lets a task of this runtime wait for it, and send.
    pub(crate) fn seen_through_if_unsent(self) -> Self {
        if !self.carrier.is_later() {
            return self;
        }
        let (told, reply) = Self::of_task(self.carrier.clone());
        tasks::spawn(async move { told.send(self.await) });
        reply
    }

    /// What a task tells that waits for a reply which comes on this carrier.
    pub(crate) fn of_task(carrier: Carrier) -> (oneshot::Sender<Reply>, Self) {
        let (told, reply) = oneshot::channel();
        let last = carrier.clone();
        let reply = async move {
            reply.await.unwrap_or_else(|_| {
                let reason = Arc::from("its tokio runtime has ended");
                let delivery = if last.is_made() { Delivery::Unknown(last.id()) } else { Delivery::NotSent };
                Reply::Failed(Failure { reason, delivery })
            })
        };
        (told, Self::new(reply).carried_by(carrier))
    }
}

impl<T> Future for Pending<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        match &mut self.reply {
            Replying::Future(reply) => reply.as_mut().poll(cx),
            Replying::Pooled(request) => {
                let reply = match request {
                    Some(request) => ready!(request.poll_reply(cx)),
                    None => unreachable!("a reply that came is not asked for again"),
                };
                if let Some(request) = request.take() {
                    request.give_back();
                }
                Poll::Ready(reply)
            }
        }
    }
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
        /// The mark of completed fires, if that was asked for; boxed, because for most locks it is not.
        mark: Option<Box<ToldMark>>,
    },
    /// What came of asking for any permit; boxed, because most locks have none.
    Slots(Box<ToldSlots>),
    /// It was not completed: the key has another value, or none, but a fire as great was completed before.
    Covered,
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
        /// The mark of completed fires, if that was asked for; boxed, because for most locks it is not.
        mark: Option<Box<ToldMark>>,
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
    /// The node answered that it cannot carry out commands of this kind, whoever asks and how often; it has done nothing.
    Incapable,
    /// It was handed to this connection, which ended before the answer came.
    Unknown(Option<ConnectionId>),
}

impl Reply {
    /// Not done, and nothing more is known.
    pub(crate) const NOT_OURS: Self = Self::NotOurs { owner: None, remaining: None, counter: None, mark: None };

    /// What counts of it in a round.
    pub(crate) fn into_vote(self) -> Vote {
        match self {
            Self::Done => Vote::Granted { counter: None, is_wanted: false, mark: None },
            Self::Granted { counter, is_wanted, mark } => Vote::Granted { counter, is_wanted, mark },
            Self::NotOurs { owner, remaining, counter, mark } => Vote::Refused { owner, remaining, counter, mark },
            Self::Covered => Vote::Refused { owner: None, remaining: None, counter: None, mark: None },
            Self::Slots(told) => Vote::Slots(told),
            Self::Missing => Vote::Missing,
            Self::Failed(_) => Vote::Failed,
        }
    }

    /// What this reply to an acquire says about the key.
    pub(crate) fn acquire_effect(&self) -> AcquireEffect {
        match self {
            Self::Done | Self::Granted { .. } => AcquireEffect::Set,
            Self::Slots(told) if told.granted.is_some() => AcquireEffect::Set,
            Self::Slots(_) | Self::NotOurs { .. } | Self::Covered | Self::Missing => AcquireEffect::NotSet,
            Self::Failed(failure) => match failure.delivery {
                Delivery::NotSent | Delivery::Incapable => AcquireEffect::NotSet,
                _ if !holds(Rule::MaybeSetIsReleased) => AcquireEffect::NotSet,
                Delivery::Answered | Delivery::Unknown(_) => AcquireEffect::MaybeSet,
            },
        }
    }

    /// The connection that ended before the node answered, and may still carry the command.
    pub(crate) fn broken_connection(&self) -> Option<ConnectionId> {
        match self {
            Self::Failed(Failure { delivery: Delivery::Unknown(connection), .. }) => *connection,
            _ => None,
        }
    }

    /// It is asked of a kind of lock that does not offer it.
    pub(crate) fn not_offered() -> Self {
        Self::not_sent("locks of this kind do not offer that")
    }

    pub(crate) fn not_sent(reason: impl Into<Arc<str>>) -> Self {
        Self::Failed(Failure { reason: reason.into(), delivery: Delivery::NotSent })
    }
}
