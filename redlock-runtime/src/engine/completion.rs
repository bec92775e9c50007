//! Listens to the nodes that mark a fire as completed.

use std::future::{Future, poll_fn};
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::{Engine, InFlight};
use crate::error::NodeFailures;
use crate::node::{Command, ConnectionId, Reply};
use crate::platform::background;
use crate::platform::clock;
use crate::platform::deadline::Deadline;
use crate::platform::entropy::seed;
use crate::protocol::{
    Backoff, Completion, CompletionVerdict, DeadConnection, KEEP_RELEASING, Marked, NodeSet, OnDeadConnection,
    ReleaseStage, Sending, release_pauses,
};

/// A completion that too few nodes confirmed in time: its mark may be on some of them.
#[derive(Debug)]
pub(crate) struct NotConfirmed {
    /// How many did.
    pub(crate) confirmed: usize,
    /// What the others said.
    pub(crate) failures: NodeFailures,
}

/// A completion that is on its way.
pub(super) struct Confirming<'a> {
    engine: &'a Arc<Engine>,
    key: &'a Arc<str>,
    completion: Completion,
    /// What the nodes said that did not confirm, the last of each.
    told: Vec<(usize, Arc<str>)>,
    /// Where it was sent once more.
    sent_again: NodeSet,
}

/// How a mark is sent once more.
pub(super) struct Again<'a> {
    /// Where that is due, and the connection that may still carry something there.
    pub(super) failed: &'a mut Vec<(usize, Option<ConnectionId>)>,
    /// The nodes where it matters.
    pub(super) tracked: NodeSet,
    /// Those whose answers come on connections of another runtime, which may be blocked.
    pub(super) elsewhere: NodeSet,
    /// Who was asked since: nodes are heard of that had not answered the acquire. What is sent to them again marks nothing.
    pub(super) late: &'a (dyn Fn() -> NodeSet + Send + Sync),
    /// Sends it.
    pub(super) send: &'a (dyn Fn(usize, Option<ConnectionId>) -> InFlight + Send + Sync),
}

/// How long marks are waited for, and sent again, that no majority has confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    /// For so long that a connection is made anew: nothing has been done yet that could be done again.
    Short,
    /// As long as the lock counts as held, because what was done would be done again.
    WhileHeld,
}

/// The longest pause before a mark is sent again: somebody waits for it, and a lock is not held for long.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// So many node timeouts last until a connection is made anew.
const WAIT_TIMEOUTS: u32 = 4;

/// Marks a fire on those whom the completion asks, and leaves the lock's key.
pub(super) async fn mark_before_body(
    engine: Arc<Engine>,
    command: Arc<Command>,
    completion: Completion,
) -> Result<(), NotConfirmed> {
    // However this ends: what has not been sent by then would be the mark of a fire that nobody runs.
    let command = Recalled(command);
    let send = |node, _| engine.ask(node, &command.0);
    let (asked, mut failed) = (completion.asked(), Vec::new());
    let mut in_flight: Vec<_> = asked.iter().map(|node| engine.ask(node, &command.0)).collect();
    let confirming = Confirming::new(&engine, command.0.key(), completion);
    let (elsewhere, late) = (NodeSet::default(), NodeSet::default);
    let again = Again { failed: &mut failed, tracked: asked, elsewhere, late: &late, send: &send };
    let confirmed = confirming.listen(Patience::Short, &mut in_flight, again).await;
    engine.poll_in_background(in_flight);
    confirmed
}

/// A command that is recalled, where it was not sent yet, when this is dropped.
struct Recalled(Arc<Command>);

impl Drop for Recalled {
    fn drop(&mut self) {
        self.0.recall();
    }
}

impl<'a> Confirming<'a> {
    pub(super) fn new(engine: &'a Arc<Engine>, key: &'a Arc<str>, completion: Completion) -> Self {
        Self { engine, key, completion, told: Vec::new(), sent_again: NodeSet::default() }
    }

    /// Returns when a majority has confirmed, or no longer can in time. Replies that are still on their way stay in `in_flight`.
    pub(super) async fn listen(
        mut self,
        patience: Patience,
        in_flight: &mut Vec<InFlight>,
        again: Again<'_>,
    ) -> Result<(), NotConfirmed> {
        let Again { failed, tracked, elsewhere, late, send } = again;
        let (node_timeout, began) = (self.engine.node_timeout, clock::now());
        let extra = in_flight.iter().map(|asked| asked.reply.extra_time()).max().unwrap_or_default();
        let held = self.completion.counts_for(began);
        let mut left = match patience {
            Patience::Short => held.min(node_timeout * WAIT_TIMEOUTS + extra),
            // Whoever has a TTL of hours waits no longer than a release is sent again.
            Patience::WhileHeld => held.min(KEEP_RELEASING),
        };
        let mut stage = ReleaseStage::Awaited;
        // The end of all, or of the stage: hardly any is reached, and one timer is enough.
        let mut lasts = left.min(stage.lasts(node_timeout) + extra);
        let mut alarm = Deadline::after_from(began, lasts);
        let (mut pause, mut pauses): (Option<Deadline>, Option<Backoff>) = (None, None);
        let mut is_in_background = background::is_current();
        let verdict = poll_fn(|cx| {
            if background::is_current() != is_in_background {
                // Nobody waits for it any more where it began.
                is_in_background = !is_in_background;
                pause.iter_mut().chain([&mut alarm]).for_each(Deadline::leave_runtime);
            }
            loop {
                let (engine, mut heard_at) = (self.engine, None);
                engine.poll_each(in_flight, cx, |node, reply| {
                    if matches!(reply, Reply::Failed(_)) && tracked.contains(node) {
                        failed.push((node, reply.broken_connection()));
                    }
                    self.completion.ask_too(late().without(self.sent_again));
                    heard_at = self.record(node, &reply);
                });
                self.completion.ask_too(late().without(self.sent_again));
                let asked = self.completion.asked();
                let pending = in_flight.iter().map(|asked| asked.node).chain(failed.iter().map(|(node, _)| *node));
                let pending: NodeSet = pending.filter(|node| asked.contains(*node)).collect();
                match self.completion.verdict(pending, heard_at.unwrap_or_else(clock::now)) {
                    CompletionVerdict::Listen => {}
                    verdict => return Poll::Ready(verdict),
                }
                if Pin::new(&mut alarm).poll(cx).is_ready() {
                    left = left.saturating_sub(lasts);
                    if left.is_zero() {
                        return Poll::Ready(self.completion.verdict(NodeSet::default(), clock::now()));
                    }
                    // What is answered where this is not driven from cannot be looked at.
                    let is_elsewhere = |asked: &InFlight| elsewhere.contains(asked.node) && is_in_background;
                    stage = match stage {
                        // Until it is sent again, nothing can be overdue.
                        ReleaseStage::Awaited if in_flight.is_empty() => ReleaseStage::Awaited,
                        ReleaseStage::Awaited => {
                            for asked in in_flight.iter() {
                                if is_elsewhere(asked) {
                                    failed.extend(tracked.contains(asked.node).then_some((asked.node, None)));
                                } else {
                                    engine.overdue(asked.node, self.key);
                                }
                            }
                            ReleaseStage::Overdue
                        }
                        ReleaseStage::Overdue | ReleaseStage::Dead => {
                            // What was sent while others were overdue is given up with them: its connection may be as dead, and nobody would look.
                            for asked in in_flight.iter().filter(|asked| !is_elsewhere(asked)) {
                                engine.overdue(asked.node, self.key);
                            }
                            // A connection that is still being made carries the mark when it is there.
                            let is_made = |asked: &InFlight| asked.reply.carrier().is_made();
                            let (mut sent, unsent): (Vec<_>, Vec<_>) =
                                mem::take(in_flight).into_iter().partition(is_made);
                            failed.extend(give_up_dead_connections(&mut sent, tracked, NodeSet::default()));
                            in_flight.extend(sent.into_iter().chain(unsent));
                            ReleaseStage::Awaited
                        }
                    };
                    lasts = left.min(stage.lasts(node_timeout));
                    alarm = Deadline::after(lasts);
                    continue;
                }
                if failed.is_empty() {
                    return Poll::Pending;
                }
                let (first_pause, _) = release_pauses(node_timeout);
                let pauses = pauses.get_or_insert_with(|| Backoff::new(first_pause, LONGEST_PAUSE, seed()));
                let waited = pause.get_or_insert_with(|| Deadline::after(pauses.next().unwrap_or(LONGEST_PAUSE)));
                if Pin::new(waited).poll(cx).is_pending() {
                    return Poll::Pending;
                }
                pause = None;
                for (node, behind) in mem::take(failed) {
                    self.sent_again.insert(node);
                    in_flight.push(send(node, behind));
                }
            }
        });
        match tokio::task::unconstrained(verdict).await {
            CompletionVerdict::Confirmed => Ok(()),
            CompletionVerdict::Listen | CompletionVerdict::Unconfirmed => Err(self.into_not_confirmed(in_flight)),
        }
    }

    /// Notes a reply; the moment at which it was heard, if it counts.
    fn record(&mut self, node: usize, reply: &Reply) -> Option<Instant> {
        let marked = match reply {
            Reply::Done => Marked::Raised { completed: self.completion.mark() },
            Reply::Covered => Marked::Covered,
            Reply::NotOurs { .. } | Reply::Missing | Reply::Granted { .. } | Reply::Slots(_) => Marked::Refused,
            Reply::Failed(failure) => {
                self.tell(node, Arc::clone(&failure.reason));
                return None;
            }
        };
        let sending = if self.sent_again.contains(node) { Sending::Again } else { Sending::First };
        let now = clock::now();
        self.completion.record(node, marked, sending, now);
        // What went wrong the first time says more than that its key is gone since.
        let is_told = self.told.iter().any(|(other, _)| *other == node);
        if !is_told && (marked == Marked::Refused || marked == Marked::Covered && sending == Sending::First) {
            self.tell(node, Arc::from("the lock's key is not this owner's any more: it expired, was reset, or the server restarted; where runs take long, use a longer `ttl`"));
        }
        Some(now)
    }

    fn tell(&mut self, node: usize, reason: Arc<str>) {
        self.told.retain(|(other, _)| *other != node);
        self.told.push((node, reason));
    }

    fn into_not_confirmed(self, in_flight: &[InFlight]) -> NotConfirmed {
        let mut failures = NodeFailures::default();
        for node in 0..self.engine.nodes.len() {
            let told = || self.told.iter().find(|(other, _)| *other == node).map(|(_, reason)| Arc::clone(reason));
            let reason = if self.completion.confirmed().contains(node) {
                continue;
            } else if !self.completion.asked().contains(node) {
                Arc::from("it did not vote for the lock, so it is not asked; start it, or wait until it votes again")
            } else if in_flight.iter().any(|asked| asked.node == node) {
                self.engine.overdue(node, self.key);
                Arc::from("it has not answered in time")
            } else {
                told().unwrap_or_else(|| Arc::from("its answer came too late"))
            };
            failures.push(self.engine.nodes[node].label(), &*reason);
        }
        NotConfirmed { confirmed: self.completion.confirmed().len(), failures }
    }
}

/// Takes out what is on connections that have been silent for so long: what is to be sent another way, and the connection that may still
/// carry it. On `tracked` nodes the key may be set, or may still be; where it `may_be_set`, that does not depend on what is taken out.
pub(super) fn give_up_dead_connections(
    in_flight: &mut Vec<InFlight>,
    tracked: NodeSet,
    may_be_set: NodeSet,
) -> Vec<(usize, Option<ConnectionId>)> {
    let mut failed = Vec::new();
    in_flight.retain(|asked| {
        let carrier = asked.reply.carrier();
        let connection = if !carrier.is_made() {
            DeadConnection::NeverMade
        } else if carrier.id().is_some() || carrier.is_answered() {
            DeadConnection::Ended
        } else {
            DeadConnection::Unknown
        };
        let (is_tracked, may_be_set) = (tracked.contains(asked.node), may_be_set.contains(asked.node));
        let dead = OnDeadConnection::decide(connection, is_tracked, may_be_set);
        if dead.is_sent_again {
            failed.push((asked.node, carrier.id()));
        }
        dead.is_awaited
    });
    failed
}
