//! Managers that do not give up on servers of a busy machine.

use std::time::Duration;

use redlock_runtime::{LockManager, LockManagerBuilder};

/// What a server is given for an answer where a hung one must not be waited for: long enough for a busy machine, and not for
/// Sentinels to agree on another master instead of one that refuses.
pub const NODE_TIMEOUT: Duration = Duration::from_secs(3);

/// Gives busy servers time to answer; for all that is not about servers that do not.
pub fn unhurried() -> LockManagerBuilder {
    LockManager::builder().node_timeout(NODE_TIMEOUT).connect_timeout(NODE_TIMEOUT)
}
