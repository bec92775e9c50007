//! Who a server is, and how it refuses.

use std::time::Duration;

/// Who a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Which process it is: 40 hexadecimal digits, others after each restart.
    pub run_id: String,
    /// The version that it is and behaves as, such as `7.2.0`.
    pub version: String,
    /// When it was started, by its own clock.
    pub started: Duration,
    /// Whether it publishes changes of keys (`notify-keyspace-events KEA`).
    pub notifies: bool,
}

impl Default for Settings {
    /// A Redis 7.2 that was started when its clock stood at zero.
    fn default() -> Self {
        let (run_id, version) = ("0123456789abcdef0123456789abcdef01234567".to_owned(), "7.2.0".to_owned());
        Self { run_id, version, started: Duration::ZERO, notifies: false }
    }
}

/// Major, minor and patch.
pub(crate) type Version = (u32, u32, u32);

/// Which commands a server refuses, and in which words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Those that write: it follows another server.
    ReadOnly,
    /// Nearly all: it loads its data.
    Loading,
    /// Those that write: it cannot save them.
    Misconfigured,
    /// Those that need memory: it has none left.
    OutOfMemory,
}

impl Refusal {
    // Source: `createSharedObjects`, https://github.com/redis/redis/blob/7.0/src/server.c
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::ReadOnly => "READONLY You can't write against a read only replica.",
            Self::Loading => "LOADING Redis is loading the dataset in memory",
            Self::Misconfigured => {
                "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk. \
                 Commands that may modify the data set are disabled, because this instance is configured to report errors \
                 during writes if RDB snapshotting fails (stop-writes-on-bgsave-error option). \
                 Please check the Redis logs for details about the RDB error."
            }
            Self::OutOfMemory => "OOM command not allowed when used memory > 'maxmemory'.",
        }
    }
}

/// What a server says that it is to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Others follow it.
    Master,
    /// It follows another.
    Replica,
}

pub(super) fn read_version(version: &str) -> Version {
    let mut numbers = version
        .split('.')
        .map(|number| number.parse().unwrap_or_else(|_| panic!("{version:?} is no version: write it as in \"7.2.0\"")));
    let mut next = || numbers.next().unwrap_or(0);
    (next(), next(), next())
}
