//! The keys, and what changed.

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use crate::reply::Reply;
use crate::server::{Cluster, Refusal, Version};
use crate::value::Value;

/// The name of a key.
pub type Key = Arc<[u8]>;

/// A change of a key. Moments are those of the server's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A key was given a text.
    Set {
        /// Which key.
        key: Key,
        /// The text.
        value: Arc<[u8]>,
        /// When it expires, if it does.
        until: Option<Duration>,
    },
    /// What a key holds that is no text was changed.
    Changed {
        /// Which key.
        key: Key,
    },
    /// A key was deleted by a command.
    Deleted {
        /// Which key.
        key: Key,
    },
    /// A key was removed because its time was over.
    Expired {
        /// Which key.
        key: Key,
    },
    /// A key's expiry was set, and nothing else about it.
    Expire {
        /// Which key.
        key: Key,
        /// When it expires.
        until: Duration,
    },
    /// A key does not expire any more.
    Persisted {
        /// Which key.
        key: Key,
    },
    /// All keys were deleted.
    Flushed,
}

/// What others have to be told about a command, in the order in which it happened.
#[derive(Clone, Debug)]
pub(crate) enum Signal {
    /// Keys were read.
    Read(Vec<Key>),
    /// A key is not what it was, and in which way.
    Modified(Key),
    /// A key is not what it was, as the channel of its changes is told.
    Notified(Key, &'static str),
    /// A message for a channel.
    Published(Arc<[u8]>, Arc<[u8]>),
    /// All keys are gone.
    Flushed,
}

/// A key's value, and when it expires.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) value: Value,
    /// In milliseconds of the server's clock; the key is gone after that one.
    pub(crate) expires: Option<i64>,
}

/// By whom a client is sent to a server of a cluster with a command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum SentBy {
    /// By nobody, or for good.
    #[default]
    Nobody,
    /// By the server that gives the slot of its keys to this one.
    Giver,
}

/// The keys of a server.
#[derive(Clone, Debug, Default)]
pub(crate) struct Keyspace {
    pub(crate) entries: BTreeMap<Key, Entry>,
    /// The server's clock.
    pub(crate) now: Duration,
    /// What changed since somebody asked.
    pub(crate) events: Vec<Event>,
    /// What others have to be told about the command that runs.
    pub(crate) signals: Vec<Signal>,
    /// Whether somebody is told which keys were read.
    pub(crate) reports_reads: bool,
    /// Whether somebody is told which keys were changed.
    pub(crate) reports_writes: bool,
    /// Whether changes are published on channels.
    pub(crate) notifies: bool,
    /// Which commands are refused.
    pub(crate) refusal: Option<Refusal>,
    /// The server's version.
    pub(crate) version: Version,
    /// What the server knows about the cluster that it belongs to.
    pub(crate) cluster: Option<Cluster>,
    /// By whom the client whose command runs was sent here with it.
    pub(crate) sent_by: SentBy,
    /// How many clients subscribe to a channel.
    pub(crate) subscribers: BTreeMap<Arc<[u8]>, usize>,
    /// What was asked and is not known here.
    pub(crate) unknown: Vec<String>,
}

impl Keyspace {
    /// The clock in milliseconds.
    pub(crate) fn now_ms(&self) -> i64 {
        i64::try_from(self.now.as_millis()).unwrap_or(i64::MAX)
    }

    /// A key that is there and has not expired; one that has is removed.
    pub(crate) fn entry(&mut self, key: &[u8]) -> Option<&mut Entry> {
        let now = self.now_ms();
        if self.entries.get(key)?.is_expired(now) {
            self.expire(key);
            return None;
        }
        self.entries.get_mut(key)
    }

    /// Removes a key whose time is over.
    pub(crate) fn expire(&mut self, key: &[u8]) {
        if let Some((key, _)) = self.entries.remove_entry(key) {
            self.events.push(Event::Expired { key: Arc::clone(&key) });
            self.modified(&key, "expired");
        }
    }

    /// When the next key expires: the first moment at which it is gone.
    pub(crate) fn next_expiry(&self) -> Option<Duration> {
        let next = self.entries.values().filter_map(|entry| entry.expires).min()?;
        Some(milliseconds(next.saturating_add(1)))
    }

    /// Removes all keys whose time is over.
    pub(crate) fn expire_all(&mut self) {
        let now = self.now_ms();
        let expired = self.entries.iter().filter(|(_, entry)| entry.is_expired(now));
        for key in expired.map(|(key, _)| Arc::clone(key)).collect::<Vec<_>>() {
            self.expire(&key);
        }
    }

    /// The text that a key holds.
    pub(crate) fn string(&mut self, key: &[u8]) -> Result<Option<Arc<[u8]>>, Reply> {
        match self.entry(key) {
            None => Ok(None),
            Some(Entry { value: Value::String(text), .. }) => Ok(Some(Arc::clone(text))),
            Some(_) => Err(wrong_type()),
        }
    }

    /// Gives a key a text.
    pub(crate) fn set(&mut self, key: &[u8], value: Arc<[u8]>, expires: Option<i64>, event: &'static str) {
        let key = self.name(key);
        self.events.push(Event::Set {
            key: Arc::clone(&key),
            value: Arc::clone(&value),
            until: expires.map(milliseconds),
        });
        self.entries.insert(Arc::clone(&key), Entry { value: Value::String(value), expires });
        self.modified(&key, event);
    }

    /// The value of a key that is no text, which is made if there is none; `change` says whether it changed it.
    pub(crate) fn update<T>(
        &mut self,
        key: &[u8],
        empty: fn() -> Value,
        event: &'static str,
        change: impl FnOnce(&mut Value) -> Option<(T, bool)>,
    ) -> Result<T, Reply> {
        let mut made = Entry { value: empty(), expires: None };
        let is_there = self.entry(key).is_some();
        let key = self.name(key);
        let entry = if is_there { self.entries.get_mut(&key).unwrap_or(&mut made) } else { &mut made };
        let (result, is_changed) = change(&mut entry.value).ok_or_else(wrong_type)?;
        let is_empty = entry.value.is_empty();
        if is_changed {
            if is_there && is_empty {
                self.entries.remove(&key);
                self.events.push(Event::Deleted { key: Arc::clone(&key) });
            } else if !is_empty {
                if !is_there {
                    self.entries.insert(Arc::clone(&key), made);
                }
                self.events.push(Event::Changed { key: Arc::clone(&key) });
            }
            self.modified(&key, event);
            if is_there && is_empty {
                self.notify(&key, "del");
            }
        }
        Ok(result)
    }

    /// Deletes a key, if it is there.
    pub(crate) fn delete(&mut self, key: &[u8]) -> bool {
        if self.entry(key).is_none() {
            return false;
        }
        let Some((key, _)) = self.entries.remove_entry(key) else { return false };
        self.events.push(Event::Deleted { key: Arc::clone(&key) });
        self.modified(&key, "del");
        true
    }

    /// Has a key that is there expire.
    pub(crate) fn expire_at(&mut self, key: &[u8], expires: i64) {
        let key = self.name(key);
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.expires = Some(expires);
            self.events.push(Event::Expire { key: Arc::clone(&key), until: milliseconds(expires) });
            self.modified(&key, "expire");
        }
    }

    /// Has a key live for ever; whether it was to expire.
    pub(crate) fn persist(&mut self, key: &[u8]) -> bool {
        let Some(entry) = self.entry(key) else { return false };
        if entry.expires.take().is_none() {
            return false;
        }
        let key = self.name(key);
        self.events.push(Event::Persisted { key: Arc::clone(&key) });
        self.modified(&key, "persist");
        true
    }

    pub(crate) fn flush(&mut self) {
        self.entries.clear();
        self.events.push(Event::Flushed);
        self.signals.push(Signal::Flushed);
    }

    pub(crate) fn notify(&mut self, key: &Key, event: &'static str) {
        if self.notifies {
            self.signals.push(Signal::Notified(Arc::clone(key), event));
        }
    }

    pub(crate) fn take_signals(&mut self) -> Vec<Signal> {
        mem::take(&mut self.signals)
    }

    fn modified(&mut self, key: &Key, event: &'static str) {
        if self.reports_writes {
            self.signals.push(Signal::Modified(Arc::clone(key)));
        }
        self.notify(key, event);
    }

    /// A key's name, the one that is there if there is one.
    fn name(&self, key: &[u8]) -> Key {
        self.entries.get_key_value(key).map_or_else(|| Arc::from(key), |(key, _)| Arc::clone(key))
    }
}

impl Entry {
    // Source: `keyIsExpired`, https://github.com/redis/redis/blob/7.0/src/db.c
    pub(crate) fn is_expired(&self, now_ms: i64) -> bool {
        self.expires.is_some_and(|expires| now_ms > expires)
    }
}

pub(crate) fn wrong_type() -> Reply {
    Reply::error("WRONGTYPE Operation against a key holding the wrong kind of value")
}

fn milliseconds(number: i64) -> Duration {
    Duration::from_millis(u64::try_from(number).unwrap_or(0))
}
