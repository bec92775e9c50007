//! Where nodes have who waits for what.

use redlock_tests::Servers;

/// Where the counters of waiters are listed.
pub(crate) const LIST: &str = "ConfigurableLockKeys";

pub(crate) fn counter(name: &str) -> String {
    format!("Waiting.ConfigurableLock.{name}")
}

pub(crate) fn marker(name: &str) -> String {
    format!("Inserted.{}", counter(name))
}

/// How many wait, all nodes together.
pub(crate) fn waiting(servers: &Servers, name: &str) -> i64 {
    servers.iter().filter_map(|server| server.probe().get(&counter(name))?.parse::<i64>().ok()).sum()
}
