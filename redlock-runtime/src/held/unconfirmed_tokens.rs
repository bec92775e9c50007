use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

/// The owners whose release by token ended without being confirmed, or was dropped, so that it may be repeated.
#[derive(Debug, Default)]
pub(crate) struct Unconfirmed {
    /// The latest ones. A std mutex: it is never held across an await.
    owners: Mutex<VecDeque<Arc<str>>>,
}

/// A release by token that is under way. Dropped without [`Self::was_decided`], it may be repeated.
#[must_use]
pub(crate) struct ReleasingToken<'a> {
    unconfirmed: &'a Unconfirmed,
    /// Whose it is, as long as nothing was decided.
    owner: Option<Arc<str>>,
}

impl Unconfirmed {
    /// More than anybody repeats.
    const MOST: usize = 1024;

    /// A release begins: before it is sent.
    pub(crate) fn begin(&self, owner: &Arc<str>) -> ReleasingToken<'_> {
        ReleasingToken { unconfirmed: self, owner: Some(Arc::clone(owner)) }
    }

    fn add(&self, owner: Arc<str>) {
        let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        if owners.contains(&owner) {
            return;
        }
        owners.push_back(owner);
        if owners.len() > Self::MOST {
            owners.pop_front();
        }
    }

    /// Says whether it was there.
    fn take(&self, owner: &str) -> bool {
        let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        let position = owners.iter().position(|known| **known == *owner);
        position.and_then(|position| owners.remove(position)).is_some()
    }
}

impl ReleasingToken<'_> {
    /// A majority has said whether the lock was the token's; says whether an earlier release of it ended undecided, which may be
    /// why it is not any more.
    pub(crate) fn was_decided(mut self) -> bool {
        self.owner.take().is_some_and(|owner| self.unconfirmed.take(&owner))
    }
}

impl Drop for ReleasingToken<'_> {
    fn drop(&mut self) {
        if let Some(owner) = self.owner.take() {
            self.unconfirmed.add(owner);
        }
    }
}
