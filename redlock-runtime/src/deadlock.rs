//! Tells a call that it would wait for itself.
//!
//! While a body runs, the lock that it holds lies on a stack of its thread; async bodies put it there for the time of
//! each poll. A call that finds its own lock on the stack was made from inside that body and could never get it.
//! Futures that are polled beside the body, by one `join!` for instance, find nothing: the body is not on the stack
//! then. A body that blocks may drive tasks that have nothing to do with it, which is why the task is noted too.
use std::cell::RefCell;
use std::sync::Arc;

use tokio::task;

use crate::manager::LockManager;
use crate::outcome::Called;

thread_local! {
    /// The locks of the bodies that run on this thread, the innermost last.
    static RUNNING: RefCell<Vec<Running>> = const { RefCell::new(Vec::new()) };
}

/// A lock of a manager.
pub(crate) struct LockId {
    /// None if there is no manager, and so no lock. Not only its address, which could be another's later.
    manager: Option<LockManager>,
    name: String,
    /// The path of the function that is called, where somebody has to be told of it.
    function: &'static str,
}

/// A body that is running, or being polled, at this moment.
struct Running {
    lock: Arc<LockId>,
    task: Option<task::Id>,
}

impl LockId {
    pub(crate) fn new(manager: Option<LockManager>, name: String) -> Self {
        Self { manager, name, function: "" }
    }

    /// Says which function is called.
    pub(crate) fn of(self, function: &'static str) -> Self {
        Self { function, ..self }
    }

    /// Which call it is, for people.
    pub(crate) fn called(&self) -> Called<'_> {
        Called { function: self.function, lock: &self.name }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Notes that it was lost while a body ran.
    pub(crate) fn count_loss(&self) {
        if let Some(manager) = &self.manager {
            manager.count_loss();
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        let address = |lock: &Self| lock.manager.as_ref().map(LockManager::address);
        self.name == other.name && address(self) == address(other)
    }

    /// Whether the caller is inside a body that holds this lock.
    pub(crate) fn is_held_by_caller(&self) -> bool {
        let task = task::try_id();
        let is_this = |running: &Running| running.task == task && running.lock.is_same(self);
        // Without its stack, a thread that is ending runs no body.
        RUNNING.try_with(|stack| stack.borrow().iter().any(is_this)).unwrap_or(false)
    }
}

/// Runs `body`, or a part of it, as a body that holds the lock.
pub(crate) fn within<T>(lock: &Arc<LockId>, body: impl FnOnce() -> T) -> T {
    let running = Running { lock: Arc::clone(lock), task: task::try_id() };
    let _leave = RUNNING.try_with(|stack| stack.borrow_mut().push(running)).is_ok().then_some(Leave);
    body()
}

/// Takes the body off the stack, also when it panics.
struct Leave;

impl Drop for Leave {
    fn drop(&mut self) {
        let _ended = RUNNING.try_with(|stack| stack.borrow_mut().pop());
    }
}
