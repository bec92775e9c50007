//! Runtimes and their tasks, as the rest of the crate names them: tokio's own.
//!
//! In the simulation one tokio runtime stands for those of all simulated processes; there each of these is a place on it.

use tokio::runtime::Runtime;
#[cfg(not(redlock_simulated))]
pub(crate) use tokio::{
    runtime::{Handle, Id},
    spawn,
    task::JoinSet,
};

#[cfg(redlock_simulated)]
pub(crate) use crate::platform::simulated::tasks::{Handle, Id, JoinSet, spawn};

/// The handle of a runtime that was made here.
pub(crate) fn handle_of(runtime: &Runtime) -> Handle {
    let handle = runtime.handle().clone();
    #[cfg(redlock_simulated)]
    let handle = Handle::from(handle);
    handle
}
