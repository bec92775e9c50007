//! Room on the machine for those who start many servers.
//!
//! A service or a cluster is six processes that watch each other and take a slow answer for a failure. More than a few of
//! them at a time on a small machine are slower one by one than one after another; while one waits for room, little else runs.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

/// So many are there at the same time.
const AT_ONCE: usize = 3;

/// By which threads they were started.
static TAKEN: Mutex<Vec<ThreadId>> = Mutex::new(Vec::new());

/// Told when there is room again.
static LEFT: Condvar = Condvar::new();

/// Room for one of them, until this is dropped.
#[derive(Debug)]
pub(crate) struct Room {
    /// Who has it.
    of: ThreadId,
}

impl Room {
    /// Waits until there is room. Whoever has some already does not wait for more: two tests could wait for each other.
    pub(crate) fn take() -> Self {
        let of = thread::current().id();
        let mut taken = LEFT
            .wait_while(all(), |taken| taken.len() >= AT_ONCE && !taken.contains(&of))
            .unwrap_or_else(PoisonError::into_inner);
        taken.push(of);
        Self { of }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut taken = all();
        if let Some(position) = taken.iter().position(|of| *of == self.of) {
            taken.swap_remove(position);
        }
        drop(taken);
        LEFT.notify_all();
    }
}

fn all() -> MutexGuard<'static, Vec<ThreadId>> {
    TAKEN.lock().unwrap_or_else(PoisonError::into_inner)
}
