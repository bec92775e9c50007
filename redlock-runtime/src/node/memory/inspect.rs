//! What those see who look on, and what they mend.

#[cfg(not(redlock_simulated))]
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{MemoryNode, State};
use crate::node::counters::Answer;
use crate::node::inspect::{
    Cursor, Deleted, Inspecting, Listed, LockRecord, OwnerLabel, Page, PermitsRecord, RecordedLabel, SharedRecord,
};
#[cfg(redlock_simulated)]
use crate::platform::simulated::HashMap;
use crate::protocol::StoredMark;
use crate::values::keys::{Keys, LockKeys};

impl State {
    /// Who has a key, in words.
    fn look(&self, key: &str, now: Instant) -> Option<LockRecord> {
        let entry = self.live(key, now)?;
        let noted = self.notes.get(key).filter(|(owner, ..)| *owner == entry.owner);
        Some(LockRecord {
            owner: Arc::clone(&entry.owner),
            remaining: Some(entry.expires.saturating_duration_since(now)),
            label: noted.map(|(_, label, since, fencing_token)| RecordedLabel {
                label: label.to_string(),
                held_for: now.saturating_duration_since(*since),
                fencing_token: *fencing_token,
            }),
        })
    }
}

impl Inspecting for MemoryNode {
    fn record_labels(&self, notes: Vec<OwnerLabel>, reply_timeout: Duration) -> Answer<()> {
        self.server.answer(reply_timeout, move |state, now| {
            for OwnerLabel { keys, owner, label, held_for, fencing_token } in notes {
                if state.live(&keys.lock, now).is_some_and(|entry| entry.owner == owner) {
                    let since = now.checked_sub(held_for).unwrap_or(now);
                    state.notes.insert(Arc::clone(&keys.lock), (owner, label, since, fencing_token));
                    state.tell(&keys.label);
                }
            }
            let entries = &state.entries;
            state.notes.retain(|key, (owner, ..)| entries.get(key).is_some_and(|entry| entry.owner == *owner));
        })
    }

    fn look(&self, keys: Arc<LockKeys>, reply_timeout: Duration) -> Answer<Option<LockRecord>> {
        self.server.answer(reply_timeout, move |state, now| state.look(&keys.lock, now))
    }

    fn shared(&self, lock: Arc<str>, reply_timeout: Duration) -> Answer<SharedRecord> {
        self.server.answer(reply_timeout, move |state, now| {
            let readers = state.readers.get(&*Keys::readers(&lock)).into_iter().flatten();
            let remaining: Vec<_> = readers
                .filter_map(|(_, until)| until.checked_duration_since(now).filter(|rest| !rest.is_zero()))
                .collect();
            let last = remaining.iter().max().copied().unwrap_or_default();
            SharedRecord { writer: state.look(&Keys::writer(&lock), now), readers: (remaining.len() as u64, last) }
        })
    }

    fn permits(&self, lock: Arc<str>, reply_timeout: Duration) -> Answer<PermitsRecord> {
        self.server.answer(reply_timeout, move |state, now| {
            let said = state.permits.get(&*Keys::permits(&lock)).filter(|(_, until)| *until > now);
            let held = Keys::all_permits(&lock).filter_map(|(slot, key)| Some((slot, state.look(&key, now)?)));
            PermitsRecord { said: said.map(|(permits, _)| *permits), held: held.collect() }
        })
    }

    fn watch(&self, keys: Vec<Arc<str>>, reply_timeout: Duration) -> Answer<()> {
        let changes = self.changes.get().cloned();
        self.server.answer(reply_timeout, move |state, _| {
            for (key, changes) in keys.into_iter().zip(changes.into_iter().cycle()) {
                let watching = state.watched.entry(key).or_default();
                // Whoever looks again and again is told once.
                if !watching.iter().any(|other| other.is_same_as(&changes)) {
                    watching.push(changes);
                }
            }
        })
    }

    fn page(&self, wanted: Listed, _: Cursor, reply_timeout: Duration) -> Answer<Page> {
        self.server.answer(reply_timeout, move |state, now| {
            let live = state.entries.iter().filter(|(_, entry)| entry.expires > now).map(|(key, _)| key);
            let is_read = |readers: &HashMap<_, Instant>| readers.values().any(|until| *until > now);
            let read = state.readers.iter().filter(|(_, readers)| is_read(readers)).map(|(key, _)| key);
            let keys = live.chain(read).filter(|key| wanted.is_called(key)).map(ToString::to_string).collect();
            Page { keys, next: None }
        })
    }

    fn reset(&self, locks: Vec<Arc<LockKeys>>, reply_timeout: Duration) -> Answer<Vec<Deleted>> {
        self.server.answer(reply_timeout, move |state, now| {
            let reset = |keys: &Arc<LockKeys>| {
                let was_there = state.live(&keys.lock, now).is_some() || state.readers.contains_key(&keys.lock);
                state.readers.remove(&keys.lock);
                state.entries.remove(&keys.lock);
                state.notes.remove(&keys.lock);
                state.tell(&keys.lock);
                Ok(was_there)
            };
            locks.iter().map(reset).collect()
        })
    }

    fn mark(&self, lock: Arc<str>, reply_timeout: Duration) -> Answer<Option<StoredMark>> {
        self.server.answer(reply_timeout, move |state, now| state.mark(&lock, now))
    }

    fn reset_mark(&self, lock: Arc<str>, retention: Duration, reply_timeout: Duration) -> Answer<bool> {
        self.server.answer(reply_timeout, move |state, now| {
            let before = state.mark(&lock, now);
            state.marks.insert(lock, (StoredMark::NONE, now + retention));
            before.is_some_and(|mark| mark != StoredMark::NONE)
        })
    }
}
