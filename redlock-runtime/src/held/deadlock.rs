//! Tells a call that it would wait for itself.
//!
//! While a body runs, the lock that it holds lies on a stack of its thread; async bodies put it there for the time of
//! each poll. A call that finds its own lock on the stack was made from inside that body and could never get it.
//! Futures that are polled beside the body, by one `join!` for instance, find nothing: the body is not on the stack
//! then. A body that blocks may drive tasks that have nothing to do with it, which is why the task is noted too.
//!
//! A guard that was taken by hand is not on the stack: nothing tells whether it was moved to another task, or belongs to
//! another future of this one, which will release it.
use std::cell::RefCell;
use std::sync::Arc;

use tokio::task;

use super::lease::Lease;
use crate::engine::Engine;
use crate::platform::clock;
use crate::values::subject::Subject;

thread_local! {
    /// The locks of the bodies that run on this thread, the innermost last.
    static RUNNING: RefCell<Vec<Running>> = const { RefCell::new(Vec::new()) };
}

/// A body that is running, or being polled, at this moment.
struct Running {
    lease: Arc<Lease>,
    task: Option<task::Id>,
}

impl Running {
    /// Whether its lock is this one, by whatever manager. One that was lost keeps nobody out.
    fn holds(&self, subject: &Subject, engine: &Engine) -> bool {
        let Self { lease, .. } = self;
        lease.subject.keeps_from(subject) && lease.is_of(engine) && lease.lost_reason(clock::now()).is_none()
    }
}

/// Whether the caller is inside bodies that hold this lock on these nodes, so that nobody else can.
pub(crate) fn is_held_by_caller(subject: &Subject, engine: &Engine) -> bool {
    // Without its stack, a thread that is ending runs no body.
    RUNNING.try_with(|stack| is_held(&stack.borrow(), subject, engine)).unwrap_or(false)
}

fn is_held(stack: &[Running], subject: &Subject, engine: &Engine) -> bool {
    // Most calls are made from no body, and ask for nothing more.
    if stack.is_empty() {
        return false;
    }
    let task = task::try_id();
    let is_held = |running: &&Running| running.task == task && running.holds(subject, engine);
    // Of a lock with permits: all of them.
    let enough = if subject.permits().is_some() { subject.places() } else { 1 };
    stack.iter().filter(is_held).nth(usize::from(enough).saturating_sub(1)).is_some()
}

/// Runs `body`, or a part of it, as a body that holds the lock.
pub(crate) fn within<T>(lease: &Arc<Lease>, body: impl FnOnce() -> T) -> T {
    let running = Running { lease: Arc::clone(lease), task: task::try_id() };
    let _leave = RUNNING.try_with(|stack| stack.borrow_mut().push(running)).is_ok().then_some(Leave);
    body()
}

/// Takes the body off the stack, also when it panics.
struct Leave;

impl Drop for Leave {
    fn drop(&mut self) {
        // The lease may be the last one, and what its end does must find the stack free.
        let ended = RUNNING.try_with(|stack| stack.borrow_mut().pop());
        drop(ended);
    }
}
