//! Those who wait for a lock: in this process, and as the nodes count them.

pub(crate) mod permits;
pub(crate) mod queue;
pub(crate) mod watchers;

pub(crate) mod counters;
