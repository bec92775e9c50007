//! What a holder of this process has, how it is passed on, and who takes it back that nobody comes for.

use std::mem;
use std::sync::Arc;

use super::{SharedQueue, WaitQueues, current_runtime, next_number};
use crate::held::lease::{self, Lease};
use crate::platform::clock;
use crate::protocol::wait_queue::Offered;
use crate::protocol::{Passing, TAKEN_WITHIN};

/// Holding a lock in this process; dropping it calls the next in line.
pub(crate) struct LocalHold {
    /// Where the queue is found, and forgotten once it is deserted.
    pub(super) wait_queues: Arc<WaitQueues>,
    /// What its queue is found by.
    pub(super) line: Arc<str>,
    /// The queue whose waiters come next.
    pub(super) shared: Arc<SharedQueue>,
    /// Stands for the holder in the queue; zero if somebody else makes its place free.
    pub(super) number: u64,
}

/// A lease that its holder has passed on, and that is this waiter's to take; released when this is dropped.
#[must_use = "a lease that is passed on is released by whoever drops it"]
pub(crate) struct Offer {
    /// Of the holder that let go; `None` once it is another's.
    pub(super) lease: Option<Arc<Lease>>,
    /// Its place, which nobody else has meanwhile.
    pub(super) local_hold: Option<LocalHold>,
}

impl WaitQueues {
    /// Notes a holder in this process that did not wait.
    pub(crate) fn hold_locally(self: &Arc<Self>, lease: &Arc<Lease>) -> LocalHold {
        let line = lease.subject.line();
        let (shared, (number, news)) = self.enter(line, |state| {
            let number = next_number();
            let acquired = state.queue.acquired(number, Arc::clone(lease));
            (number, state.perform(acquired))
        });
        let local_hold = LocalHold { wait_queues: Arc::clone(self), line: Arc::clone(line), shared, number };
        news.tell();
        local_hold
    }
}

impl LocalHold {
    /// The holder lets go: its lease is offered to the first in line, if it passes on to that. Gives the place back if it does not. What
    /// is returned is dropped when nothing is left to be done.
    pub(crate) fn pass_on(self, lease: &Arc<Lease>) -> Result<Option<lease::News>, Self> {
        let mut ended = None;
        let mut state = self.shared.lock();
        let offered = state.queue.offers(self.number, clock::now, |now, needs, elsewhere| {
            ended = lease.end_turn(|turns, lease| turns.pass(now, lease, needs, elsewhere));
            if ended.is_some() { Passing::PassesOn } else { Passing::IsReleased }
        });
        let Some(Offered { call, is_unwatched }) = offered else {
            drop(state);
            return Err(self);
        };
        state.call(call);
        drop(state);
        if is_unwatched {
            let Self { wait_queues, line, shared, .. } = &self;
            let (wait_queues, line, shared) = (Arc::clone(wait_queues), Arc::clone(line), Arc::clone(shared));
            lease.spawn(Watch { wait_queues, line, shared, is_over: false }.run());
        }
        self.forget();
        Ok(ended)
    }

    /// Makes no place free: somebody else has it, or will. Returns its number.
    pub(super) fn forget(mut self) -> u64 {
        mem::take(&mut self.number)
    }

    /// The release is on its way on the connections of the current runtime.
    pub(crate) fn hand_over(&self) {
        let mut state = self.shared.lock();
        let call = state.queue.hands_over(self.number, current_runtime, clock::now, &self.wait_queues.settings);
        state.call(call);
    }
}

impl Drop for LocalHold {
    fn drop(&mut self) {
        if self.number == 0 {
            return;
        }
        let mut state = self.shared.lock();
        let call = state.queue.let_go(self.number, clock::now, &self.wait_queues.settings);
        state.call(call);
        let is_deserted = state.queue.is_deserted();
        drop(state);
        if is_deserted {
            self.wait_queues.close(&self.line, &self.shared);
        }
    }
}

impl Offer {
    /// The lease of the holder that let go, as long as nobody has taken it.
    pub(crate) fn lease(&self) -> Option<&Arc<Lease>> {
        self.lease.as_ref()
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        let (lease, local_hold) = (self.lease.take(), self.local_hold.take());
        if lease.as_ref().is_some_and(|lease| !lease.is_of_this_process()) {
            // It is the parent's, whose next holder may have taken it.
            mem::forget((lease, local_hold));
            return;
        }
        if let Some(acquisition) = lease.and_then(|lease| lease.take_hold()) {
            acquisition.release_in_background(local_hold);
        }
    }
}

/// The task that takes leases back which were passed on to somebody who does not come for them: another process may want the lock.
struct Watch {
    wait_queues: Arc<WaitQueues>,
    line: Arc<str>,
    shared: Arc<SharedQueue>,
    /// Whether it has ended because nothing was offered.
    is_over: bool,
}

impl Watch {
    async fn run(mut self) {
        let mut moment = clock::now() + TAKEN_WITHIN;
        loop {
            clock::sleep_until(moment).await;
            let mut state = self.shared.lock();
            let Some(since) = state.queue.offered_since() else {
                // Under the same lock: whatever is passed on next is watched by another one.
                state.queue.unwatched();
                drop(state);
                self.is_over = true;
                return;
            };
            moment = since + TAKEN_WITHIN;
            let untaken = if clock::now() >= moment { state.queue.take_offered() } else { None };
            drop(state);
            if let Some((number, lease)) = untaken {
                let Self { wait_queues, line, shared, .. } = &self;
                let (wait_queues, line, shared) = (Arc::clone(wait_queues), Arc::clone(line), Arc::clone(shared));
                let local_hold = LocalHold { wait_queues, line, shared, number };
                drop(Offer { lease: Some(lease), local_hold: Some(local_hold) });
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // Its runtime has ended.
        if !self.is_over {
            self.shared.lock().queue.unwatched();
        }
    }
}
