//! The one place that draws random numbers.

use std::sync::Arc;

use uuid::Uuid;

/// A value that no other owner has or had: a random UUID of version 4, in text.
pub(crate) fn fresh_owner() -> Arc<str> {
    let mut text = Uuid::encode_buffer();
    Arc::from(&*Uuid::new_v4().hyphenated().encode_lower(&mut text))
}

/// A seed for jitter.
pub(crate) fn seed() -> u64 {
    Uuid::new_v4().as_u64_pair().0
}
