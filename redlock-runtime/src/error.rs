use std::fmt;
use std::time::Duration;

use crate::shown::{rounded, shown};

/// What can go wrong with a lock.
///
/// Text never holds a password: nodes are named by their URL without credentials.
///
/// ```
/// # use redlock_runtime::{Error, LockManager, Timeout};
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
/// let _elsewhere = locks.lock("invoice:7").acquire().await?;
/// let error = locks.lock("invoice:7").timeout(Timeout::Skip).acquire().await.unwrap_err();
/// let answer = match error {
///     Error::NotAcquired { .. } => "409: somebody else is at it",
///     Error::QuorumUnreachable { .. } => "503: too few nodes answer",
///     _ => "500",
/// };
/// assert_eq!(answer, "409: somebody else is at it");
/// # Ok::<(), redlock_runtime::Error>(())
/// # })?;
/// # Ok::<(), redlock_runtime::Error>(())
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Somebody else held the lock until the timeout was over.
    #[error("lock `{lock}` was not acquired {}: it is held elsewhere", while_trying(*waited), lock = shown(name))]
    NotAcquired {
        /// The lock's name.
        name: String,
        /// How long this call waited for it; zero if it made one attempt, as with [`Timeout::Skip`](crate::Timeout::Skip), which
        /// waits for nobody.
        waited: Duration,
        /// Found again by walking `source()`, also through wrappers that hide this enum.
        source: HeldElsewhere,
    },

    /// So many nodes did not vote that no majority was possible, however the others voted.
    #[error(
        "lock `{lock}`: {answered} of {nodes} nodes answered, {granted} agreed and {needed} are needed",
        lock = shown(name),
        answered = nodes - source.len()
    )]
    QuorumUnreachable {
        /// The lock's name.
        name: String,
        /// How many nodes granted the request.
        granted: usize,
        /// How many grants a majority needs.
        needed: usize,
        /// How many nodes are configured.
        nodes: usize,
        /// What each node that did not vote said instead.
        source: NodeFailures,
    },

    /// Nodes were asked what they know, and none answered.
    #[error("none of {nodes} nodes answered")]
    NoNodeAnswered {
        /// How many nodes are configured.
        nodes: usize,
        /// What each said, or what kept it from answering.
        source: NodeFailures,
    },

    /// So many nodes did not list their locks that one which is held may be missing.
    #[error(
        "the list of locks is not complete: {listed} of {nodes} nodes listed theirs and {needed} are needed to see every \
         lock that is held; ask again when more can be reached"
    )]
    ListIncomplete {
        /// How many nodes listed all of theirs.
        listed: usize,
        /// How many it takes, so that every majority has one of them.
        needed: usize,
        /// How many nodes are configured.
        nodes: usize,
        /// What each of the others said instead.
        source: NodeFailures,
    },

    /// The fire that the lock was asked for was completed before, by any process, and does not run again; or a later one was
    /// (`completed > fire`), which stands for all before it: **also for one that never ran**. Fires run in order, so whoever stood by for
    /// an earlier one when a later one was completed comes too late. A completed fire that may run again after all, or a mark of a time that
    /// is yet to come: [`reset_marks`](crate::LockManager::reset_marks).
    #[error("{}", already_ran(name, *fire, *completed))]
    AlreadyRan {
        /// The lock's name.
        name: String,
        /// The fire, as the number that [`Fire`](crate::Fire) explains.
        fire: u64,
        /// The greatest completed fire, as far as is known: at least this fire's number; for a period it may be smaller, by less than half a
        /// period.
        completed: u64,
    },

    /// Nobody can know whether the fire that the lock was asked for was completed, so it does not run.
    ///
    /// A node knows it by a mark of this lock that was written since the node started; or if it has run for twice
    /// [`max_clock_skew`](crate::LockManagerBuilder::max_clock_skew) and half the period (of a moment: and the time since
    /// it); or for [`marks_retention`](crate::LockManagerBuilder::marks_retention). Too few do: nodes are down, or were
    /// just started. Whoever deploys a new job on new nodes says that it never ran, with
    /// [`reset_marks`](crate::LockManager::reset_marks).
    ///
    /// With `covered_by` a node shows that its body **has ended well**, and what is missing is a majority that says so. Then bring back the nodes
    /// that the error names, and ask again; `reset_marks` would run the fire a second time, and
    /// [`InDoubt::Run`](crate::InDoubt::Run) does not run it.
    #[error("{}", in_doubt(name, *fire, *covered_by, source))]
    FireInDoubt {
        /// The lock's name.
        name: String,
        /// The fire.
        fire: u64,
        /// A completed fire that covers this one, if a node shows one: its body has ended well, but less than a majority
        /// of the nodes says so.
        covered_by: Option<u64>,
        /// The nodes that cannot know, and why.
        source: NodeFailures,
    },

    /// Too few nodes have the mark of a fire. With [`OnceAt::End`](crate::OnceAt::End) its body ended well, and it may run again; with
    /// `Start` its body did not run, and may never. Where a second run does harm, let the store refuse it by
    /// [`LockGuard::fire`](crate::LockGuard::fire).
    #[error(
        "fire {fire} of lock `{lock}` was not completed: {confirmed} of {nodes} nodes have its mark and {needed} are needed, so it may run \
         again or, if it is marked before it starts, not at all; bring back the nodes that are missing, and let the store refuse a fire \
         that it has seen",
        lock = shown(name)
    )]
    NotCompleted {
        /// The lock's name.
        name: String,
        /// The fire.
        fire: u64,
        /// How many nodes confirmed its mark.
        confirmed: usize,
        /// How many a majority needs.
        needed: usize,
        /// How many nodes are configured.
        nodes: usize,
        /// What each of the others said instead.
        source: NodeFailures,
    },

    /// The lock was held and is not any more.
    #[error("lock `{lock}` was lost: {reason}", lock = shown(name))]
    Lost {
        /// The lock's name.
        name: String,
        /// Why it is not held any more.
        reason: LostReason,
    },

    /// The lock to be extended or released is not held by this owner.
    #[error("lock `{lock}` is not held by this owner: it expired, was reset, or belongs to somebody else", lock = shown(name))]
    NotHeld {
        /// The lock's name.
        name: String,
    },

    /// The call was made from inside the body that holds the same lock, and would wait for itself.
    ///
    /// A body is that of an annotated function, and what `run`, [`Lead::run`](crate::Lead::run) or `get_or_compute` runs.
    /// Whatever asks for its lock in its own task, or on its own thread, is told at once, before the timeout: annotated
    /// functions and the `acquire` methods alike, of any manager that has the same nodes, by the same addresses, and the same
    /// prefix. With one attempt, the lock is simply not acquired.
    ///
    /// All else waits for as long as its timeout says, or for ever without one:
    ///
    /// - a call beside a [`LockGuard`](crate::LockGuard) that the caller acquired by hand and still has. A guard may be on its
    ///   way to another task, or belong to another future of this one, which is about to release it; so nothing follows from
    ///   who acquired it;
    /// - a task or a thread that the body starts and then waits for;
    /// - two bodies that each want the other's lock;
    /// - a manager that knows the same servers by other addresses (`localhost` and `127.0.0.1`), or only some of them.
    #[error("lock `{lock}` is held by the caller, which would wait for itself; pass its guard on instead", lock = shown(name))]
    WouldDeadlock {
        /// The lock's name.
        name: String,
    },

    /// The name cannot be used for a lock.
    #[error("{name:?} cannot name a lock: {reason}")]
    InvalidName {
        /// The refused name, shortened if it is long.
        name: String,
        /// What is wrong with it, and what is allowed.
        reason: String,
    },

    /// A setting cannot be used.
    #[error("{reason}")]
    Config {
        /// Which setting, what is wrong with it and what to write instead.
        reason: String,
    },

    /// The lock manager was shut down.
    #[error("the lock manager was shut down and acquires no more locks")]
    ShutDown,
}

fn while_trying(waited: Duration) -> String {
    if waited.is_zero() {
        "at the only attempt, without waiting".to_owned()
    } else {
        format!("within {}", rounded(waited))
    }
}

/// The marker at the end of the chain of sources of [`Error::NotAcquired`].
///
/// A wrapper declared `#[error(transparent)]` hides the error that it wraps but shows that error's source, so
/// this type is found where [`Error`] itself is not.
///
/// ```
/// use redlock_runtime::{Error, HeldElsewhere, LockManager, Timeout};
///
/// #[derive(Debug, thiserror::Error)]
/// enum AppError {
///     #[error(transparent)]
///     Lock(#[from] Error),
/// }
///
/// fn is_held_elsewhere(error: &(dyn std::error::Error + 'static)) -> bool {
///     std::iter::successors(Some(error), |error| error.source()).any(|error| error.is::<HeldElsewhere>())
/// }
///
/// let locks = LockManager::builder().nodes(["memory://"]).build()?;
/// let _elsewhere = locks.lock("report").acquire_blocking()?;
/// let error = locks.lock("report").timeout(Timeout::Skip).acquire_blocking().map_err(AppError::from).unwrap_err();
/// assert!(is_held_elsewhere(&error));
/// # Ok::<(), redlock_runtime::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeldElsewhere;

impl fmt::Display for HeldElsewhere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("another owner holds the lock")
    }
}

impl std::error::Error for HeldElsewhere {}

/// Why a held lock is not held any more.
///
/// ```
/// # use redlock_runtime::{Error, LockManager, LostReason};
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
/// let guard = locks.lock("import").acquire().await?;
/// locks.reset("import").await?; // as an operator would
/// let Error::Lost { reason, .. } = guard.lost().await else { panic!("that is what it gives") };
/// assert_eq!(reason, LostReason::Reset);
/// assert_eq!(reason.as_str(), "reset"); // in metrics
/// assert_eq!(reason.to_string(), "it was reset"); // for people
/// # Ok::<(), Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LostReason {
    /// Its validity ended before it could be extended.
    Expired,
    /// A majority of the nodes no longer holds this owner's key: it was deleted, or somebody else took it.
    Taken,
    /// It was held for as long as `max_hold` allows.
    MaxHold,
    /// The runtime that renewed it was shut down.
    RenewalEnded,
    /// It was reset by this process, with [`LockManager::reset`](crate::LockManager::reset). Other processes see a reset as
    /// [`Self::Taken`].
    Reset,
    /// The lock manager was shut down, and the time that it gave to those who hold a lock is over.
    ShutDown,
}

impl LostReason {
    /// The word for it in the labels of [metrics](crate::observe).
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Taken => "taken",
            Self::MaxHold => "max_hold",
            Self::RenewalEnded => "renewal_ended",
            Self::Reset => "reset",
            Self::ShutDown => "shutdown",
        }
    }
}

impl fmt::Display for LostReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Expired => "its validity ended before a majority of the nodes could extend it",
            Self::Taken => "a majority of the nodes no longer has this owner's key",
            Self::MaxHold => "it was held for as long as `max_hold` allows",
            Self::RenewalEnded => "the runtime that renewed it ended",
            Self::Reset => "it was reset",
            Self::ShutDown => "the lock manager was shut down",
        })
    }
}

/// The nodes that did not vote in a round, and what each said instead.
///
/// ```
/// # use redlock_runtime::{Error, LockManager};
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// // Two of three are not there.
/// let nodes = ["memory://", "redis://127.0.0.1:1", "redis://127.0.0.1:2"];
/// let locks = LockManager::builder().nodes(nodes).build()?;
/// let Err(Error::QuorumUnreachable { source, .. }) = locks.lock("report").try_acquire().await else {
///     panic!("one node is no majority")
/// };
///
/// assert!(!source.is_empty());
/// assert_eq!(source.len(), 2);
/// let nodes: Vec<_> = source.iter().map(|failure| failure.node.as_str()).collect();
/// assert_eq!(nodes, ["redis://127.0.0.1:1", "redis://127.0.0.1:2"]);
/// println!("{source}"); // each with its reason
/// # Ok::<(), Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug, Default)]
pub struct NodeFailures {
    each: Vec<NodeFailure>,
    /// What is wrong with all of them together, although they voted: of no node, so it is not counted.
    together: Option<&'static str>,
}

/// One node that did not vote, and why.
///
/// ```
/// # use redlock_runtime::{Error, LockManager};
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// // Two of three are not there.
/// let nodes = ["memory://", "redis://127.0.0.1:1", "redis://127.0.0.1:2"];
/// let locks = LockManager::builder().nodes(nodes).build()?;
/// let Err(Error::QuorumUnreachable { source, .. }) = locks.lock("report").try_acquire().await else {
///     panic!("one node is no majority")
/// };
///
/// for failure in source.iter() {
///     println!("{} did not vote: {}", failure.node, failure.reason);
/// }
/// # assert_eq!(source.len(), 2);
/// # Ok::<(), Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NodeFailure {
    /// The node's URL, without credentials.
    pub node: String,
    /// What it said instead of a vote.
    pub reason: String,
}

impl NodeFailures {
    /// How many nodes did not vote.
    #[must_use]
    pub fn len(&self) -> usize {
        self.each.len()
    }

    /// Whether every node voted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.each.is_empty()
    }

    /// The nodes in the order in which they were configured.
    pub fn iter(&self) -> impl Iterator<Item = &NodeFailure> {
        self.each.iter()
    }

    pub(crate) fn push(&mut self, node: impl Into<String>, reason: impl Into<String>) {
        self.each.push(NodeFailure { node: node.into(), reason: reason.into() });
    }

    pub(crate) fn extend(&mut self, others: Self) {
        self.each.extend(others.each);
        self.together = self.together.or(others.together);
    }

    /// Says why the nodes that voted are not enough.
    pub(crate) fn say_of_all(&mut self, reason: &'static str) {
        self.together = Some(reason);
    }
}

impl fmt::Display for NodeFailures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for failure in &self.each {
            write!(f, "{separator}{}: {}", shown(&failure.node), shown(&failure.reason))?;
            separator = "; ";
        }
        self.together.map_or(Ok(()), |reason| write!(f, "{separator}a majority of the nodes: {reason}"))
    }
}

impl std::error::Error for NodeFailures {}

/// That a fire does not run, because it or a later one was completed.
fn already_ran(name: &str, fire: u64, completed: u64) -> String {
    let lock = shown(name);
    if completed > fire {
        format!(
            "fire {fire} of lock `{lock}` does not run: a later one, {completed}, was completed, which stands for all before it, \
             whether they ran or were missed; if they have to run, ask for each fire in order, as in \"Missed fires\" of the documentation"
        )
    } else {
        format!(
            "fire {fire} of lock `{lock}` already ran: the last one that was completed is {completed}; if it may run again, say so with \
             `reset_marks`"
        )
    }
}

/// That nobody can know whether a fire was completed.
fn in_doubt(name: &str, fire: u64, covered_by: Option<u64>, unknowing: &NodeFailures) -> String {
    let lock = shown(name);
    let nodes = if unknowing.len() == 1 { "one node".to_owned() } else { format!("{} nodes", unknowing.len()) };
    match covered_by {
        Some(completed) => format!(
            "fire {fire} of lock `{lock}` does not run: a node shows that {completed} was completed, but no majority confirms it ({unknowing}); \
             bring these nodes back and ask again, and do not reset the marks, which would run it a second time"
        ),
        None => format!(
            "fire {fire} of lock `{lock}` is in doubt and does not run: {nodes} cannot know whether it was completed ({unknowing}); if the \
             job is new, say so with `reset_marks`; later fires can run once a majority of the nodes has run for long enough, and \
             `in_doubt` of the builder lets all of them run"
        ),
    }
}

/// So that `#[redlock]` works on functions that return [`std::io::Result`].
impl From<Error> for std::io::Error {
    fn from(error: Error) -> Self {
        let kind = match error {
            Error::NotAcquired { .. } | Error::WouldDeadlock { .. } => std::io::ErrorKind::WouldBlock,
            Error::AlreadyRan { .. } => std::io::ErrorKind::AlreadyExists,
            Error::FireInDoubt { .. } | Error::NotCompleted { .. } => std::io::ErrorKind::NotConnected,
            Error::QuorumUnreachable { .. } | Error::NoNodeAnswered { .. } | Error::ListIncomplete { .. } => {
                std::io::ErrorKind::NotConnected
            }
            Error::InvalidName { .. } | Error::Config { .. } => std::io::ErrorKind::InvalidInput,
            Error::Lost { .. } | Error::NotHeld { .. } | Error::ShutDown => std::io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_measured_is_rounded_for_people() {
        for (nanos, expect) in
            [(0, "at the only attempt, without waiting"), (1_000_776_989, "within 1.0s"), (250_904_113, "within 250ms")]
        {
            let waited = Duration::from_nanos(nanos);
            let error = Error::NotAcquired { name: "x".into(), waited, source: HeldElsewhere };
            assert_eq!(error.to_string(), format!("lock `x` was not acquired {expect}: it is held elsewhere"));
        }
    }

    #[test]
    fn what_nodes_say_directs_no_terminal() {
        let mut failures = NodeFailures::default();
        failures.push("redis://c", "ERR \u{1b}[2Jgone\r\n\u{202e}elif");
        assert_eq!(failures.to_string(), r"redis://c: ERR \u{1b}[2Jgone\u{d}\u{a}\u{202e}elif");
    }

    #[test]
    fn what_is_said_of_all_nodes_is_shown_and_counts_as_none() {
        let mut source = NodeFailures::default();
        source.push("redis://c", "no answer");
        let mut others = NodeFailures::default();
        others.say_of_all("too few remember");
        source.extend(others);
        assert_eq!((source.len(), source.iter().count()), (1, 1));
        assert_eq!(source.to_string(), "redis://c: no answer; a majority of the nodes: too few remember");
        let error = Error::QuorumUnreachable { name: "x".into(), granted: 2, needed: 2, nodes: 3, source };
        assert_eq!(error.to_string(), "lock `x`: 2 of 3 nodes answered, 2 agreed and 2 are needed");
    }
}
