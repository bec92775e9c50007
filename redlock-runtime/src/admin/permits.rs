use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::holding::Holding;
use super::reset::reset_each;
use crate::Error;
use crate::manager::LockManager;
use crate::node::inspect::{LockRecord, PermitsRecord};
use crate::platform::background::block_on;
use crate::protocol::{LockState, Quorum};
use crate::shown::{rounded, shown};
use crate::values::keys::{Keys, MOST_PERMITS};
use crate::values::name::Name;

/// One of a lock's [permits](crate::LockRequest::permits), as the nodes have it.
///
/// ```
/// # use redlock_runtime::LockManager;
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
/// let guard = locks.lock("import").permits(3).acquire().await?;
/// let info = locks.inspect("import").await?;
/// let taken: Vec<_> = info.permits.iter().filter(|permit| permit.is_taken()).map(|permit| permit.permit).collect();
/// assert_eq!((taken.as_slice(), info.permits.len()), (&[guard.permit()][..], 3));
/// # Ok::<(), redlock_runtime::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PermitInfo {
    /// Its number, counted from zero.
    pub permit: u32,
    /// Whether it is held.
    pub state: LockState,
    /// What its owner is called; as [`LockInfo::owner_label`](crate::LockInfo::owner_label).
    pub owner_label: Option<String>,
    /// How long ago it was acquired; known where the label is.
    pub held_for: Option<Duration>,
    /// How long a majority of the nodes still has its key if nobody extends it, which renewal does.
    pub remaining: Option<Duration>,
    /// How many nodes have the key of the owner that most of them have.
    pub votes: usize,
    /// The fencing token of the owner, if it has one; known where the label is.
    pub fencing_token: Option<u64>,
    /// Whether nobody gets it, as far as the nodes that answered can tell.
    is_taken: Option<bool>,
}

impl PermitInfo {
    /// Whether it is taken, as [`LockInfo::is_locked`](crate::LockInfo::is_locked): held, kept from others until its `min_hold` is over, or on
    /// so many nodes, whoever has it there, that nobody gets it.
    #[must_use]
    pub fn is_taken(&self) -> bool {
        self.is_taken == Some(true)
    }

    /// All permits that there are, as far as is known, by what the nodes answered.
    pub(super) fn of_each(quorum: Quorum, answers: &[&PermitsRecord]) -> Vec<Self> {
        let said = answers.iter().filter_map(|answer| answer.said).max().unwrap_or_default();
        // Who has held one for long may have been the last to say how many there are.
        let held =
            answers.iter().flat_map(|answer| &answer.held).map(|(permit, _)| permit + 1).max().unwrap_or_default();
        let of = |permit: u8| {
            let records: Vec<_> = answers.iter().map(|answer| answer.of(permit)).collect();
            Self::of(permit, quorum, &records)
        };
        (0..said.max(held)).map(of).collect()
    }

    fn of(permit: u8, quorum: Quorum, records: &[Option<&LockRecord>]) -> Self {
        let Holding { census, label, fencing_token } = Holding::of(quorum, records);
        Self {
            permit: u32::from(permit),
            state: census.state,
            is_taken: census.is_taken,
            owner_label: label.map(|label| label.label.clone()),
            held_for: label.map(|label| label.held_for),
            remaining: census.remaining,
            votes: census.votes,
            fencing_token,
        }
    }
}

impl fmt::Display for PermitInfo {
    /// One line, without the lock's name; control and bidirectional characters are escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "permit {}: {}", self.permit, self.state)?;
        if let Some(label) = &self.owner_label {
            write!(f, " by {}", shown(label))?;
        }
        if let Some(held_for) = self.held_for {
            write!(f, ", for {}", rounded(held_for))?;
        }
        if let Some(remaining) = self.remaining {
            write!(f, ", {} left", rounded(remaining))?;
        }
        if let Some(token) = self.fencing_token {
            write!(f, ", fencing token {token}")?;
        }
        Ok(())
    }
}

impl LockManager {
    /// Takes one of a lock's [permits](crate::LockRequest::permits), counted from zero, from whoever holds it, and leaves the others;
    /// otherwise as [`reset`](Self::reset). Says on how many nodes it was held.
    ///
    /// ```
    /// # use redlock_runtime::LockManager;
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
    /// let stuck = locks.lock("import").permits(2).acquire().await?;
    /// assert_eq!(locks.reset_permit("import", stuck.permit()).await?, 1); // nodes that had it
    /// # Ok::<(), redlock_runtime::Error>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`reset`](Self::reset), and [`Error::Config`] for a permit that no lock has.
    ///
    /// # Cancel safety
    ///
    /// Once polled, it goes on in the background if it is dropped.
    pub async fn reset_permit(&self, name: impl Into<String>, permit: u32) -> Result<usize, Error> {
        self.check_open()?;
        let name = Name::of_any_client(name.into())?;
        let slot = u8::try_from(permit).ok().filter(|slot| *slot < MOST_PERMITS).ok_or_else(|| Error::Config {
            reason: format!("permit {permit}: permits are counted from 0 to {}", MOST_PERMITS - 1),
        })?;
        let key = Arc::from(Keys::permit(&self.shared.keys.lock(&name), slot));
        let reset = reset_each(&self.shared, vec![(name, vec![key])]).await;
        reset.into_iter().next().unwrap_or(Ok(0))
    }

    /// [`Self::reset_permit`] for code that is not async: blocks the thread.
    ///
    /// # Errors
    ///
    /// Those of [`Self::reset_permit`].
    pub fn reset_permit_blocking(&self, name: impl Into<String>, permit: u32) -> Result<usize, Error> {
        let name = name.into();
        block_on(self.reset_permit(name, permit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_that_anybody_can_write_directs_no_terminal() {
        let told = PermitInfo {
            permit: 2,
            state: LockState::Held,
            owner_label: Some("\u{1b}[2Jme\u{2066}".to_owned()),
            held_for: Some(Duration::from_secs(1)),
            remaining: Some(Duration::from_secs(2)),
            votes: 3,
            fencing_token: Some(7),
            is_taken: Some(true),
        };
        let expect = "permit 2: held by \\u{1b}[2Jme\\u{2066}, for 1.0s, 2.0s left, fencing token 7";
        assert_eq!(told.to_string(), expect);
    }
}
