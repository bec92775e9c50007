use std::sync::Arc;

use super::keys::Keys;
use super::name::Name;

/// The keys of a lock that readers share, on every node, in one slot of a cluster. A plain lock of the same name is another lock.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct SharedKeys {
    /// The readers', with the moment until which each of them has the lock; the writer's, under which his value stands as under the
    /// key of a plain lock; and the one where the intent of a writer stands whom readers keep out.
    keys: [Arc<str>; 3],
}

impl SharedKeys {
    pub(crate) fn new(keys: &Keys, name: &Name) -> Self {
        let lock = keys.lock(name);
        Self { keys: [Keys::readers(&lock), Keys::writer(&lock), Keys::intent(&lock)].map(Arc::from) }
    }

    /// Where the writer's value stands; the key that stands for the whole.
    pub(crate) fn writer(&self) -> &Arc<str> {
        &self.keys[1]
    }

    /// Where the readers stand.
    pub(crate) fn readers(&self) -> &Arc<str> {
        &self.keys[0]
    }

    /// Where a writer's intent stands.
    pub(crate) fn intent(&self) -> &Arc<str> {
        &self.keys[2]
    }

    /// What else than the lines with this name its change is news for.
    pub(crate) fn line_beside(key: &str) -> Option<String> {
        let lead = |from: &str, to: &str| Some([to, key.strip_prefix(from)?].concat());
        // The writer's key is the line of writers, and the readers' that of readers.
        lead(Keys::WRITER, Keys::READERS)
            .or_else(|| lead(Keys::READERS, Keys::WRITER))
            .or_else(|| lead(Keys::INTENT, Keys::READERS))
    }

    /// By whose change a writer may get in.
    pub(crate) fn of_interest_to_writers(&self) -> &[Arc<str>] {
        &self.keys[..2]
    }

    /// By whose change a reader may get in.
    pub(crate) fn of_interest_to_readers(&self) -> &[Arc<str>] {
        &self.keys[1..]
    }
}
