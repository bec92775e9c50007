use std::fmt;
use std::time::Duration;

use super::holding::Holding;
use crate::node::inspect::SharedRecord;
use crate::protocol::{LockState, Quorum};
use crate::shown::shown;

/// Who has a lock that readers share ([`LockManager::read`](crate::LockManager::read)), as the nodes have it.
///
/// ```
/// # use redlock_runtime::LockManager;
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
/// let _readers = (locks.read("catalogue").acquire().await?, locks.read("catalogue").acquire().await?);
/// let shared = locks.inspect("catalogue").await?.shared.expect("two read it");
/// assert_eq!(shared.readers, 2);
/// assert_eq!(shared.to_string(), "2 read");
/// # Ok::<(), redlock_runtime::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SharedInfo {
    /// Whether a writer holds it.
    pub writer: LockState,
    /// What the writer is called; as [`LockInfo::owner_label`](crate::LockInfo::owner_label).
    pub owner_label: Option<String>,
    /// How many readers a majority of the nodes has, at least.
    pub readers: u64,
    /// How long a majority of the nodes still has the writer, or the last reader, if nobody extends it, which renewal does.
    pub remaining: Option<Duration>,
}

impl SharedInfo {
    /// Nothing if no node has anybody.
    pub(super) fn of(quorum: Quorum, answers: &[&SharedRecord]) -> Option<Self> {
        if answers.iter().all(|answer| answer.is_free()) {
            return None;
        }
        let writers: Vec<_> = answers.iter().map(|answer| answer.writer.as_ref()).collect();
        let Holding { census, label, .. } = Holding::of(quorum, &writers);
        // What the node says that as many as a majority say at least.
        let by_majority = |mut told: Vec<(u64, Duration)>| {
            told.sort_unstable_by(|one, other| other.cmp(one));
            told.get(quorum.needed() - 1).copied().unwrap_or_default()
        };
        let (readers, stays) = by_majority(answers.iter().map(|answer| answer.readers).collect());
        let remaining = census.remaining.or(Some(stays).filter(|_| readers > 0));
        Some(Self { writer: census.state, owner_label: label.map(|label| label.label.clone()), readers, remaining })
    }
}

impl fmt::Display for SharedInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { writer, owner_label, readers, .. } = self;
        match (writer, owner_label) {
            (LockState::Unsettled, _) => f.write_str("unsettled among writers"),
            (LockState::Free, _) => write!(f, "{readers} read"),
            (writer, Some(label)) => write!(f, "{writer} by writer {}", shown(label)),
            (writer, None) => write!(f, "{writer} by a writer"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_that_anybody_can_write_directs_no_terminal() {
        let told = |writer, label: Option<&str>| {
            let owner_label = label.map(str::to_owned);
            SharedInfo { writer, owner_label, readers: 2, remaining: None }.to_string()
        };
        let label = "\u{1b}[2Jme\u{2066}";
        assert_eq!(told(LockState::Held, Some(label)), "held by writer \\u{1b}[2Jme\\u{2066}");
        assert_eq!(told(LockState::Kept, None), "kept by a writer");
        assert_eq!(told(LockState::Free, Some(label)), "2 read");
    }
}
