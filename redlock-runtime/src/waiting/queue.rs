//! The line of those in this process who want a lock, one for each name.
//!
//! The first in line speaks to Redis; the others wait without a word. Whoever holds the lock in this process stands in
//! the line too, ahead of all: its release calls the next one at once, and nobody asks Redis for what is known here.
//!
//! A future that has a place and is not polled, although it was called, would keep those behind it from a free lock: it
//! is overtaken after a while.

#[cfg(not(redlock_simulated))]
use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::engine::{AttemptFailed, Fenced, Plan};
use crate::error::NodeFailures;
use crate::held::lease::Lease;
use crate::node::Listener;
#[cfg(redlock_simulated)]
use crate::platform::simulated::HashMap;
use crate::platform::tasks::{Handle, Id};
use crate::platform::{clock, entropy};
use crate::protocol::{AskOrder, Backoff, FenceFallback, NodeSet, Quorum, Step, Verdict, WaitPlan};
use crate::rules::{Rule, holds};

/// A lock passes from hand to hand within a process this often before another process gets its turn.
const HAND_OVERS: u32 = 4;

/// How long a process stands back then, in round trips.
const STAND_BACK: u32 = 2;

/// The slow poll, unless the builder says otherwise: at least this long after the last attempt, and up to a half of it more.
pub(crate) const SLOW_POLL: Duration = Duration::from_secs(1);

/// Whoever is called and does not come is overtaken after this time.
const NEGLECTED: Duration = Duration::from_secs(1);

/// The lines of a manager.
pub(crate) struct WaitQueues {
    /// What a majority is.
    quorum: Quorum,
    /// Whoever has asked and does not look at the answers is overtaken after this time.
    longest_attempt: Duration,
    /// How locks get their fencing tokens if too few nodes have evidence of earlier ones; `None`: they get none.
    fence_fallback: Option<FenceFallback>,
    /// How long after its last attempt a waiter asks again although no node reported a change.
    slow_poll: Duration,
    /// What tells this manager from others who wait.
    process: Arc<str>,
    /// Those names that somebody in this process holds or wants. A std mutex: it is never held across an await. That of a line
    /// is locked under this one, or alone.
    by_key: Mutex<HashMap<Arc<str>, Arc<SharedQueue>>>,
}

/// A line, which those who stand in it find without asking for its name. A std mutex: it is never held across an await.
#[derive(Default)]
struct SharedQueue(Mutex<WaitQueue>);

/// Everybody in this process who holds or wants a name.
#[derive(Default)]
struct WaitQueue {
    /// Who holds it, by number.
    local_holder: Option<(u64, Arc<Lease>)>,
    /// Those who want it, first come first.
    places: VecDeque<(u64, Arc<Waiter>)>,
    /// What the first in line knows; `None` if it has not asked yet, or is asking.
    wait_plan: Option<Box<WaitPlan>>,
    /// The runtime on whose connections the nodes report changes to it; `None` if nothing was watched.
    reports_to: Option<Id>,
    /// Who is asking, and since when.
    asking: Option<(u64, Instant)>,
    /// The nodes that reported a change while it was asking.
    changed: NodeSet,
    /// When the first in line was called; `None` since it has come.
    called: Option<Instant>,
    /// How often in a row the lock was handed on within this process.
    hand_overs: u32,
    /// Whether another process was seen to wait.
    is_wanted_elsewhere: bool,
    /// The greatest fencing counter that the first in line heard of, or token that somebody in this process got.
    counter: u64,
    /// How long the last attempt took that was won.
    round_trip: Duration,
    /// The last attempt, if too few nodes could be reached.
    unreachable: Option<Unreachable>,
}

/// An attempt that too few nodes answered.
#[derive(Clone, Debug)]
pub(crate) struct Unreachable {
    /// The lock.
    name: Arc<str>,
    /// How many nodes granted.
    pub(crate) granted: usize,
    /// What the others said.
    pub(crate) failures: NodeFailures,
}

/// Where a waiter is called.
struct Waiter {
    /// Told when it is to look again.
    call: Notify,
    /// The runtime whose connections it uses.
    runtime: Option<Id>,
}

/// A number for a place or a local holder, greater than all before. Not counted line by line: a line that was deserted is made anew,
/// and whoever left the old one late must not be taken for somebody in the new one.
fn next_number() -> u64 {
    static NUMBERS: AtomicU64 = AtomicU64::new(0);
    NUMBERS.fetch_add(1, Ordering::Relaxed)
}

/// What the owner of a place does next.
pub(crate) enum Turn {
    /// Ask the nodes.
    Ask(Plan),
    /// Wait to be called, until this moment at the latest, and until the lock is lost to whoever holds it in this process.
    Wait(Option<Instant>, Option<Arc<Lease>>),
}

impl WaitQueues {
    pub(crate) fn new(
        quorum: Quorum,
        node_timeout: Duration,
        fence_fallback: Option<FenceFallback>,
        slow_poll: Duration,
    ) -> Arc<Self> {
        // The round itself, and giving back what was granted.
        let longest_attempt = NEGLECTED + 2 * node_timeout;
        let process = entropy::fresh_owner();
        Arc::new(Self { quorum, longest_attempt, fence_fallback, slow_poll, process, by_key: Mutex::default() })
    }

    /// When the next slow poll is, after an attempt now.
    fn poll_at(&self, now: Instant) -> Instant {
        // From a half to the whole of it by jitter, after another half.
        let jittered = Backoff::new(self.slow_poll, self.slow_poll, entropy::seed()).next().unwrap_or(self.slow_poll);
        now + self.slow_poll / 2 + jittered
    }

    fn by_key(&self) -> MutexGuard<'_, HashMap<Arc<str>, Arc<SharedQueue>>> {
        self.by_key.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a name's line.
    fn enter<T>(&self, key: &Arc<str>, enter: impl FnOnce(&mut WaitQueue) -> T) -> (Arc<SharedQueue>, T) {
        let mut by_key = self.by_key();
        let line = by_key.entry(Arc::clone(key)).or_default();
        // Before anybody can find it deserted.
        let entered = enter(&mut line.lock());
        (Arc::clone(line), entered)
    }

    /// Forgets a line that was deserted, unless somebody has come meanwhile.
    fn close(&self, key: &Arc<str>, deserted: &Arc<SharedQueue>) {
        let mut by_key = self.by_key();
        if by_key.get(key).is_some_and(|line| Arc::ptr_eq(line, deserted)) && deserted.lock().is_deserted() {
            by_key.remove(key);
        }
    }

    /// Stands at the end of a name's line.
    pub(crate) fn join(self: &Arc<Self>, key: &Arc<str>) -> QueuePlace {
        let runtime = Handle::try_current().ok().map(|runtime| runtime.id());
        let waiter = Arc::new(Waiter { call: Notify::new(), runtime });
        let (line, number) = self.enter(key, |line| {
            let number = next_number();
            let place = (number, Arc::clone(&waiter));
            if holds(Rule::FirstComeFirstServed) {
                line.places.push_back(place);
            } else {
                line.places.insert(line.places.len().min(1), place);
            }
            number
        });
        QueuePlace {
            wait_queues: Arc::clone(self),
            key: Arc::clone(key),
            line,
            number,
            waiter,
            asked: None,
            has_left: false,
        }
    }

    /// Notes who holds a lock in this process.
    pub(crate) fn hold_locally(self: &Arc<Self>, key: &Arc<str>, lease: &Arc<Lease>) -> LocalHold {
        let (line, (number, before)) = self.enter(key, |line| line.hold_locally(lease));
        note_end(before);
        LocalHold { wait_queues: Arc::clone(self), key: Arc::clone(key), line, number }
    }

    /// How the lock gets its fencing token; `seen` is the greatest counter that the same waiter heard of.
    pub(crate) fn fencing(&self, seen: u64) -> Option<Fenced> {
        self.fence_fallback.map(|fence_fallback| Fenced { seen, fence_fallback })
    }

    /// Who holds a lock in this process, as far as that was noted.
    pub(crate) fn local_holder(&self, key: &str) -> Option<Arc<Lease>> {
        self.by_key().get(key)?.lock().local_holder.as_ref().map(|(_, lease)| Arc::clone(lease))
    }

    /// Calls everybody who waits, and returns whatever is held: the manager is being shut down.
    pub(crate) fn call_all(&self) -> Vec<Arc<Lease>> {
        let mut held = Vec::new();
        for line in self.by_key().values() {
            let line = line.lock();
            line.places.iter().for_each(|(_, waiter)| waiter.call.notify_one());
            held.extend(line.local_holder.as_ref().map(|(_, lease)| Arc::clone(lease)));
        }
        held
    }
}

impl Listener for WaitQueues {
    fn changed(&self, node: usize, key: Option<&str>) {
        let by_key = self.by_key();
        match key {
            Some(key) => by_key.get(key).into_iter().for_each(|line| line.lock().changed(node)),
            None => by_key.values().for_each(|line| line.lock().changed(node)),
        }
    }
}

impl SharedQueue {
    fn lock(&self) -> MutexGuard<'_, WaitQueue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WaitQueue {
    /// Returns what is over now, too: that too few nodes could be reached.
    fn hold_locally(&mut self, lease: &Arc<Lease>) -> (u64, Option<Unreachable>) {
        let number = next_number();
        if let Some((_, previous)) = self.local_holder.replace((number, Arc::clone(lease))) {
            // The nodes have just granted the lock to somebody else.
            previous.lose_to_another();
        }
        // A node that missed this grant is to give the same number to the next one as the others.
        self.counter = self.counter.max(lease.fencing_token);
        self.wait_plan = None;
        (number, self.unreachable.take())
    }

    /// Gives up a place; says whether it was the first.
    fn leave(&mut self, number: u64) -> bool {
        let was_first = self.is_first(number);
        self.asking.take_if(|(asking, _)| *asking == number);
        // In the order of their numbers, but for those that were overtaken. Of thousands, looking at all would be too slow.
        let sorted = self.places.binary_search_by_key(&number, |(number, _)| *number).ok();
        let position = sorted.or_else(|| self.places.iter().position(|(place, _)| *place == number));
        if let Some(position) = position {
            self.places.remove(position);
        }
        if self.places.is_empty() {
            // A lock is held for longer than it is waited for.
            self.places = VecDeque::new();
        }
        was_first
    }

    fn is_first(&self, number: u64) -> bool {
        self.places.front().is_some_and(|(first, _)| *first == number)
    }

    /// Calls the first in line.
    fn call(&mut self) {
        if let Some((_, waiter)) = self.places.front() {
            self.called.get_or_insert_with(clock::now);
            waiter.call.notify_one();
        }
    }

    fn changed(&mut self, node: usize) {
        self.changed.insert(node);
        if let Some(wait_plan) = &mut self.wait_plan {
            let now = clock::now();
            let before = wait_plan.next(now);
            wait_plan.changed(node);
            // It may be to ask at once, or earlier than it thought.
            if wait_plan.next(now) != before {
                self.call();
            }
        }
    }

    /// The lock is free as far as this process is concerned.
    fn vacate(&mut self, quorum: Quorum) {
        self.local_holder = None;
        self.wait_plan = None;
        self.reports_to = None;
        if self.places.is_empty() {
            self.hand_overs = 0;
            return;
        }
        self.hand_overs += 1;
        if self.hand_overs > HAND_OVERS && self.is_wanted_elsewhere && holds(Rule::StandBack) {
            self.hand_overs = 0;
            self.is_wanted_elsewhere = false;
            let moment = clock::now() + STAND_BACK * self.round_trip;
            self.wait_plan = Some(Box::new(WaitPlan::stand_back(quorum, moment)));
        }
        if holds(Rule::ReleaseCalls) {
            self.call();
        }
    }

    fn is_deserted(&self) -> bool {
        self.local_holder.is_none() && self.places.is_empty()
    }

    /// Whoever was called and did not come, or asked and does not look at the answers, goes to the end of the line.
    fn pass_over_neglected(&mut self, now: Instant, longest_attempt: Duration) {
        let is_over = |since: Instant, limit| now.saturating_duration_since(since) >= limit;
        let is_deaf = self.called.is_some_and(|since| is_over(since, NEGLECTED));
        let is_stuck = self.asking.is_some_and(|(_, since)| is_over(since, longest_attempt));
        if is_deaf || is_stuck {
            self.called = None;
            self.asking = None;
            self.places.rotate_left(1);
            self.call();
        } else if self.wait_plan.as_ref().is_some_and(|wait_plan| matches!(wait_plan.next(now), Step::Ask(_))) {
            // Its own timer should have told it.
            self.call();
        }
    }

    /// What the first in line can rely on: nothing that is reported where it cannot hear it.
    fn forget_unheard(&mut self, runtime: Option<Id>, quorum: Quorum, now: Instant) {
        if self.reports_to.is_some() && self.reports_to != runtime {
            self.reports_to = None;
            self.wait_plan = self.wait_plan.as_ref().map(|_| Box::new(WaitPlan::unknown(quorum, now)));
        }
    }

    /// Who holds the lock in this process, as far as anybody can know.
    fn valid_local_holder(&mut self, now: Instant) -> Option<Arc<Lease>> {
        let (_, lease) = self.local_holder.as_ref()?;
        if lease.lost_reason(now).is_none() {
            return Some(Arc::clone(lease));
        }
        self.local_holder = None;
        self.wait_plan = None;
        None
    }
}

/// A place in a line; dropping it leaves the line, and lets the next one come forward.
pub(crate) struct QueuePlace {
    wait_queues: Arc<WaitQueues>,
    key: Arc<str>,
    line: Arc<SharedQueue>,
    number: u64,
    waiter: Arc<Waiter>,
    /// How the attempt that is under way is made, whether it is watched, and what was believed when it began.
    asked: Option<(AskOrder, bool, Option<Box<WaitPlan>>)>,
    /// Whether it is no place any more.
    has_left: bool,
}

impl QueuePlace {
    /// What to do now.
    pub(crate) fn next(&mut self, now: Instant) -> Turn {
        let mut line = self.line.lock();
        if !line.is_first(self.number) {
            line.pass_over_neglected(now, self.wait_queues.longest_attempt);
        }
        if !line.is_first(self.number) {
            return Turn::Wait(Some(now + NEGLECTED), None);
        }
        line.called = None;
        line.forget_unheard(self.waiter.runtime, self.wait_queues.quorum, now);
        let local_holder = line.valid_local_holder(now);
        if local_holder.is_some() && line.wait_plan.is_none() {
            line.wait_plan = Some(Box::new(WaitPlan::unknown(self.wait_queues.quorum, self.wait_queues.poll_at(now))));
        }
        let step = line.wait_plan.as_ref().map_or(Step::Ask(AskOrder::AllAtOnce), |wait_plan| wait_plan.next(now));
        match step {
            Step::WaitUntil(moment) => Turn::Wait(Some(moment), local_holder),
            Step::Ask(ask_order) => {
                // Nothing was lost so far: most locks are free, and the next in line follows a release.
                let is_watched = line.wait_plan.is_some();
                let is_last_hand_over = line.hand_overs >= HAND_OVERS;
                let notes_contention = ask_order == AskOrder::AllAtOnce && (is_watched || is_last_hand_over);
                line.changed = NodeSet::default();
                line.asking = Some((self.number, now));
                self.asked = Some((ask_order, is_watched, line.wait_plan.take()));
                let seen = line.counter;
                drop(line);
                let contender = notes_contention.then(|| Arc::clone(&self.wait_queues.process));
                Turn::Ask(Plan { ask_order, is_watched, contender, fencing: self.wait_queues.fencing(seen) })
            }
        }
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
        self.line.lock().unreachable.clone()
    }

    /// The attempt was not won. `pause` is waited where asking again at once would only repeat the same.
    pub(crate) fn lost(&mut self, name: &str, lost: &AttemptFailed, now: Instant, pause: Duration) {
        let Some((ask_order, is_watched, wait_plan)) = self.asked.take() else { return };
        let mut line = self.line.lock();
        if line.asking.take_if(|(number, _)| *number == self.number).is_none() {
            // It was overtaken: whoever asks now knows more.
            return;
        }
        let mut wait_plan = wait_plan.unwrap_or_else(|| Box::new(WaitPlan::unknown(self.wait_queues.quorum, now)));
        // Nothing reports a change of what was not watched: ask once more, at once.
        let poll_at = if is_watched || !holds(Rule::WatchBeforeAttempt) { self.wait_queues.poll_at(now) } else { now };
        wait_plan.lost((lost.verdict, ask_order), lost.seen.iter().copied(), now, poll_at, pause);
        line.changed.iter().for_each(|node| wait_plan.changed(node));
        line.wait_plan = Some(wait_plan);
        line.counter = line.counter.max(lost.counter);
        line.reports_to = self.waiter.runtime;
        line.hand_overs = 0;
        let unreachable = (lost.verdict == Verdict::Unreachable).then(|| Unreachable {
            name: Arc::from(name),
            granted: lost.granted,
            failures: lost.failures.clone(),
        });
        let is_unreachable = unreachable.is_some();
        let before = std::mem::replace(&mut line.unreachable, unreachable);
        drop(line);
        if !is_unreachable {
            note_end(before);
        } else if before.is_none() {
            tracing::warn!(lock = name, nodes = %lost.failures, "too few nodes can be reached; trying again");
        }
    }

    /// The attempt was won, and took this long.
    pub(crate) fn won(mut self, lease: &Arc<Lease>, is_wanted_elsewhere: bool, round_trip: Duration) -> LocalHold {
        let mut line = self.line.lock();
        let (number, before) = line.hold_locally(lease);
        line.round_trip = round_trip;
        line.is_wanted_elsewhere |= is_wanted_elsewhere;
        self.has_left = true;
        if line.leave(self.number) {
            line.called = None;
            line.call();
        }
        drop(line);
        note_end(before);
        LocalHold {
            wait_queues: Arc::clone(&self.wait_queues),
            key: Arc::clone(&self.key),
            line: Arc::clone(&self.line),
            number,
        }
    }
}

impl Drop for QueuePlace {
    fn drop(&mut self) {
        if self.has_left {
            return;
        }
        let mut line = self.line.lock();
        if line.leave(self.number) && holds(Rule::NextIsCalled) {
            line.called = None;
            line.call();
        }
        let is_deserted = line.is_deserted();
        let given_up = if line.places.is_empty() { line.unreachable.take() } else { None };
        drop(line);
        if let Some(Unreachable { name, .. }) = given_up {
            tracing::info!(lock = &*name, "too few nodes could be reached; nobody tries any more");
        }
        if is_deserted {
            self.wait_queues.close(&self.key, &self.line);
        }
    }
}

/// Tells, once, that enough nodes can be reached again, if they could not before. Not under a lock: whoever takes in events may do
/// anything.
fn note_end(before: Option<Unreachable>) {
    if let Some(Unreachable { name, .. }) = before {
        tracing::info!(lock = &*name, "enough nodes can be reached again");
    }
}

/// Holding a lock in this process; dropping it calls the next in line.
pub(crate) struct LocalHold {
    wait_queues: Arc<WaitQueues>,
    key: Arc<str>,
    line: Arc<SharedQueue>,
    number: u64,
}

impl LocalHold {
    /// The release is on its way on the connections of this runtime: if the next in line uses the same, what it sends
    /// comes behind the release, and it may go ahead.
    pub(crate) fn hand_over(&self) {
        let this_runtime = || Handle::try_current().ok().map(|runtime| runtime.id());
        let mut line = self.line.lock();
        if line.places.front().is_some_and(|(_, waiter)| waiter.runtime == this_runtime()) {
            self.vacate(&mut line);
        }
    }

    fn vacate(&self, line: &mut WaitQueue) {
        if line.local_holder.as_ref().is_some_and(|(number, _)| *number == self.number) {
            line.vacate(self.wait_queues.quorum);
        }
    }
}

impl Drop for LocalHold {
    fn drop(&mut self) {
        let mut line = self.line.lock();
        self.vacate(&mut line);
        let is_deserted = line.is_deserted();
        drop(line);
        if is_deserted {
            self.wait_queues.close(&self.key, &self.line);
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
        let wait_queues = WaitQueues::new(Quorum::of(1).unwrap(), Duration::from_secs(1), None, SLOW_POLL);
        let key: Arc<str> = "key".into();
        let late = wait_queues.hold_locally(&key, &lease());
        drop(wait_queues.hold_locally(&key, &lease()));
        assert!(wait_queues.local_holder(&key).is_none());
        let _local_hold = wait_queues.hold_locally(&key, &lease());
        drop(late);
        assert!(wait_queues.local_holder(&key).is_some());
    }

    #[test]
    fn whoever_follows_in_line_proposes_more_than_the_token_before() {
        let fence_fallback = FenceFallback::TrustClocks { max_clock_skew: Duration::from_secs(60) };
        let wait_queues =
            WaitQueues::new(Quorum::of(1).unwrap(), Duration::from_secs(1), Some(fence_fallback), SLOW_POLL);
        let key: Arc<str> = "key".into();
        let (local_hold, mut place) = (wait_queues.hold_locally(&key, &lease_with(41)), wait_queues.join(&key));
        drop(local_hold);
        let Turn::Ask(plan) = place.next(clock::now()) else { panic!("the lock is free") };
        assert_eq!(plan.fencing.map(|fenced| fenced.seen), Some(41));
    }
}
