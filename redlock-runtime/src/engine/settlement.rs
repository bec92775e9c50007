//! Releases, seen through to their end.

use std::future::{Future, poll_fn};
use std::mem;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::sleep;

use super::hold::fate;
use super::{Engine, InFlight, Lost, poll_each};
use crate::background::background;
use crate::clock;
use crate::entropy::seed;
use crate::node::connection::DEAD_AFTER_TIMEOUTS;
use crate::node::{Action, Command, ConnectionId, Delivery, Node, PendingReply, Reply};
use crate::protocol::{Backoff, Fate, NodeSet, Verdict};

/// How long a release is sent again to a node that does not confirm it. By then the key has expired on a node that was
/// down; on one that was frozen for longer than this it lives for its TTL after the node wakes up.
const KEEP_TRYING: Duration = Duration::from_secs(120);

/// Pauses between two tries of a release: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// How many releases are on their way, for those who wait until there are none.
#[derive(Debug, Default)]
pub(crate) struct Debts {
    /// Settlements that are not through.
    open: AtomicUsize,
    /// Told when there are none left.
    settled: Notify,
}

impl Debts {
    /// Waits until every release that was begun is confirmed, or given up.
    pub(crate) async fn settled(&self) {
        loop {
            let settled = self.settled.notified();
            if self.open.load(Ordering::Acquire) == 0 {
                return;
            }
            settled.await;
        }
    }
}

/// Who releases what.
pub(super) struct Owner {
    /// The nodes.
    pub(super) engine: Arc<Engine>,
    /// The key.
    pub(super) key: Arc<str>,
    /// The owner's value.
    pub(super) value: Arc<str>,
    /// The key stays until this moment.
    pub(super) keep_until: Option<Instant>,
}

/// The releases of one owner on all nodes.
///
/// Dropping it lets them go on: on the caller's runtime while that lives and the release is confirmed, else in the
/// background.
pub(super) struct Settlement {
    /// Who releases what.
    owner: Arc<Owner>,
    /// Releases whose reply is on its way.
    in_flight: Vec<InFlight>,
    /// Nodes whose release failed and is to be sent again.
    failed: NodeSet,
    /// Whether the caller has been told how it ended; before that, a drop means that the caller was cancelled.
    is_reported: bool,
}

impl Settlement {
    /// Prepares a release for each of `nodes`, and one behind each of the stragglers.
    pub(super) fn start(owner: Arc<Owner>, nodes: NodeSet, stragglers: Vec<InFlight>) -> Self {
        owner.engine.debts.open.fetch_add(1, Ordering::AcqRel);
        let mut in_flight = Vec::with_capacity(nodes.len() + stragglers.len());
        for node in nodes.iter() {
            in_flight.push(InFlight { node, reply: owner.ask(node, None) });
        }
        for InFlight { node, reply } in stragglers {
            in_flight.push(InFlight { node, reply: Arc::clone(&owner).release_behind(node, reply) });
        }
        Self { owner, in_flight, failed: NodeSet::default(), is_reported: false }
    }

    /// Waits for a majority to confirm.
    pub(super) async fn confirm(mut self) -> Result<(), Lost> {
        let Self { owner, in_flight, failed, is_reported } = &mut self;
        let engine = &owner.engine;
        let listen = engine.hear(in_flight, engine.node_timeout, |node, reply| {
            if is_failure(reply) {
                failed.insert(node);
            }
        });
        let (verdict, heard) = listen.await;
        *is_reported = true;
        match verdict {
            Verdict::Won => Ok(()),
            // Nodes that never held the key say so too; only a majority of them speaks for the lock.
            Verdict::Refused if heard.round.refused().len() < engine.quorum.needed() => {
                Err(heard.into_lost(Verdict::Unreachable))
            }
            verdict => Err(heard.into_lost(verdict)),
        }
    }

    /// Waits until each of `nodes` has answered, or its time is over.
    pub(super) async fn settle(mut self, nodes: NodeSet) {
        let Self { owner, in_flight, failed, is_reported } = &mut self;
        let mut over = pin!(sleep(owner.engine.node_timeout));
        poll_fn(|cx| {
            poll_each(in_flight, cx, |node, reply| {
                if is_failure(&reply) {
                    failed.insert(node);
                }
            });
            let is_waiting = in_flight.iter().any(|asked| nodes.contains(asked.node));
            if is_waiting && over.as_mut().poll(cx).is_pending() { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
        *is_reported = true;
    }

    /// Sees every reply through, and sends again what failed.
    async fn go_on(mut self) {
        let Self { owner, in_flight, failed, .. } = &mut self;
        let mut overdue = Some(Box::pin(sleep(owner.engine.node_timeout)));
        poll_fn(|cx| {
            poll_each(in_flight, cx, |node, reply| {
                if is_failure(&reply) {
                    failed.insert(node);
                }
            });
            if in_flight.is_empty() {
                return Poll::Ready(());
            }
            if overdue.as_mut().is_some_and(|timer| timer.as_mut().poll(cx).is_ready()) {
                overdue = None;
                for asked in in_flight.iter() {
                    owner.engine.nodes[asked.node].overdue();
                }
            }
            Poll::Pending
        })
        .await;
    }
}

impl Drop for Settlement {
    fn drop(&mut self) {
        let is_cancelled = !mem::replace(&mut self.is_reported, true);
        let in_flight = mem::take(&mut self.in_flight);
        let mut failed = mem::take(&mut self.failed);
        let owner = Arc::clone(&self.owner);
        if is_cancelled {
            // The runtime of the requests that are on their way may be blocked, or ending: send them once more, where
            // neither matters. A release that comes twice finds nothing.
            failed = in_flight.iter().map(|asked| asked.node).chain(failed.iter()).collect();
        }
        if !failed.is_empty() {
            for node in failed.iter() {
                owner.engine.debts.open.fetch_add(1, Ordering::AcqRel);
                let owner = Arc::clone(&owner);
                background().spawn(async move {
                    owner.send_until_confirmed(node, None).await;
                    owner.close_one();
                });
            }
        }
        if !in_flight.is_empty() {
            let rest = Self { owner: Arc::clone(&owner), in_flight, failed: NodeSet::default(), is_reported: false };
            owner.engine.debts.open.fetch_add(1, Ordering::AcqRel);
            match tokio::runtime::Handle::try_current() {
                Ok(runtime) if !is_cancelled => runtime.spawn(rest.go_on()),
                _ => background().spawn(rest.go_on()),
            };
        }
        self.owner.close_one();
    }
}

impl Owner {
    /// One release request to one node.
    fn ask(&self, node: usize, behind: Option<ConnectionId>) -> PendingReply {
        let now = clock::now();
        let keep = self.keep_until.map_or(Duration::ZERO, |moment| moment.saturating_duration_since(now));
        self.engine.nodes[node].ask(Command::new(Action::Release { keep, behind }, &self.key, &self.value))
    }

    /// Waits until an acquire has ended and then releases whatever it left. A release sent earlier could overtake it.
    fn release_behind(self: Arc<Self>, node: usize, straggler: PendingReply) -> PendingReply {
        PendingReply::new(async move {
            let carrier = straggler.carrier().clone();
            let mut straggler = pin!(straggler);
            let silence = self.engine.node_timeout * DEAD_AFTER_TIMEOUTS;
            let reply = tokio::select! {
                reply = &mut straggler => Some(reply),
                () = sleep(silence) => None,
            };
            let reply = match (reply, carrier.id()) {
                (Some(reply), _) => reply,
                // Its connection is dead, or belongs to a runtime that does not run: once the server has closed it,
                // nothing can come from it any more.
                (None, Some(connection)) => return self.send_until_confirmed(node, Some(connection)).await,
                (None, None) => straggler.await,
            };
            match fate(&reply) {
                Fate::NotSet => Reply::NotOurs { remaining: None },
                Fate::Set | Fate::MaybeSet => self.send_until_confirmed(node, connection_of(&reply)).await,
            }
        })
    }

    /// Sends a release until the node confirms it, within a bound.
    async fn send_until_confirmed(&self, node: usize, behind: Option<ConnectionId>) -> Reply {
        let voter = &*self.engine.nodes[node];
        let give_up = clock::now() + KEEP_TRYING;
        let mut pauses = Backoff::new(PAUSES.0, PAUSES.1, seed());
        loop {
            let reply = reminding(voter, self.engine.node_timeout, self.ask(node, behind)).await;
            let Reply::Failed(failure) = &reply else {
                return reply;
            };
            if clock::now() >= give_up {
                tracing::warn!(node = voter.label(), key = %self.key, reason = %failure.reason, "gave up a release");
                return reply;
            }
            sleep(pauses.next().unwrap_or(PAUSES.1)).await;
        }
    }

    fn close_one(&self) {
        let debts = &self.engine.debts;
        if debts.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            debts.settled.notify_waiters();
        }
    }
}

/// Waits for a reply however long it takes, and tells the node when it is overdue.
async fn reminding(voter: &dyn Node, node_timeout: Duration, reply: PendingReply) -> Reply {
    let mut reply = pin!(reply);
    tokio::select! {
        reply = &mut reply => return reply,
        () = sleep(node_timeout) => voter.overdue(),
    }
    reply.await
}

fn is_failure(reply: &Reply) -> bool {
    matches!(reply, Reply::Failed(_))
}

fn connection_of(reply: &Reply) -> Option<ConnectionId> {
    match reply {
        Reply::Failed(failure) => match failure.delivery {
            Delivery::Unknown(connection) => connection,
            Delivery::NotSent | Delivery::Answered => None,
        },
        Reply::Done | Reply::NotOurs { .. } => None,
    }
}
