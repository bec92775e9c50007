//! The one place that draws random numbers.

use std::sync::Arc;

use uuid::Uuid;

/// A value that no other owner has or had: a random UUID of version 4, in text.
pub(crate) fn fresh_owner() -> Arc<str> {
    let mut text = Uuid::encode_buffer();
    Arc::from(&*random().hyphenated().encode_lower(&mut text))
}

/// A seed for jitter.
pub(crate) fn seed() -> u64 {
    random().as_u64_pair().0
}

fn random() -> Uuid {
    #[cfg(redlock_simulated)]
    if let Some(bytes) = crate::platform::simulated::random() {
        return uuid::Builder::from_random_bytes(bytes).into_uuid();
    }
    Uuid::new_v4()
}
