use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

/// The owners whose release by token was sent and not confirmed, so that it may be repeated.
#[derive(Debug, Default)]
pub(crate) struct Unconfirmed {
    /// The latest ones. A std mutex: it is never held across an await.
    owners: Mutex<VecDeque<Arc<str>>>,
}

impl Unconfirmed {
    /// More than anybody repeats.
    const MOST: usize = 1024;

    /// Says whether it was known before.
    pub(crate) fn note(&self, owner: &Arc<str>) -> bool {
        let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        if owners.contains(owner) {
            return true;
        }
        owners.push_back(Arc::clone(owner));
        if owners.len() > Self::MOST {
            owners.pop_front();
        }
        false
    }

    pub(crate) fn forget(&self, owner: &str) {
        let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        owners.retain(|known| **known != *owner);
    }
}
