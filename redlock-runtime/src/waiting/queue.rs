//! Those in this process who hold or want a lock, one queue for each name: mutexes and wakers around
//! [`protocol::wait_queue`](crate::protocol::wait_queue), which decides who asks the nodes, when, and who is called.

mod hold;
mod place;

#[cfg(not(redlock_simulated))]
use std::collections::HashMap;
use std::mem;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

pub(crate) use self::hold::{LocalHold, Offer};
pub(crate) use self::place::{NextStep, QueuePlace};
use crate::engine::Fenced;
use crate::error::NodeFailures;
use crate::held::lease::{self, Lease};
use crate::node::Listener;
use crate::observe::{Seldom, harmless};
#[cfg(redlock_simulated)]
use crate::platform::simulated::HashMap;
use crate::platform::tasks::{Handle, Id};
use crate::platform::{clock, entropy};
use crate::protocol::wait_queue::{self, Acquired, Call, LocalHolder, Reachability, WaitQueue, WaitSettings};
use crate::protocol::{FenceFallback, Needs, Quorum};
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

#[cfg(test)]
mod tests;
