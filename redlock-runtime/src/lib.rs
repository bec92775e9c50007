//! Under construction.
mod error;
mod timeout;

pub use crate::error::{Error, HeldElsewhere, LostReason, NodeFailure, NodeFailures};
pub use crate::timeout::Timeout;
#[cfg(feature = "macros")]
pub use redlock_macros::redlock;
