use std::sync::Arc;

use super::keys::{Keys, MOST_PERMITS};
use super::name::Name;
use crate::Error;

/// The slots of a lock with permits, as one acquisition wants them: each of them is a lock of its own, and whoever has one of them
/// has a permit.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Slots {
    /// Ours: how many permits there are; and what stands for the whole.
    line: Arc<str>,
    /// The slots' keys, by their numbers.
    keys: Box<[Arc<str>]>,
    /// The numbers in the order in which this acquisition wants them.
    order: Box<[u8]>,
    /// How many permits this process says that there are. Others may say that there are more.
    said: u8,
}

/// Reads how many permits a lock is to have.
pub(crate) fn check_permits(permits: u32) -> Result<u8, Error> {
    u8::try_from(permits).ok().filter(|permits| (1..=MOST_PERMITS).contains(permits)).ok_or_else(|| Error::Config {
        reason: format!(
            "a lock with {permits} permits: use 1 to {MOST_PERMITS}; many small shares of one thing are better guarded by several locks"
        ),
    })
}

impl Slots {
    /// Those of the lock of this name, of which this process says that it has so many permits; `known` is how many others say, by the key
    /// that stands for the whole. `order` says in which order they are wanted.
    pub(crate) fn new(
        keys: &Keys,
        name: &Name,
        said: u8,
        known: impl FnOnce(&str) -> u8,
        order: impl FnOnce(u8) -> Box<[u8]>,
    ) -> Self {
        let lock = keys.lock(name);
        let line: Arc<str> = Keys::permits(&lock).into();
        let most = said.max(known(&line)).min(MOST_PERMITS);
        let slots = (0..most).map(|slot| Keys::permit(&lock, slot).into()).collect();
        Self { line, keys: slots, order: order(most), said }
    }

    /// The key that stands for the whole, under which nodes keep how many permits there are.
    pub(crate) fn line(&self) -> &Arc<str> {
        &self.line
    }

    /// The keys of all slots, by their numbers.
    pub(crate) fn keys(&self) -> &[Arc<str>] {
        &self.keys
    }

    /// The key of one.
    pub(crate) fn key(&self, slot: u8) -> &Arc<str> {
        &self.keys[usize::from(slot)]
    }

    /// How many permits there are, as far as is known.
    pub(crate) fn count(&self) -> u8 {
        u8::try_from(self.keys.len()).unwrap_or(MOST_PERMITS)
    }

    /// How many permits this process says that there are.
    pub(crate) fn said(&self) -> u8 {
        self.said
    }

    /// Their numbers in the order in which they are wanted.
    pub(crate) fn order(&self) -> &[u8] {
        &self.order
    }
}
