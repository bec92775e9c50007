//! Which process this is. A child that was forked has a copy of everything but its parent's threads, and shares the parent's
//! sockets: nothing that was in use before the fork can be used in it.

use std::cell::Cell;
use std::process;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// The process as it was noted last. Whatever a user calls notes it; what that calls in turn need not ask the system again.
static NOTED: AtomicU32 = AtomicU32::new(0);

thread_local! {
    /// The process that this thread is known to be in until the end of the poll that it is in; zero if that is to be asked for.
    /// Nothing in it is dropped, so threads that are ending have it too.
    static IN_THIS_POLL: Cell<u32> = const { Cell::new(0) };
}

/// The number of this process.
pub(crate) fn id() -> u32 {
    let id = process::id();
    // Most calls are made by the same process as the one before: what all threads read is better not written.
    if NOTED.load(Ordering::Relaxed) != id {
        NOTED.store(id, Ordering::Relaxed);
    }
    id
}

/// [`id`] without asking the system, for what runs inside a call that has asked.
pub(crate) fn noted() -> u32 {
    match NOTED.load(Ordering::Relaxed) {
        0 => id(),
        id => id,
    }
}

/// [`id`], which is not asked for again within [`known`]. For what no two processes may have: a number that was noted earlier than
/// in this poll may be that of the parent.
pub(crate) fn id_in_this_poll() -> u32 {
    match IN_THIS_POLL.get() {
        0 => id(),
        id => id,
    }
}

/// Polls a call behind [`id`], with nothing in between but what the call itself does: the process that was noted is this one until
/// the poll ends. It may fork before the next.
pub(crate) fn known<T>(poll: impl FnOnce() -> T) -> T {
    struct Forget;

    impl Drop for Forget {
        fn drop(&mut self) {
            IN_THIS_POLL.set(0);
        }
    }

    IN_THIS_POLL.set(noted());
    let _forget = Forget;
    poll()
}

/// A static of which each process has its own, which is empty at first: that of a parent may be locked for ever by a thread that
/// a child does not have.
pub(crate) struct PerProcess<T> {
    /// That of the first process that used it, then those of its children, children's children and so on. Without a mutex, which
    /// might be locked itself when the process forks.
    first: OnceLock<Box<Slot<T>>>,
}

struct Slot<T> {
    process: u32,
    value: T,
    next: OnceLock<Box<Self>>,
}

impl<T: Default> PerProcess<T> {
    pub(crate) const fn new() -> Self {
        Self { first: OnceLock::new() }
    }

    /// That of this process.
    pub(crate) fn get(&self) -> &T {
        self.of(id())
    }

    /// [`Self::get`], inside a call that has noted the process.
    pub(crate) fn noted(&self) -> &T {
        self.of(noted())
    }

    /// Something that this process or, if not, the nearest of those that it descends from has.
    pub(crate) fn inherited<'a, U>(&'a self, find: impl Fn(&'a T) -> Option<U>) -> Option<U> {
        let mut found = None;
        let mut slot = self.first.get();
        while let Some(this) = slot {
            found = find(&this.value).or(found);
            slot = this.next.get();
        }
        found
    }

    fn of(&self, process: u32) -> &T {
        let new = || Box::new(Slot { process, value: T::default(), next: OnceLock::new() });
        let mut slot = self.first.get_or_init(new);
        while slot.process != process {
            slot = slot.next.get_or_init(new);
        }
        &slot.value
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn what_is_known_of_a_poll_is_forgotten_with_it() {
        id();
        assert_eq!(known(|| IN_THIS_POLL.get()), process::id());
        assert_eq!(IN_THIS_POLL.get(), 0);
        assert!(catch_unwind(AssertUnwindSafe(|| known(|| panic!("as the test wants")))).is_err());
        assert_eq!(IN_THIS_POLL.get(), 0);
        // Nor is it known again behind a call within.
        known(|| {
            known(|| ());
            assert_eq!(IN_THIS_POLL.get(), 0);
        });
    }

    #[test]
    fn each_process_has_its_own() {
        let numbers = PerProcess::<Mutex<u32>>::new();
        for process in [7, 8, 9] {
            assert_eq!(*numbers.of(process).lock().unwrap(), 0, "{process}");
            *numbers.of(process).lock().unwrap() = process;
        }
        for process in [7, 8, 9] {
            assert_eq!(*numbers.of(process).lock().unwrap(), process);
        }
    }
}
