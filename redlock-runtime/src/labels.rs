//! What the owners of held locks are called, noted on the nodes behind the locks' backs.
//!
//! A lock that is held for a moment needs no name, and most are: a label is written once its lock was held for a while, and
//! again now and then while it is extended, because it lives as long as the key does. One task does it for all locks of a
//! manager. An acquisition adds an entry to a schedule and nothing else; no lock waits for it, and none fails by it.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::process;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::task::Id;
use tokio::time::sleep_until;

use crate::background::background;
use crate::engine::Engine;
use crate::keys::{Keys, LockKeys};
use crate::lease::Lease;
use crate::name::Name;
use crate::node::inspecting::Note;
use crate::{Error, clock};

/// A lock that is held for less than this is not labelled: whoever looks would hardly catch it, and those that are acquired
/// by the thousand are held for less.
const HELD_FOR: Duration = Duration::from_millis(100);

/// What becomes due within this time is seen to together.
const INTERVAL: Duration = Duration::from_millis(20);

/// The labels of a manager's locks.
pub(crate) struct Labels {
    /// The nodes.
    engine: Arc<Engine>,
    /// What owners are called that say nothing else; `None`: host, process and task.
    label: Option<Arc<str>>,
    /// A std mutex: it is never held across an await.
    schedule: Mutex<Schedule>,
    /// Wakes the task for something that is due before what it sleeps for.
    earlier: Notify,
}

/// Which lock is to be looked after when; the number keeps equal moments apart.
#[derive(Default)]
struct Schedule {
    /// Locks that are released meanwhile stay until they are due: taking them out would cost each of them something.
    due: BTreeMap<(Instant, u64), Labelled>,
    /// The number of the next entry.
    next: u64,
    /// For when the task is armed; `None` if it does not run.
    armed: Option<Instant>,
}

/// A lock that may still be held.
struct Labelled {
    /// The lock; it does not live longer for this.
    lease: Weak<Lease>,
    /// What its owner is called.
    label: Label,
    /// The keys around it; `None` until it is labelled for the first time.
    keys: Option<Arc<LockKeys>>,
    /// The end of its validity when it was last labelled: the label lives as long as the key did then.
    noted: Option<Instant>,
}

enum Label {
    /// These words.
    Given(Arc<str>),
    /// Where it was acquired: in this task, if in any.
    Here(Option<Id>),
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
        Arc::new(Self { engine, label, schedule: Mutex::default(), earlier: Notify::new() })
    }

    /// Labels a lock once it was held for a while.
    pub(crate) fn note_later(self: &Arc<Self>, lease: &Arc<Lease>, label: Option<&str>) {
        let label = match label.map(Arc::from).or_else(|| self.label.clone()) {
            Some(label) if label.is_empty() => return,
            Some(label) => Label::Given(label),
            None => Label::Here(tokio::task::try_id()),
        };
        let labelled = Labelled { lease: Arc::downgrade(lease), label, keys: None, noted: None };
        let due = clock::now() + HELD_FOR;
        let mut schedule = self.schedule();
        schedule.add(due, labelled);
        match schedule.armed {
            None => {
                schedule.armed = Some(due);
                background().spawn(Arc::clone(self).run());
            }
            Some(armed) if due < armed => {
                schedule.armed = Some(due);
                self.earlier.notify_one();
            }
            Some(_) => {}
        }
    }

    fn schedule(&self) -> MutexGuard<'_, Schedule> {
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The task; ends when no lock is left to look after.
    async fn run(self: Arc<Self>) {
        while let Some(moment) = self.arm() {
            tokio::select! {
                () = sleep_until((moment + INTERVAL).into()) => self.note_due().await,
                () = self.earlier.notified() => {}
            }
        }
    }

    fn arm(&self) -> Option<Instant> {
        let mut schedule = self.schedule();
        schedule.armed = schedule.due.first_key_value().map(|((moment, _), _)| *moment);
        schedule.armed
    }

    async fn note_due(&self) {
        let now = clock::now();
        let due = {
            let mut schedule = self.schedule();
            let later = schedule.due.split_off(&(now, u64::MAX));
            std::mem::replace(&mut schedule.due, later)
        };
        let mut notes = Vec::new();
        for mut labelled in due.into_values() {
            let Some(lease) = labelled.lease.upgrade().filter(|lease| lease.is_held(now)) else { continue };
            // Without an extension since, the label lives as long as the key anyway.
            let valid_until = Some(lease.valid_until());
            if labelled.noted != valid_until {
                labelled.noted = valid_until;
                notes.push(labelled.note(&lease, now));
            }
            self.schedule().add(now + (lease.ttl / 3).max(INTERVAL), labelled);
        }
        if !notes.is_empty() {
            self.send(notes).await;
        }
    }

    /// Tells every node; those that do not answer have no label until the next time.
    async fn send(&self, notes: Vec<Note>) {
        let patience = self.engine.node_timeout();
        let asked: Vec<_> = self
            .engine
            .nodes()
            .iter()
            .map(|node| {
                let (node, notes) = (Arc::clone(node), notes.clone());
                tokio::spawn(async move {
                    if let Err(reason) = node.note(notes, patience).await {
                        tracing::debug!(node = node.label(), %reason, "owners of locks were not labelled");
                    }
                })
            })
            .collect();
        for told in asked {
            // It neither panics nor is aborted.
            let _ = told.await;
        }
    }
}

impl Schedule {
    fn add(&mut self, moment: Instant, labelled: Labelled) {
        self.next += 1;
        self.due.insert((moment, self.next), labelled);
    }
}

impl Labelled {
    fn note(&mut self, lease: &Lease, now: Instant) -> Note {
        let label = match &self.label {
            Label::Given(label) => Arc::clone(label),
            Label::Here(task) => {
                let label = here(*task);
                self.label = Label::Given(Arc::clone(&label));
                label
            }
        };
        let keys = self.keys.get_or_insert_with(|| Arc::new(Keys::around(&lease.key)));
        let held_for = now.saturating_duration_since(lease.began);
        Note { keys: Arc::clone(keys), owner: Arc::clone(&lease.owner), label, held_for }
    }
}

/// Host, process and task.
fn here(task: Option<Id>) -> Arc<str> {
    static PROCESS: LazyLock<String> = LazyLock::new(|| format!("{} pid {}", host(), process::id()));
    match task {
        Some(task) => format!("{} task {task}", *PROCESS).into(),
        None => PROCESS.as_str().into(),
    }
}

fn host() -> String {
    let of_kernel = fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let names =
        of_kernel.into_iter().chain(["HOSTNAME", "COMPUTERNAME"].into_iter().filter_map(|name| env::var(name).ok()));
    let mut names = names.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty() && check(name).is_ok());
    names.next().unwrap_or_else(|| "unknown host".to_owned())
}
