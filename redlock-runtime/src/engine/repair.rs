//! Keys of a held lock, set again on nodes that lost them.
//!
//! Nodes that restart empty one after the other would else take a lock away without ever a majority of them being down.
//! Source: <https://github.com/go-redsync/redsync/issues/147>.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::release_round::{Cut, PendingRelease, ReleaseRound};
use super::{Engine, InFlight};
use crate::node::{Command, Reply};
use crate::platform::clock;
use crate::platform::deadline::Deadline;
use crate::protocol::{AcquireEffect, Ledger, NodeSet, reply_timeout};
use crate::rules::{Rule, holds};
use crate::values::subject::Subject;

/// An extension that a majority confirmed.
pub(crate) struct Extended {
    /// The new end of the validity.
    pub(crate) valid_until: Instant,
    /// Nodes that have no such key any more.
    pub(super) missing: NodeSet,
    /// Replies that are on their way.
    pub(super) rest: Vec<InFlight>,
}

/// Keys that were set again, and what stands beside them, for whoever answers for their release.
#[derive(Default)]
pub(crate) struct Repairs {
    /// Nodes on which the key is, or may be, set again.
    pub(super) set: NodeSet,
    /// Requests whose reply is on its way.
    pub(super) asked: Vec<InFlight>,
    /// Connections that ended before they answered.
    pub(super) cut: Cut,
    /// Whether the owner may be noted beside its keys.
    pub(super) is_noted: bool,
}

impl Extended {
    /// Sees the late replies through, for those who do not repair.
    pub(crate) fn leave(self, engine: &Engine) {
        engine.poll_in_background(self.rest);
    }
}

impl Repairs {
    /// What an acquire may have left on a node that was answered so.
    pub(super) fn after_acquire(node: usize, reply: &Reply) -> Self {
        let mut left = Self { set: [node].into_iter().collect(), ..Self::default() };
        left.cut.record(node, reply);
        left
    }

    /// With what else is to be released: whether the owner may be noted beside its keys.
    pub(crate) fn beside_note(self, is_noted: bool) -> Self {
        Self { is_noted, ..self }
    }

    /// Whether there is nothing to answer for.
    pub(crate) fn is_empty(&self) -> bool {
        let Self { set, asked, cut, is_noted } = self;
        set.is_empty() && asked.is_empty() && cut.is_empty() && !is_noted
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.set = self.set.iter().chain(other.set.iter()).collect();
        self.asked.extend(other.asked);
        self.cut.add(&other.cut);
        self.is_noted |= other.is_noted;
    }
}

impl Engine {
    /// An extension of which no majority told, with the key missing everywhere: what is taken for granted where
    /// [`Rule::RepairAfterMajority`](crate::rules::Rule) does not hold.
    pub(crate) fn assumed_extended(&self, valid_until: Instant) -> Extended {
        Extended { valid_until, missing: NodeSet::first(self.quorum.nodes()), rest: Vec::new() }
    }

    /// Sets the key again on nodes that lost it: only behind an extension by a majority, and while that is valid. Ends
    /// early, asking nobody any more, when `over` does.
    pub(crate) async fn repair(
        &self,
        subject: &Subject,
        owner: &Arc<str>,
        ttl: Duration,
        extended: Extended,
        over: impl Future<Output = ()>,
    ) -> Repairs {
        let Extended { valid_until, mut missing, mut rest } = extended;
        let mut over = pin!(over);
        let reply_timeout = reply_timeout(self.node_timeout, ttl);
        let listened = self.listen(&mut rest, reply_timeout, over.as_mut(), |node, reply| {
            if *reply == Reply::Missing {
                missing.insert(node);
            }
        });
        let is_over = listened.await;
        if !is_over {
            // Most locks are only renewed, so that nobody else would find that a node does not answer.
            for asked in &rest {
                self.overdue(asked.node, subject.key());
            }
        }
        self.poll_in_background(rest);
        let is_held = clock::now() < valid_until || !holds(Rule::RepairAfterMajority);
        if is_over || missing.is_empty() || !is_held {
            return Repairs::default();
        }

        let command = Command::set_again(ttl, subject, owner);
        let ask = |node| self.ask(node, &command);
        let mut repairs = Repairs { asked: missing.iter().map(ask).collect(), ..Repairs::default() };
        let Repairs { set, asked, cut, .. } = &mut repairs;
        self.listen(asked, reply_timeout, over, |node, reply| {
            cut.record(node, reply);
            if reply.acquire_effect() != AcquireEffect::NotSet {
                set.insert(node);
            }
        })
        .await;
        // What has not left this process by now shall not leave it later.
        command.recall();
        repairs
    }

    /// Leaves keys where they are, because somebody else answers for them: but for those that are just being set. He may have
    /// released the lock before they are.
    pub(crate) fn leave(self: &Arc<Self>, subject: &Subject, owner: &Arc<str>, repairs: Repairs) {
        let late = Repairs { set: NodeSet::default(), ..repairs };
        if late.asked.is_empty() || !holds(Rule::LateKeysAreReleased) {
            return self.poll_in_background(late.asked);
        }
        self.undo(subject, owner, late);
    }

    /// Releases keys that were set again when the lock was over already.
    pub(crate) fn undo(self: &Arc<Self>, subject: &Subject, owner: &Arc<str>, repairs: Repairs) {
        let mut release = PendingRelease::new(self.track_release(), subject.clone(), Arc::clone(owner));
        (release.cut, release.is_noted) = (repairs.cut, repairs.is_noted);
        drop(ReleaseRound::start(Arc::new(release), Ledger::of(repairs.set), repairs.set, repairs.asked));
    }

    /// Waits for replies until all have come, their time is over, or `over` is; says whether it was the last.
    async fn listen(
        &self,
        in_flight: &mut Vec<InFlight>,
        reply_timeout: Duration,
        mut over: Pin<&mut impl Future<Output = ()>>,
        mut on_reply: impl FnMut(usize, &Reply),
    ) -> bool {
        let mut late = Deadline::after(reply_timeout);
        poll_fn(|cx| {
            self.poll_each(in_flight, cx, |node, reply| on_reply(node, &reply));
            if over.as_mut().poll(cx).is_ready() {
                return Poll::Ready(true);
            }
            if in_flight.is_empty() || Pin::new(&mut late).poll(cx).is_ready() {
                Poll::Ready(false)
            } else {
                Poll::Pending
            }
        })
        .await
    }
}
