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

    pub(crate) fn note(&self, owner: &Arc<str>) {
        let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        if !owners.contains(owner) {
            owners.push_back(Arc::clone(owner));
            if owners.len() > Self::MOST {
                owners.pop_front();
            }
        }
    }

    /// Says whether it was known.
    pub(crate) fn forget(&self, owner: &str) -> bool {
        let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        let position = owners.iter().position(|known| **known == *owner);
        position.is_some_and(|position| owners.remove(position).is_some())
    }
}
