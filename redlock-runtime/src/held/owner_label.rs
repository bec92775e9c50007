//! What the owners of held locks are called, noted on the nodes behind the locks' backs.
//!
//! A lock that is held for a moment needs no label, and most are: a label is written once its lock was held for a while. An
//! acquisition adds an entry to a queue and nothing else; no lock waits for its label, and none fails by it. From then on the
//! scripts that extend and release the key do the same to the note beside it, so that it needs no command of its own.
//!
//! A lock that is detached before that is labelled at once: its process may be gone a moment later, and the lock is held for longer.

use std::collections::VecDeque;
use std::env;
use std::fs;
use std::process;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::task::Id;

use super::lease::Lease;
use crate::Error;
use crate::engine::Engine;
use crate::node::inspect::OwnerLabel;
use crate::platform::background;
use crate::platform::clock;
use crate::values::keys::Keys;
use crate::values::name::Name;

/// A lock that is held for less than this is not labelled: whoever looks would hardly catch it, and those that are acquired
/// by the thousand are held for less.
const HELD_FOR: Duration = Duration::from_millis(100);

/// What becomes due within this time is seen to together.
const INTERVAL: Duration = Duration::from_millis(20);

/// Room is kept in the queue for so many.
const ROOM: usize = 1024;

/// The labels of a manager's locks.
pub(crate) struct Labels {
    /// The nodes.
    engine: Arc<Engine>,
    /// What owners are called that say nothing else; `None`: host, process and task.
    label: Option<Arc<str>>,
    /// A std mutex: it is never held across an await.
    queue: Mutex<Queue>,
    /// How many labels of detached locks are on their way.
    leaving: AtomicUsize,
    /// Told when there are none left.
    all_left: Notify,
}

/// What becomes due, in the order in which it came, with its moments.
struct DueInOrder<M, T>(VecDeque<(M, T)>);

#[derive(Default)]
struct Queue {
    /// Locks that are to be labelled. Those that are released meanwhile stay until they are due: taking them out would cost each of
    /// them something.
    labelled: DueInOrder<Instant, Labelled>,
    /// Whether a task sees to them; it ends when there are none.
    is_served: bool,
}

/// A lock that may still be held when it is due.
struct Labelled {
    /// The lock; it does not live longer for this.
    lease: Weak<Lease>,
    /// What its owner is called.
    label: Label,
}

enum Label {
    /// These words.
    Given(Arc<str>),
    /// Where it was acquired: in this task, if in any.
    Here(Option<Id>),
    /// Nothing; what it keeps for a moment is forgotten all the same.
    None,
}

/// Whether an owner can be called so.
pub(crate) fn check(label: &str) -> Result<(), Error> {
    match Name::parse(label.to_owned()) {
        Err(Error::InvalidName { name, reason }) if !label.is_empty() => {
            Err(Error::Config { reason: format!("{name:?} cannot be an owner_label: {reason}") })
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

impl Labels {
    pub(crate) fn new(engine: Arc<Engine>, label: Option<Arc<str>>) -> Arc<Self> {
        Arc::new(Self { engine, label, queue: Mutex::default(), leaving: AtomicUsize::new(0), all_left: Notify::new() })
    }

    /// Labels a lock, acquired at this moment, once it was held for a while.
    pub(crate) fn note_later(self: &Arc<Self>, lease: &Arc<Lease>, label: Option<&str>, acquired: Instant) {
        if !lease.subject.has_label() {
            return;
        }
        let label = match label.map(Arc::from).or_else(|| self.label.clone()) {
            Some(label) if label.is_empty() => Label::None,
            Some(label) => Label::Given(label),
            None => Label::Here(tokio::task::try_id()),
        };
        let due = acquired + HELD_FOR;
        let labelled = Labelled { lease: Arc::downgrade(lease), label };
        if let Some(home) = self.engine.home() {
            // Its clock is not that of others who stand in the queue.
            let labels = Arc::clone(self);
            home.spawn(async move {
                clock::sleep_until(due + INTERVAL).await;
                labels.note_all(vec![labelled], clock::now());
            });
            return;
        }
        let mut queue = self.queue();
        queue.labelled.add(due, labelled);
        if !queue.is_served {
            queue.is_served = true;
            background::spawn(Arc::clone(self).serve());
        }
    }

    /// Labels a lock that is about to be detached, unless it is labelled already.
    pub(crate) fn note_before_it_leaves(self: &Arc<Self>, lease: &Arc<Lease>) {
        let is_it = |labelled: &Labelled| std::ptr::eq(labelled.lease.as_ptr(), Arc::as_ptr(lease));
        let Some(Labelled { label, .. }) = self.queue().labelled.take_out(is_it) else { return };
        let now = clock::now();
        let Some(label) = label.words().filter(|_| lease.begin_note(now)) else { return };
        let (leaving, note) = (Leaving::new(self), note(lease, label, now));
        background::spawn(async move { leaving.0.send(vec![note]).await });
    }

    /// Ends when no label of a detached lock is on its way.
    pub(crate) async fn all_left(&self) {
        loop {
            let left = self.all_left.notified();
            if self.leaving.load(Ordering::Acquire) == 0 {
                return;
            }
            left.await;
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn serve(self: Arc<Self>) {
        loop {
            let next = self.queue().next_due();
            let Some(due) = next else { return };
            clock::sleep_until(due + INTERVAL).await;
            let now = clock::now();
            let due = self.queue().labelled.take_due(now);
            self.note_all(due, now);
        }
    }

    /// Labels those that are still held. A node that hangs is not waited for: those who come next are labelled on the others meanwhile.
    fn note_all(self: &Arc<Self>, due: Vec<Labelled>, now: Instant) {
        let label = |labelled: Labelled| {
            let lease = labelled.lease.upgrade()?;
            lease.drop_stragglers_of_the_caller();
            let label = labelled.label.words().filter(|_| lease.begin_note(now))?;
            Some(note(&lease, label, now))
        };
        let labels: Vec<_> = due.into_iter().filter_map(label).collect();
        if !labels.is_empty() {
            let this = Arc::clone(self);
            self.engine.spawn(async move { this.send(labels).await });
        }
    }

    /// Tells every node. One that takes it in is enough for whoever looks, and nobody is worse off without.
    async fn send(&self, labels: Vec<OwnerLabel>) {
        let reply_timeout = self.engine.node_timeout();
        let (_, failures) = self
            .engine
            .survey_all(|_, node| {
                let labels = labels.clone();
                async move { node.record_labels(labels, reply_timeout).await }
            })
            .await;
        if !failures.is_empty() {
            tracing::debug!(%failures, "owners of locks were not labelled everywhere");
        }
    }
}

/// A label of a detached lock, on its way.
struct Leaving(Arc<Labels>);

impl Leaving {
    fn new(labels: &Arc<Labels>) -> Self {
        labels.leaving.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(labels))
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        if self.0.leaving.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.all_left.notify_waiters();
        }
    }
}

impl Queue {
    fn next_due(&mut self) -> Option<Instant> {
        let due = self.labelled.next_due();
        self.is_served = due.is_some();
        due
    }
}

impl<M, T> Default for DueInOrder<M, T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<M: Ord + Copy, T> DueInOrder<M, T> {
    /// What is due before something that came earlier is due with that. They come as time goes by, so that it is little earlier: a
    /// thread may have been stopped since it looked at the clock.
    fn add(&mut self, due: M, what: T) {
        let due = self.0.back().map_or(due, |(last, _)| due.max(*last));
        self.0.push_back((due, what));
    }

    fn next_due(&self) -> Option<M> {
        self.0.front().map(|(due, _)| *due)
    }

    /// Takes out one, whenever it is due. The last are looked at first: a lock that is detached was most often acquired a moment ago.
    fn take_out(&mut self, is_it: impl Fn(&T) -> bool) -> Option<T> {
        let place = self.0.iter().rposition(|(_, what)| is_it(what))?;
        self.0.remove(place).map(|(_, what)| what)
    }

    fn take_due(&mut self, now: M) -> Vec<T> {
        let later = self.0.iter().position(|(due, _)| *due > now).unwrap_or(self.0.len());
        let due = self.0.drain(..later).map(|(_, what)| what).collect();
        if self.0.is_empty() {
            // Thousands that were acquired at once and are held now need no room here.
            self.0.shrink_to(ROOM);
        }
        due
    }
}

impl Label {
    fn words(self) -> Option<Arc<str>> {
        match self {
            Self::Given(label) => Some(label),
            Self::Here(task) => Some(here(task)),
            Self::None => None,
        }
    }
}

fn note(lease: &Lease, label: Arc<str>, now: Instant) -> OwnerLabel {
    let held_for = now.saturating_duration_since(lease.began);
    let (keys, owner) = (Arc::new(Keys::around(lease.subject.key())), Arc::clone(&lease.owner));
    OwnerLabel { keys, owner, label, held_for, fencing_token: lease.fencing_token }
}

/// Host, process and task.
fn here(task: Option<Id>) -> Arc<str> {
    // Not for ever: a process that has no file descriptor left for it now may have one next time.
    static HOST: OnceLock<String> = OnceLock::new();
    let found = HOST.get().map_or_else(host, |host| Some(host.clone()));
    let host = found.map_or_else(|| "unknown host".to_owned(), |found| HOST.get_or_init(|| found).clone());
    // A child that was forked is another process.
    let process = process::id();
    match task {
        Some(task) => format!("{host} pid {process} task {task}").into(),
        None => format!("{host} pid {process}").into(),
    }
}

fn host() -> Option<String> {
    let of_kernel = fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let names =
        of_kernel.into_iter().chain(["HOSTNAME", "COMPUTERNAME"].into_iter().filter_map(|name| env::var(name).ok()));
    let mut names = names.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty() && check(name).is_ok());
    names.next()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::cmp::Ordering;

    use super::*;

    thread_local! {
        /// How often moments were compared.
        static COMPARED: Cell<usize> = const { Cell::new(0) };
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Moment(usize);

    impl Ord for Moment {
        fn cmp(&self, other: &Self) -> Ordering {
            COMPARED.set(COMPARED.get() + 1);
            self.0.cmp(&other.0)
        }
    }

    impl PartialOrd for Moment {
        fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
            Some(self.cmp(other))
        }
    }

    #[test]
    fn however_many_are_to_be_labelled_each_is_looked_at_once_when_it_comes_and_once_when_it_is_due() {
        const COUNT: usize = 10_000;
        let check = |moments: &mut dyn Iterator<Item = usize>| {
            let mut queue = DueInOrder::default();
            COMPARED.set(0);
            (0..COUNT).zip(moments).for_each(|(number, moment)| queue.add(Moment(moment), number));
            assert!(COMPARED.get() <= COUNT, "{} comparisons", COMPARED.get());
            let mut taken = Vec::new();
            while let Some(due) = queue.next_due() {
                taken.extend(queue.take_due(due));
            }
            assert!(taken.iter().copied().eq(0..COUNT), "in the order in which they came");
            assert!(COMPARED.get() <= 3 * COUNT, "{} comparisons", COMPARED.get());
        };
        check(&mut (0..));
        // Each looked at the clock before the one before.
        check(&mut (0..COUNT).rev());
    }

    #[test]
    fn nothing_is_taken_before_it_is_due_and_nothing_that_is_due_waits_for_what_comes_later() {
        let mut queue = DueInOrder::default();
        for moment in [10, 30, 20, 40] {
            queue.add(moment, moment);
        }
        assert_eq!((queue.next_due(), queue.take_due(9)), (Some(10), vec![]));
        assert_eq!(queue.take_due(29), [10]);
        assert_eq!((queue.take_due(30), queue.next_due()), (vec![30, 20], Some(40)));
        assert_eq!((queue.take_due(40), queue.next_due()), (vec![40], None));
    }

    #[test]
    fn what_is_taken_out_is_not_due_any_more_and_the_rest_is() {
        let mut queue = DueInOrder::default();
        for moment in [10, 20, 30] {
            queue.add(moment, moment);
        }
        assert_eq!(queue.take_out(|what| *what == 20), Some(20));
        assert_eq!(queue.take_out(|what| *what == 20), None);
        assert_eq!((queue.take_due(30), queue.next_due()), (vec![10, 30], None));
    }
}
