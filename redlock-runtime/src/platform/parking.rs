//! How the thread of a blocking call waits.
//!
//! In the simulation a thread waits until the schedule lets it go on; see [`threads`](super::simulated::threads).

use std::sync::Arc;
use std::task::{Wake, Waker};
use std::thread::{self, Thread};

/// Wakes the thread that asks for it, which [parks](park).
pub(crate) fn waker() -> Waker {
    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    #[cfg(redlock_simulated)]
    if let Some(waker) = super::simulated::threads::waker() {
        return waker;
    }
    Waker::from(Arc::new(Unpark(thread::current())))
}

/// Waits until this thread is woken; now and then it returns for nothing.
pub(crate) fn park() {
    #[cfg(redlock_simulated)]
    if super::simulated::threads::park() {
        return;
    }
    thread::park();
}
