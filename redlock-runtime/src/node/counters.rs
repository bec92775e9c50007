//! What a node keeps beside its votes: how many wait, and for what. Nothing here is a vote, and no lock depends on it.

use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::values::keys::{CounterKeys, Keys};

/// How long a process answers for its waiters. It says more often than that how many there are; if it does not, because
/// it was killed, others take its number away.
pub(crate) const LEASE: Duration = Duration::from_secs(10);

/// After this time the waiters of a process that was killed are counted nowhere any more. If nobody waits or looks, who would
/// take them away when the lease is over, the counter ends by itself.
pub(crate) const GONE: Duration = Duration::from_secs(15);

/// How long a counter lives on in which others than ours are counted: they have no leases.
pub(crate) const OTHERS: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a counter that nobody uses stays listed.
pub(crate) const LISTED: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// A node's counters of those who wait.
///
/// Every request may be repeated, also when it is not known whether it was carried out, and an answer may be dropped at any
/// time. `reply_timeout` is how long each round trip may take.
pub(crate) trait Counting {
    /// Takes in how many waiters a process has, takes away those of processes whose lease is over, and answers with the
    /// counters, in the order of the numbers.
    fn record(&self, process: &Arc<str>, numbers: Vec<Number>, reply_timeout: Duration) -> Answer<Vec<Recorded>>;

    /// Has the list name these counters, each once, and looks through a part of it that has some times as many: counters that
    /// are gone, and not needed for long, are taken out.
    fn enlist(&self, counters: Vec<Arc<CounterKeys>>, keys: &Keys, reply_timeout: Duration) -> Answer<()>;

    /// How many are counted for whom no process of ours answers: a Python fleet's, which tell nobody else that they wait.
    fn count_others(&self, _: Arc<CounterKeys>, _: Duration) -> Answer<i64> {
        Box::pin(ready(Ok(0)))
    }

    /// All counters that the list names, without the waiters of processes whose lease is over. Those that are gone, and
    /// not needed for long, are taken out of the list. `reply_timeout` is for each page of the list.
    fn count(&self, keys: &Keys, reply_timeout: Duration) -> Answer<Vec<Counted>>;
}

/// How many wait under a name, as one node has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Counted {
    /// The name.
    pub(crate) stats_name: String,
    /// The counter; a Python process that was killed at the wrong moment can leave it below zero.
    pub(crate) waiting: i64,
}

/// What to do with one counter.
#[derive(Clone, Debug)]
pub(crate) struct Number {
    /// Which one.
    pub(crate) keys: Arc<CounterKeys>,
    /// How many waiters the process has; `None`: it only looks.
    pub(crate) waiting: Option<usize>,
}

/// An entry that the list of counters is to lose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unwanted {
    /// Where it is, unless the list changes.
    pub(crate) position: usize,
    /// What it says there.
    pub(crate) entry: Arc<[u8]>,
    /// Where the list says the same once more, and goes on saying it, if that is why the entry goes.
    pub(crate) same_as: Option<usize>,
}

/// A counter, if there is one; or why it could not be had.
pub(crate) type Recorded = Result<Option<i64>, Arc<str>>;

/// An answer that is on its way, or why there will be none.
pub(crate) type Answer<T> = Pin<Box<dyn Future<Output = Result<T, Arc<str>>> + Send>>;
