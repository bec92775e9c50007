//! `memory://` nodes: a voter inside this process, for tests and demonstrations.

use std::collections::HashMap;
use std::future::ready;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use super::{Action, Command, Node, PendingReply, Reply};
use crate::clock;

/// A node that keeps its keys in this process and behaves like a Redis node.
#[derive(Debug)]
pub(crate) struct MemoryNode {
    /// `memory://` or `memory://NAME`.
    label: String,
    /// What a Redis server would hold; shared by all nodes of the same name.
    store: Arc<Store>,
}

/// The keys of one node. A std mutex: it is never held across an await.
#[derive(Debug, Default)]
struct Store(Mutex<HashMap<Arc<str>, Entry>>);

/// A key's value and its end.
#[derive(Debug)]
struct Entry {
    /// The value: who holds the lock.
    owner: Arc<str>,
    /// The key does not exist from this moment on.
    expires: Instant,
}

/// The stores that have a name, for as long as some node uses them.
static NAMED: LazyLock<Mutex<HashMap<String, Weak<Store>>>> = LazyLock::new(Mutex::default);

impl MemoryNode {
    /// The node called `name`, the same for everybody in this process who asks for that name; without a name a node
    /// that nobody else has.
    pub(crate) fn new(name: &str) -> Self {
        let store = if name.is_empty() { Arc::default() } else { Store::named(name) };
        Self { label: format!("memory://{name}"), store }
    }
}

impl Store {
    fn named(name: &str) -> Arc<Self> {
        let mut named = NAMED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = named.get(name).and_then(Weak::upgrade) {
            return store;
        }
        let store = Arc::default();
        named.retain(|_, other| other.strong_count() > 0);
        named.insert(name.to_owned(), Arc::downgrade(&store));
        store
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<Arc<str>, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn apply(&self, command: &Command, now: Instant) -> Reply {
        let mut entries = self.entries();
        if entries.get(&command.key).is_some_and(|entry| entry.expires <= now) {
            entries.remove(&command.key);
        }
        let held = entries.get_mut(&command.key);
        let refused = |held: Option<&mut Entry>| Reply::NotOurs {
            remaining: held.map(|entry| entry.expires.saturating_duration_since(now)),
        };
        match (command.action, held) {
            (Action::Acquire { ttl }, None) => {
                let entry = Entry { owner: Arc::clone(&command.owner), expires: now + ttl };
                entries.insert(Arc::clone(&command.key), entry);
                Reply::Done
            }
            (Action::Extend { ttl }, Some(entry)) if entry.owner == command.owner => {
                entry.expires = now + ttl;
                Reply::Done
            }
            (Action::Release { keep, .. }, Some(entry)) if entry.owner == command.owner => {
                if keep.is_zero() {
                    entries.remove(&command.key);
                } else {
                    entry.expires = now + keep;
                }
                Reply::Done
            }
            (Action::Acquire { .. } | Action::Extend { .. } | Action::Release { .. }, held) => refused(held),
        }
    }
}

impl Node for MemoryNode {
    fn label(&self) -> &str {
        &self.label
    }

    fn ask(&self, command: Arc<Command>) -> PendingReply {
        PendingReply::new(ready(self.store.apply(&command, clock::now())))
    }

    fn overdue(&self) {}
}
