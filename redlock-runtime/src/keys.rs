use std::sync::Arc;

use crate::name::Name;

/// How names become keys.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    /// What stands before a lock's name. The default is that of configurable-redlock, so that both exclude
    /// each other.
    lock_prefix: Arc<str>,
}

impl Default for Keys {
    fn default() -> Self {
        Self { lock_prefix: Arc::from("redlock:ConfigurableLock.") }
    }
}

impl Keys {
    pub(crate) fn with_lock_prefix(prefix: &str) -> Self {
        Self { lock_prefix: Arc::from(prefix) }
    }

    /// Ours: the processes that wait for the lock with this key.
    #[expect(clippy::unused_self, reason = "all keys are made here")]
    pub(crate) fn contention(&self, lock: &str) -> String {
        format!("redlock-waiting:{lock}")
    }

    /// The key of a lock, on every node.
    pub(crate) fn lock(&self, name: &Name) -> String {
        format!("{}{}", self.lock_prefix, name.as_str())
    }
}
