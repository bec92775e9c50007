//! Those in this process who hold or want a lock, one queue for each name: mutexes and wakers around
//! [`protocol::wait_queue`](crate::protocol::wait_queue), which decides who asks the nodes, when, and who is called.

#[cfg(not(redlock_simulated))]
use std::collections::HashMap;
use std::mem;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::engine::{AttemptFailed, Fenced, Plan};
use crate::error::NodeFailures;
use crate::held::lease::{self, Lease};
use crate::node::Listener;
use crate::observe::{Seldom, harmless};
#[cfg(redlock_simulated)]
use crate::platform::simulated::HashMap;
use crate::platform::tasks::{Handle, Id};
use crate::platform::{clock, entropy};
use crate::protocol::wait_queue::{
    self, Acquired, Ask, Call, Failure, LocalHolder, Offered, Reachability, WaitQueue, WaitSettings,
};
use crate::protocol::{FenceFallback, Needs, Passing, Quorum, TAKEN_WITHIN};
use crate::shown::shown;
use crate::values::several::Several;
use crate::values::subject::Subject;
use crate::waiting::watchers::Watchers;

/// The slow poll, unless the builder says otherwise: at least this long after the last attempt, and up to a half of it more.
pub(crate) const SLOW_POLL: Duration = Duration::from_secs(1);

/// The queues of a manager.
pub(crate) struct WaitQueues {
    /// What its queues have in common.
    settings: WaitSettings,
    /// How locks get their fencing tokens if too few nodes have evidence of earlier ones; `None`: they get none.
    fence_fallback: Option<FenceFallback>,
    /// Tells this manager from others who wait.
    process: Arc<str>,
    /// What somebody in this process holds or wants, by its [line](Subject::line). A std mutex: it is never held across an await. That
    /// of a queue is locked under this one, or alone.
    by_line: Mutex<HashMap<Arc<str>, Arc<SharedQueue>>>,
    /// The lines of those who want several keys, by each of these. A std mutex, locked under that of `by_line`.
    of_several: Mutex<HashMap<Arc<str>, Vec<Arc<str>>>>,
    /// When it was told that too few nodes can be reached, by lock.
    told: Seldom,
    /// Those who look on.
    watchers: Watchers,
    /// Whether leases are passed on within this process.
    are_passed_on: bool,
}

/// A queue, which those who are in it find without asking for its name. A std mutex: it is never held across an await.
#[derive(Default)]
struct SharedQueue(Mutex<State>);

/// A queue, and what the decisions about it need not know.
#[derive(Default)]
struct State {
    /// The decisions.
    queue: WaitQueue<Arc<Waiter>, Arc<Lease>>,
    /// The last attempt, while too few nodes can be reached: callers whose time is over are told why. Boxed, because thousands
    /// of held locks have none.
    unreachable: Option<Box<Unreachable>>,
}

/// An attempt that too few nodes answered.
#[derive(Clone, Debug)]
pub(crate) struct Unreachable {
    /// The lock.
    name: Arc<str>,
    /// Whether that was told: not if the same was told a moment before.
    is_told: bool,
    /// How many nodes granted.
    pub(crate) granted: usize,
    /// What the others said.
    pub(crate) failures: NodeFailures,
}

/// Where a waiter is called.
struct Waiter {
    /// Told when the waiter is to look again.
    call: Notify,
    /// The runtime whose connections the waiter uses.
    runtime: Option<Id>,
    /// How many can hold what it waits for at once.
    places: AtomicU8,
    /// What a lease has to be like that it takes from another holder of this process, if it does.
    needs: Option<Needs>,
}

/// What the owner of a place does next.
pub(crate) enum Turn {
    /// Ask the nodes.
    Ask(Plan),
    /// Wait to be called, until this moment at the latest, and until one of these holders in this process loses the lock.
    Wait(Instant, Vec<Arc<Lease>>),
    /// Take this lease from another holder of this process.
    Take(Offer),
}

/// What people are told of the nodes of a lock, once its queue is not locked any more: whoever takes in events may do anything.
#[must_use]
struct News {
    /// What has changed.
    reachability: Reachability,
    /// The last attempt before, if too few nodes could be reached.
    before: Option<Box<Unreachable>>,
    /// A lease that was passed on and is lost before anybody took it.
    untaken: Option<Arc<Lease>>,
    /// The loss of a lease whose holder in this process did not know of it.
    lost: Option<lease::News>,
}

/// A number for a place or a local holder, greater than all before, and than zero. Not counted queue by queue: a queue that was deserted is made
/// anew, and somebody who left the old one late must not be taken for somebody in the new one.
fn next_number() -> u64 {
    static NUMBERS: AtomicU64 = AtomicU64::new(1);
    NUMBERS.fetch_add(1, Ordering::Relaxed)
}

fn current_runtime() -> Option<Id> {
    Handle::try_current().ok().map(|runtime| runtime.id())
}

impl WaitQueues {
    pub(crate) fn new(
        quorum: Quorum,
        node_timeout: Duration,
        fence_fallback: Option<FenceFallback>,
        (slow_poll, are_passed_on, reserves_tokens): (Duration, bool, bool),
    ) -> Arc<Self> {
        let settings = WaitSettings::new(quorum, node_timeout, slow_poll)
            .with_tokens_reserved(are_passed_on && reserves_tokens && fence_fallback.is_some());
        Arc::new(Self {
            settings,
            fence_fallback,
            process: entropy::fresh_owner(),
            by_line: Mutex::default(),
            of_several: Mutex::default(),
            told: Seldom::default(),
            watchers: Watchers::default(),
            are_passed_on,
        })
    }

    fn by_line(&self) -> MutexGuard<'_, HashMap<Arc<str>, Arc<SharedQueue>>> {
        self.by_line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those who look on.
    pub(crate) fn watchers(&self) -> &Watchers {
        &self.watchers
    }

    /// Enters a name's queue.
    fn enter<T>(&self, line: &Arc<str>, enter: impl FnOnce(&mut State) -> T) -> (Arc<SharedQueue>, T) {
        let mut by_line = self.by_line();
        let shared = by_line.entry(Arc::clone(line)).or_insert_with(|| {
            self.list_several(line);
            Arc::default()
        });
        // Before anybody can find it deserted.
        let entered = enter(&mut shared.lock());
        (Arc::clone(shared), entered)
    }

    /// Forgets a queue that was deserted, unless somebody has come meanwhile.
    fn close(&self, line: &Arc<str>, deserted: &Arc<SharedQueue>) {
        let mut by_line = self.by_line();
        if by_line.get(line).is_some_and(|shared| Arc::ptr_eq(shared, deserted)) && deserted.lock().queue.is_deserted()
        {
            by_line.remove(line);
            self.unlist_several(line);
        }
    }

    /// Notes which keys a line is about, if there are several.
    fn list_several(&self, line: &Arc<str>) {
        let keys = Several::keys_of_line(line);
        if keys.clone().nth(1).is_some() {
            let mut of_several = self.of_several.lock().unwrap_or_else(PoisonError::into_inner);
            keys.for_each(|key| of_several.entry(key.into()).or_default().push(Arc::clone(line)));
        }
    }

    /// Forgets that.
    fn unlist_several(&self, line: &Arc<str>) {
        let keys = Several::keys_of_line(line);
        if keys.clone().nth(1).is_some() {
            let mut of_several = self.of_several.lock().unwrap_or_else(PoisonError::into_inner);
            for key in keys {
                if let Some(lines) = of_several.get_mut(key) {
                    lines.retain(|other| other != line);
                    if lines.is_empty() {
                        of_several.remove(key);
                    }
                }
            }
        }
    }

    /// Whether leases are passed on within this process.
    pub(crate) fn are_passed_on(&self) -> bool {
        self.are_passed_on
    }

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

    /// How the lock gets its fencing token; `seen` is the greatest counter that the same waiter heard of.
    pub(crate) fn fencing(&self, seen: u64) -> Option<Fenced> {
        self.fence_fallback.map(|fence_fallback| Fenced { seen, fence_fallback, room: 0 })
    }

    /// The holders in this process of this key, whatever else of a lock they hold with it.
    pub(crate) fn local_holders_of(&self, key: &str) -> Vec<Arc<Lease>> {
        let by_line = self.by_line();
        let mut lines: Vec<_> = Subject::news_of(key).map(|(line, _)| line.into_owned()).collect();
        let of_several = self.of_several.lock().unwrap_or_else(PoisonError::into_inner);
        lines.extend(of_several.get(key).into_iter().flatten().map(ToString::to_string));
        drop(of_several);
        let mut holders = Vec::new();
        for shared in lines.iter().filter_map(|line| by_line.get(&**line)) {
            let state = shared.lock();
            holders.extend(state.queue.local_holders().filter(|lease| lease.subject.stands_under(key)).cloned());
        }
        holders
    }

    /// Calls everybody who waits, and returns whatever is held: the manager is being shut down.
    pub(crate) fn call_all(&self) -> Vec<Arc<Lease>> {
        let mut held = Vec::new();
        for shared in self.by_line().values() {
            let state = shared.lock();
            state.queue.waiters().for_each(|waiter| waiter.call.notify_one());
            held.extend(state.queue.local_holders().cloned());
        }
        held
    }
}

impl Listener for WaitQueues {
    fn changed(&self, node: usize, key: Option<&str>) {
        self.watchers.changed(key);
        let by_line = self.by_line();
        let now = clock::now();
        match key {
            Some(key) => {
                let tell = |line: &str, part| {
                    by_line.get(line).into_iter().for_each(|shared| shared.lock().changed(node, Some(part), now));
                };
                Subject::news_of(key).for_each(|(line, part)| tell(&line, part));
                let of_several = self.of_several.lock().unwrap_or_else(PoisonError::into_inner);
                of_several.get(key).into_iter().flatten().for_each(|line| tell(line, 0));
            }
            None => by_line.values().for_each(|shared| shared.lock().changed(node, None, now)),
        }
    }
}

impl wait_queue::Waiter for Arc<Waiter> {
    type Runtime = Id;

    fn runtime(&self) -> Option<Id> {
        self.runtime
    }

    fn places(&self) -> usize {
        match self.places.load(Ordering::Relaxed) {
            u8::MAX => usize::MAX,
            places => places.into(),
        }
    }

    fn needs(&self) -> Option<Needs> {
        self.needs
    }
}

impl LocalHolder for Arc<Lease> {
    fn is_lost(&self, now: Instant) -> bool {
        self.lost_reason(now).is_some()
    }

    fn fencing_token(&self) -> u64 {
        // What its tokens end with: a node that missed its grant is to give the same number to the next owner as the others.
        self.last_token()
    }

    fn part(&self) -> u8 {
        self.subject.part()
    }

    fn is_shared(&self) -> bool {
        self.subject.is_shared()
    }
}

impl SharedQueue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn call(&self, call: Call) {
        match call {
            Call::Waiter(number) => self.queue.waiter(number).into_iter().for_each(|waiter| waiter.call.notify_one()),
            Call::Nobody => {}
        }
    }

    fn changed(&mut self, node: usize, part: Option<u8>, now: Instant) {
        let call = self.queue.changed(node, part, now);
        self.call(call);
    }

    fn perform(&mut self, acquired: Acquired<Arc<Lease>>) -> News {
        let lost = acquired.replaced.as_ref().map(|replaced| replaced.lose_to_another());
        self.call(acquired.call);
        let untaken = acquired.replaced.filter(|replaced| replaced.is_passed_on());
        News { untaken, lost, ..self.news(acquired.reachability, None) }
    }

    /// Keeps the last attempt while too few nodes can be reached.
    fn news(&mut self, reachability: Reachability, unreachable: Option<Box<Unreachable>>) -> News {
        let before = match reachability {
            Reachability::Unchanged => None,
            Reachability::TooFew | Reachability::StillTooFew | Reachability::Enough | Reachability::GivenUp => {
                mem::replace(&mut self.unreachable, unreachable)
            }
        };
        News { reachability, before, untaken: None, lost: None }
    }
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

impl QueuePlace {
    /// What to do now.
    pub(crate) fn next(&mut self, now: Instant) -> Turn {
        let WaitQueues { settings, process, .. } = &*self.wait_queues;
        let mut state = self.shared.lock();
        let polled = state.queue.polled(self.number, now, settings, entropy::seed);
        // Any of them may lose what it has.
        let local_holders = match &polled.turn {
            wait_queue::Turn::WaitUntil(_, Some(_)) => state.queue.local_holders().cloned().collect(),
            wait_queue::Turn::WaitUntil(_, None) | wait_queue::Turn::Ask(_) | wait_queue::Turn::Take(..) => Vec::new(),
        };
        state.call(polled.call);
        drop(state);
        match polled.turn {
            wait_queue::Turn::Take(number, lease) => {
                Turn::Take(Offer { lease: Some(lease), local_hold: Some(self.hold(number)) })
            }
            wait_queue::Turn::WaitUntil(moment, _) => Turn::Wait(moment, local_holders),
            wait_queue::Turn::Ask(Ask { ask_order, is_watched, notes_contention, counter, room }) => {
                let contender = notes_contention.then(|| Arc::clone(process));
                Turn::Ask(Plan {
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
        mut self,
        lease: &Arc<Lease>,
        is_wanted_elsewhere: bool,
        round_trip: Duration,
        now: Instant,
    ) -> LocalHold {
        let mut state = self.shared.lock();
        let number = next_number();
        let holder = (number, Arc::clone(lease));
        let acquired = state.queue.won(self.number, holder, is_wanted_elsewhere, round_trip, now);
        let news = state.perform(acquired);
        drop(state);
        self.has_left = true;
        let local_hold = self.hold(number);
        news.tell();
        local_hold
    }

    /// The lease was taken from another holder, which made place for it.
    pub(crate) fn took(mut self, mut offer: Offer, lease: &Arc<Lease>, now: Instant) -> LocalHold {
        let Offer { lease: before, local_hold } = &mut offer;
        if let Some(before) = before.take() {
            before.set_passed_on_to(lease);
        }
        let number = next_number();
        // The place of the one before is made free by who takes it.
        let before = local_hold.take().map_or(number, LocalHold::forget);
        let mut state = self.shared.lock();
        let acquired = state.queue.took(self.number, before, (number, Arc::clone(lease)), now);
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

/// A lease that its holder has passed on, and that is this waiter's to take; released when this is dropped.
#[must_use = "a lease that is passed on is released by whoever drops it"]
pub(crate) struct Offer {
    /// Of the holder that let go; `None` once it is another's.
    lease: Option<Arc<Lease>>,
    /// Its place, which nobody else has meanwhile.
    local_hold: Option<LocalHold>,
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

impl News {
    fn tell(self) {
        drop(Offer { lease: self.untaken, local_hold: None });
        drop(self.lost);
        let Some(before) = self.before.filter(|before| before.is_told) else { return };
        let name = &*before.name;
        match self.reachability {
            Reachability::Unchanged | Reachability::TooFew | Reachability::StillTooFew => {}
            Reachability::Enough => {
                harmless(|| tracing::info!(lock = %shown(name), "enough nodes can be reached again"));
            }
            Reachability::GivenUp => {
                harmless(|| {
                    tracing::info!(lock = %shown(name), "too few nodes could be reached; nobody tries any more");
                });
            }
        }
    }
}

/// Holding a lock in this process; dropping it calls the next in line.
pub(crate) struct LocalHold {
    /// Where the queue is found, and forgotten once it is deserted.
    wait_queues: Arc<WaitQueues>,
    /// What its queue is found by.
    line: Arc<str>,
    /// The queue whose waiters come next.
    shared: Arc<SharedQueue>,
    /// Stands for the holder in the queue; zero if somebody else makes its place free.
    number: u64,
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
    fn forget(mut self) -> u64 {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Engine;
    use crate::node::PendingReply;
    use crate::node::scripted::Scripted;
    use crate::protocol::LONGEST_TTL;
    use crate::values::name::Name;

    fn lease() -> Arc<Lease> {
        lease_with(0)
    }

    /// Of this fencing token.
    fn lease_with(token: u64) -> Arc<Lease> {
        let node = Scripted::new(|_, _| PendingReply::new(std::future::pending()));
        let engine = Engine::new(vec![node], Quorum::of(1).unwrap(), Duration::from_secs(1), LONGEST_TTL);
        let (began, ttl) = (clock::now(), Duration::from_secs(60));
        let name = Name::parse("x".to_owned()).unwrap();
        Arc::new(Lease::new(engine, name, "key".into(), "owner".into(), ttl, (began, began + ttl, token), None))
    }

    #[test]
    fn whoever_leaves_late_does_not_vacate_the_place_of_another() {
        let wait_queues =
            WaitQueues::new(Quorum::of(1).unwrap(), Duration::from_secs(1), None, (SLOW_POLL, false, false));
        let late = wait_queues.hold_locally(&lease());
        drop(wait_queues.hold_locally(&lease()));
        assert!(wait_queues.local_holders_of("key").is_empty());
        let _local_hold = wait_queues.hold_locally(&lease());
        drop(late);
        assert!(!wait_queues.local_holders_of("key").is_empty());
    }

    #[test]
    fn whoever_follows_in_line_proposes_more_than_the_token_before() {
        let fence_fallback = FenceFallback::TrustClocks { max_clock_skew: Duration::from_secs(60) };
        let wait_queues = WaitQueues::new(
            Quorum::of(1).unwrap(),
            Duration::from_secs(1),
            Some(fence_fallback),
            (SLOW_POLL, false, false),
        );
        let (local_hold, mut place) =
            (wait_queues.hold_locally(&lease_with(41)), wait_queues.join(&"key".into(), None));
        drop(local_hold);
        let Turn::Ask(plan) = place.next(clock::now()) else { panic!("the lock is free") };
        assert_eq!(plan.fencing.map(|fenced| fenced.seen), Some(41));
    }
}
