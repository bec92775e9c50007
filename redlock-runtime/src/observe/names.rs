//! The names of the metrics, and the labels that each has.
//!
//! ```
//! use redlock_runtime::observe::names;
//!
//! // What an exporter is told that would make summaries of histograms.
//! for (metric, labels) in names::ALL.iter().filter(|(metric, _)| metric.ends_with("_seconds")) {
//!     println!("{metric} by {labels:?}: buckets up to {:?} s", names::BUCKETS);
//! }
//! assert_eq!(names::LOST, "redlock_lost_total");
//! ```

/// How long acquisitions took, in seconds: a histogram by `lock`, `outcome` and `path`.
pub const ACQUIRE_DURATION: &str = "redlock_acquire_duration_seconds";

/// How long locks were held, in seconds: a histogram by `lock` and `end`.
pub const HOLD_DURATION: &str = "redlock_hold_duration_seconds";

/// How many locks are held by this process now: a gauge by `lock`.
pub const HELD: &str = "redlock_held";

/// How many callers of this process wait now: a gauge by `lock`.
pub const WAITING: &str = "redlock_waiting";

/// How many held locks were lost: a counter by `lock` and `reason`.
pub const LOST: &str = "redlock_lost_total";

/// How often a lock was not extended when it was to be renewed: a counter by `lock` and `reason`.
pub const RENEWAL_FAILURES: &str = "redlock_renewal_failures_total";

/// When something ran under the lock last and ended well, in seconds since 1970 by this machine's clock: a gauge by `lock`.
pub const LAST_RUN: &str = "redlock_last_run_timestamp_seconds";

/// How long nodes took to answer, in seconds: a histogram by `node` and `operation`.
pub const NODE_DURATION: &str = "redlock_node_duration_seconds";

/// Whether nodes vote: a gauge by `node` and `standing`, 1 for the standing that the node has now and 0 for the others.
pub const NODE_VOTES: &str = "redlock_node_votes";

/// All of them, each with its labels.
pub const ALL: [(&str, &[&str]); 9] = [
    (ACQUIRE_DURATION, &["lock", "outcome", "path"]),
    (HOLD_DURATION, &["lock", "end"]),
    (HELD, &["lock"]),
    (WAITING, &["lock"]),
    (LOST, &["lock", "reason"]),
    (RENEWAL_FAILURES, &["lock", "reason"]),
    (LAST_RUN, &["lock"]),
    (NODE_DURATION, &["node", "operation"]),
    (NODE_VOTES, &["node", "standing"]),
];

/// Bounds of buckets, in seconds, that fit all of the histograms: from what a lock takes in one room to what a job takes.
///
/// An exporter that makes summaries of histograms unless it is told bounds, such as `metrics-exporter-prometheus`, is to be told
/// these: summaries of several processes cannot be added up, and the queries of the dashboard add up.
pub const BUCKETS: [f64; 16] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0, 600.0, 3600.0];

/// The label of locks whose label nobody gave: their names were made by hand.
pub const OTHER: &str = "other";

/// The label of all locks beyond the number of labels that are [told apart](crate::LockManagerBuilder::most_labels).
pub const OVERFLOW: &str = "overflow";
