//! Several locks at once.

use std::sync::Arc;

use super::request::{Kind, LockRequest};
use super::shared::Shared;

impl LockRequest {
    /// See [`LockManager::lock_all`](crate::LockManager::lock_all).
    pub(crate) fn of_all(shared: Arc<Shared>, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let names = names.into_iter().map(Into::into).collect();
        Self::new(shared, String::new()).of_kind(Kind::Several(names))
    }
}
