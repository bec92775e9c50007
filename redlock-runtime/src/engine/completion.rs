//! Listens to the nodes that mark a fire as completed.

use std::future::{Future, poll_fn};
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use super::{Engine, InFlight};
use crate::error::NodeFailures;
use crate::node::{ConnectionId, Reply};
use crate::platform::clock;
use crate::platform::deadline::Deadline;
use crate::protocol::{Completion, CompletionVerdict, Listening, Marked, NodeSet, RELEASE_PAUSES, Sending};

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

/// What failed, the nodes where that matters, and how to send it once more.
type Again<'a> = (
    &'a mut Vec<(usize, Option<ConnectionId>)>,
    NodeSet,
    &'a (dyn Fn(usize, Option<ConnectionId>) -> InFlight + Send + Sync),
);

/// So many node timeouts a completion is waited for that is sent again: a connection is made anew within that.
const WAIT_TIMEOUTS: u32 = 4;

impl<'a> Confirming<'a> {
    pub(super) fn new(engine: &'a Arc<Engine>, key: &'a Arc<str>, completion: Completion) -> Self {
        Self { engine, key, completion, told: Vec::new(), sent_again: NodeSet::default() }
    }

    /// Returns when a majority has confirmed, or no longer can in time. Replies that are still on their way stay in `in_flight`.
    pub(super) async fn listen(
        mut self,
        in_flight: &mut Vec<InFlight>,
        (failed, tracked, send): Again<'_>,
    ) -> Result<(), NotConfirmed> {
        let node_timeout = self.engine.node_timeout;
        let extra = in_flight.iter().map(|asked| asked.reply.extra_time()).max().unwrap_or_default();
        let mut over = Deadline::after(node_timeout * WAIT_TIMEOUTS + extra);
        let mut pause: Option<Deadline> = None;
        let verdict = poll_fn(|cx| {
            loop {
                let engine = self.engine;
                engine.poll_each(in_flight, cx, |node, reply| {
                    if matches!(reply, Reply::Failed(_)) && tracked.contains(node) {
                        failed.push((node, reply.broken_connection()));
                    }
                    self.record(node, &reply);
                });
                let is_heard = in_flight.is_empty() && failed.is_empty();
                let listening = if is_heard { Listening::IsOver } else { Listening::GoesOn };
                match self.completion.verdict(listening, clock::now()) {
                    CompletionVerdict::Listen => {}
                    verdict => return Poll::Ready(verdict),
                }
                if Pin::new(&mut over).poll(cx).is_ready() {
                    return Poll::Ready(self.completion.verdict(Listening::IsOver, clock::now()));
                }
                if failed.is_empty() {
                    return Poll::Pending;
                }
                let waited = pause.get_or_insert_with(|| Deadline::after(RELEASE_PAUSES.0));
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

    fn record(&mut self, node: usize, reply: &Reply) {
        let marked = match reply {
            Reply::Done => Marked::Raised { completed: self.completion.mark() },
            Reply::Covered => Marked::Covered,
            Reply::NotOurs { .. } | Reply::Missing | Reply::Granted { .. } | Reply::Slots(_) => Marked::Refused,
            Reply::Failed(failure) => {
                self.tell(node, Arc::clone(&failure.reason));
                return;
            }
        };
        let sending = if self.sent_again.contains(node) { Sending::Again } else { Sending::First };
        self.completion.record(node, marked, sending, clock::now());
        if marked == Marked::Refused || marked == Marked::Covered && sending == Sending::First {
            self.tell(node, Arc::from("the lock's key is not this owner's any more"));
        }
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
                Arc::from("it did not vote for the lock, so it is not asked")
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
