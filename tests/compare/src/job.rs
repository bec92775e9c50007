use serde::{Deserialize, Serialize};

/// What a process is to do; times in the names' units, moments in nanoseconds of the machine's monotonic clock.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum Job {
    /// One task acquires and releases one name for so long: how long each time took.
    Cycle {
        /// How long.
        milliseconds: u64,
    },
    /// Tasks with a name each acquire and release for so long: how often they did, and what that took.
    Many {
        /// How many tasks.
        tasks: usize,
        /// How long.
        milliseconds: u64,
    },
    /// Two tasks hand one name to and fro for so long: from each call of release to the acquisition behind it.
    HandOver {
        /// How long.
        milliseconds: u64,
    },
    /// Acquires the name that processes hand over, and keeps it: when it was acquired.
    Take,
    /// Releases that name: when that was called.
    Give,
    /// Tasks want one name again and again and hold it for 0 to 1 ms: what each got.
    Compete {
        /// How many tasks.
        tasks: usize,
        /// When they stop.
        until: u64,
    },
    /// Tasks wait for one name, which they want once each: from the release that they wait for to the last acquisition.
    Burst {
        /// How many tasks.
        waiters: usize,
        /// How often that is repeated.
        bursts: usize,
    },
    /// Tasks wait for a name each that nobody releases: how long after its expiry each was acquired.
    Expire {
        /// How many tasks.
        waiters: usize,
        /// How long the first key lives; each further one lives a bit longer.
        ttl_milliseconds: u64,
    },
    /// Acquires so many names and keeps them: what the process weighed before and weighs then.
    Hold {
        /// How many names.
        locks: usize,
    },
    /// What the process weighs now.
    Weigh,
}

/// What came of a job.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Answer {
    /// The contestant is connected.
    Ready,
    /// Durations in nanoseconds, in the order in which they were measured; negative for what came too early.
    Durations(Vec<i64>),
    /// How much was done, in which time, and with how much processor time of the process, in nanoseconds.
    Done {
        /// How often all tasks together did it.
        cycles: u64,
        /// From begin to end.
        nanoseconds: u64,
        /// Processor time.
        processor: u64,
    },
    /// A moment.
    Moment(u64),
    /// What each of those who competed got.
    Waiters(Vec<Waiter>),
    /// What the process weighed before it held any locks and weighs now, in bytes, and how many it still holds.
    Weight {
        /// Before.
        before: u64,
        /// Now.
        now: u64,
        /// How many locks are held, and valid.
        valid: usize,
    },
}

/// What one of those who competed got.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Waiter {
    /// How often it had the lock.
    pub acquired: u64,
    /// How long it waited at most, in nanoseconds.
    pub longest: u64,
}
