//! A place in line.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::hold::{LocalHold, Offer};
use super::{SharedQueue, State, Unreachable, WaitQueues, Waiter, current_runtime, next_number};
use crate::engine::{AttemptFailed, Fenced, Plan};
use crate::held::lease::Lease;
use crate::observe::harmless;
use crate::platform::{clock, entropy};
use crate::protocol::Needs;
use crate::protocol::wait_queue::{Acquired, Ask, Failure, Reachability, WaiterStep};
use crate::shown::shown;
use crate::values::subject::Subject;

/// What the owner of a place does next.
pub(crate) enum NextStep {
    /// Ask the nodes.
    Ask(Plan),
    /// Wait to be called, until this moment at the latest, and until one of these holders in this process loses the lock.
    Wait(Instant, Vec<Arc<Lease>>),
    /// Take this lease from another holder of this process.
    Take(Offer),
}

/// A place in a line; dropping it leaves the line, and lets the next one come forward.
pub(crate) struct QueuePlace {
    /// Where the queue is found, and forgotten once it is deserted.
    wait_queues: Arc<WaitQueues>,
    /// What its queue is found by.
    line: Arc<str>,
    /// The queue in which the place is.
    shared: Arc<SharedQueue>,
    /// Stands for the place in the queue.
    number: u64,
    /// Where the owner of the place is called, which must not need the queue's mutex.
    waiter: Arc<Waiter>,
    /// Whether the place was left already: its owner holds the lock.
    has_left: bool,
}

impl WaitQueues {
    /// Stands at the end of a name's line; with what it needs of a lease that it takes from another holder.
    pub(crate) fn join(self: &Arc<Self>, subject: &Subject, needs: Option<Needs>) -> QueuePlace {
        let line = subject.line();
        let places = AtomicU8::new(subject.places());
        let waiter = Arc::new(Waiter { call: Notify::new(), runtime: current_runtime(), places, needs });
        let (shared, number) = self.enter(line, |state| {
            let number = next_number();
            state.queue.joined(number, Arc::clone(&waiter));
            number
        });
        QueuePlace { wait_queues: Arc::clone(self), line: Arc::clone(line), shared, number, waiter, has_left: false }
    }
}

impl QueuePlace {
    /// What to do now.
    pub(crate) fn next(&mut self, now: Instant) -> NextStep {
        let WaitQueues { settings, process, .. } = &*self.wait_queues;
        let mut state = self.shared.lock();
        let polled = state.queue.polled(self.number, now, settings, entropy::seed);
        // Any of them may lose what it has.
        let local_holders = match &polled.step {
            WaiterStep::WaitUntil(_, Some(_)) => state.queue.local_holders().cloned().collect(),
            WaiterStep::WaitUntil(_, None) | WaiterStep::Ask(_) | WaiterStep::Take(..) => Vec::new(),
        };
        state.call(polled.call);
        drop(state);
        match polled.step {
            WaiterStep::Take(number, lease) => {
                NextStep::Take(Offer { lease: Some(lease), local_hold: Some(self.hold(number)) })
            }
            WaiterStep::WaitUntil(moment, _) => NextStep::Wait(moment, local_holders),
            WaiterStep::Ask(Ask { ask_order, is_watched, notes_contention, counter, room }) => {
                let contender = notes_contention.then(|| Arc::clone(process));
                NextStep::Ask(Plan {
                    ask_order,
                    is_watched,
                    contender,
                    fencing: self.wait_queues.fencing(counter).map(|fencing| Fenced { room, ..fencing }),
                    fire: None,
                    insists: false,
                })
            }
        }
    }

    /// So many can hold what is waited for at once, as was learnt meanwhile.
    pub(crate) fn set_places(&self, places: u8) {
        self.waiter.places.store(places, Ordering::Relaxed);
    }

    /// Waits to be called.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a call is kept for the next time.
    pub(crate) async fn called(&self) {
        self.waiter.call.notified().await;
    }

    /// Why the lock cannot be had, if that is because too few nodes can be reached.
    pub(crate) fn unreachable(&self) -> Option<Unreachable> {
        self.shared.lock().unreachable.as_deref().cloned()
    }

    /// The attempt was not won. `pause` is waited where asking again at once would only repeat the same; `is_told_later` if the caller
    /// tells of too few nodes by itself when its time is over.
    pub(crate) fn failed(
        &mut self,
        name: &str,
        failed: &AttemptFailed,
        now: Instant,
        pause: Duration,
        is_told_later: bool,
    ) {
        let failure = Failure { verdict: failed.verdict, seen: &failed.seen, counter: failed.counter, pause };
        let mut state = self.shared.lock();
        let reachability = state.queue.failed(self.number, failure, now, &self.wait_queues.settings, entropy::seed);
        let was_told = state.unreachable.as_ref().is_some_and(|before| before.is_told);
        let (unreachable, is_news) = match reachability {
            Reachability::TooFew | Reachability::StillTooFew => {
                let (granted, failures) = (failed.granted, failed.failures.clone());
                let is_news = !was_told && !is_told_later && self.wait_queues.told.may_tell(name, now);
                let is_told = was_told || is_news;
                (Some(Box::new(Unreachable { name: name.into(), is_told, granted, failures })), is_news)
            }
            Reachability::Unchanged | Reachability::Enough | Reachability::GivenUp => (None, false),
        };
        let news = state.news(reachability, unreachable);
        drop(state);
        if is_news {
            harmless(|| {
                tracing::warn!(lock = %shown(name), nodes = %failed.failures, "too few nodes can be reached; trying again");
            });
        }
        news.tell();
    }

    /// How many wait who hear of nothing and poll, as far as is known.
    pub(crate) fn polled_by_others(&self, polling: u64) {
        self.shared.lock().queue.polled_by_others(polling);
    }

    /// The attempt was won, and took this long.
    pub(crate) fn won(
        self,
        lease: &Arc<Lease>,
        is_wanted_elsewhere: bool,
        round_trip: Duration,
        now: Instant,
    ) -> LocalHold {
        let (waiter, lease) = (self.number, Arc::clone(lease));
        self.leave_with(|state| {
            let number = next_number();
            (number, state.queue.won(waiter, (number, lease), is_wanted_elsewhere, round_trip, now))
        })
    }

    /// The lease was taken from another holder, which made place for it.
    pub(crate) fn took(self, mut offer: Offer, lease: &Arc<Lease>, now: Instant) -> LocalHold {
        let Offer { lease: before, local_hold } = &mut offer;
        if let Some(before) = before.take() {
            before.set_passed_on_to(lease);
        }
        let (number, waiter) = (next_number(), self.number);
        // The place of the one before is made free by who takes it.
        let before = local_hold.take().map_or(number, LocalHold::forget);
        let holder = (number, Arc::clone(lease));
        self.leave_with(|state| (number, state.queue.took(waiter, before, holder, now)))
    }

    /// Leaves the line with the lock, and the number that it is held under.
    fn leave_with(mut self, acquire: impl FnOnce(&mut State) -> (u64, Acquired<Arc<Lease>>)) -> LocalHold {
        let mut state = self.shared.lock();
        let (number, acquired) = acquire(&mut state);
        let news = state.perform(acquired);
        drop(state);
        self.has_left = true;
        let local_hold = self.hold(number);
        news.tell();
        local_hold
    }

    fn hold(&self, number: u64) -> LocalHold {
        LocalHold {
            wait_queues: Arc::clone(&self.wait_queues),
            line: Arc::clone(&self.line),
            shared: Arc::clone(&self.shared),
            number,
        }
    }
}

impl Drop for QueuePlace {
    fn drop(&mut self) {
        if self.has_left {
            return;
        }
        let mut state = self.shared.lock();
        let left = state.queue.left(self.number, clock::now());
        state.call(left.call);
        let news = state.news(left.reachability, None);
        let untaken = left.untaken;
        let is_deserted = state.queue.is_deserted();
        drop(state);
        if let Some((hold, lease)) = untaken {
            drop(Offer { lease: Some(lease), local_hold: Some(self.hold(hold)) });
        }
        news.tell();
        if is_deserted {
            self.wait_queues.close(&self.line, &self.shared);
        }
    }
}
