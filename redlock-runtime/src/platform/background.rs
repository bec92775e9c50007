//! The one small runtime of our own, for what must not depend on a caller's.
//!
//! It is one thread, started on first use, that lives as long as the process. Three things run there:
//!
//! - releases of guards that were dropped, and of acquisitions whose future was dropped: the runtime they were made on
//!   may be blocked, shutting down or gone;
//! - renewals: a body that computes without awaiting starves its own runtime, not this one;
//! - the connections of blocking calls, whose thread has no runtime, or must not block the one it has.
//!
//! A process may have no thread or file descriptor left for it. Whatever could owe something to the nodes later asks for it
//! first ([`background`]) and fails while nothing is owed; the next call tries again. A child that was forked starts its own.

use std::any::Any;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::mpsc::sync_channel;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::thread;

use tokio::runtime::Builder;
use tokio::task;

use super::clock;
use super::drivers;
use super::drivers::{Place, Uses};
use super::parking;
use super::process::PerProcess;
use super::tasks::{Handle, handle_of};
use crate::Error;
use crate::rules::{Rule, holds};

/// That of this process.
static BACKGROUND: PerProcess<Background> = PerProcess::new();

#[derive(Default)]
struct Background {
    /// Set when it runs.
    runtime: OnceLock<Handle>,
    /// Taken to start it, so that it is started once.
    starting: Mutex<()>,
    /// What came from other threads, or while it could not be started, and has not begun. A std mutex: it is never held across an await.
    arrivals: Mutex<Arrivals>,
}

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Tasks of other threads before their first poll.
///
/// A task of this runtime is polled when all that stand before it in the runtime's queue have been, and it takes some polls to
/// renew a lock or to answer a blocking call. Twenty thousand acquisitions that are dropped at once would each stand there, and a
/// lock would be lost on a busy machine before its renewal is through. So few of them do at any time, and each that has begun
/// lets the next one in.
#[derive(Default)]
struct Arrivals {
    /// How many stand in the runtime's queue.
    at_the_door: usize,
    /// Those that come after them, or when it is started, in the order in which they came.
    outside: VecDeque<Task>,
}

/// So many tasks of other threads stand in the runtime's queue before their first poll.
const AT_THE_DOOR: usize = 16;

/// The background runtime, started if need be.
///
/// # Errors
///
/// [`Error::Config`] if the process has no thread or file descriptors left for it. It is tried again by the next call; once it
/// has succeeded it succeeds always.
pub(crate) fn background() -> Result<&'static Handle, Error> {
    #[cfg(redlock_simulated)]
    if let Some(simulated) = crate::platform::simulated::tasks::background() {
        return Ok(simulated);
    }
    BACKGROUND.get().running().map_err(|error| Error::Config {
        reason: format!(
            "the thread that releases and renews locks could not be started: {error}; let the process have one more thread \
             and some more file descriptors (`ulimit -u`, `ulimit -n`); the next call tries again"
        ),
    })
}

/// Whether this is a task of the background runtime; inside a call that has noted the process.
pub(crate) fn is_current() -> bool {
    #[cfg(redlock_simulated)]
    if let Some(place) = crate::platform::simulated::here() {
        return place.runtime == crate::platform::simulated::Place::BACKGROUND;
    }
    BACKGROUND.noted().runtime.get().is_some_and(is_on)
}

fn is_on(runtime: &Handle) -> bool {
    Handle::try_current().is_ok_and(|current| current.id() == runtime.id())
}

/// Begins a task on the background runtime; never panics. Where that cannot be started, it begins as soon as it can. For what runs
/// inside a call, or a drop, that has noted the process.
pub(crate) fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    #[cfg(redlock_simulated)]
    if let Some(simulated) = crate::platform::simulated::tasks::background() {
        return drop(simulated.spawn(task));
    }
    let background = BACKGROUND.noted();
    match background.running() {
        // What follows from a task here is as much as its task.
        Ok(runtime) if is_on(runtime) => drop(runtime.spawn(task)),
        Ok(runtime) => background.let_in(runtime, task),
        Err(_) => background.keep(Box::pin(task)),
    }
}

/// Begins a task on the caller's runtime or, if it has none that can do it, on the background one.
pub(crate) fn spawn_here(uses: Uses, task: impl Future<Output = ()> + Send + 'static) {
    match Place::of_caller() {
        Place::Runtime(runtime) if drivers::is_fit(&runtime, uses) => drop(runtime.spawn(task)),
        _ => spawn(task),
    }
}

/// Does what may poll requests, with timers and sockets of the caller's runtime or, if it has none that can do it, of the background
/// one; nothing where there is neither.
pub(crate) fn inside(uses: Uses, poll: impl FnOnce()) {
    match Place::of_caller() {
        Place::Runtime(runtime) if drivers::is_fit(&runtime, uses) => poll(),
        Place::EndingThread => {}
        Place::Runtime(_) | Place::Nowhere => {
            if let Ok(runtime) = background() {
                let _entered = runtime.enter();
                poll();
            }
        }
    }
}

impl Background {
    /// The runtime, started if need be.
    fn running(&'static self) -> io::Result<&'static Handle> {
        self.runtime.get().map_or_else(|| self.start(), Ok)
    }

    /// The runtime is made on its own thread: one that cannot be used may be dropped there, but not on a thread that belongs to
    /// another runtime.
    fn start(&'static self) -> io::Result<&'static Handle> {
        let _starting = self.starting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(runtime) = self.runtime.get() {
            return Ok(runtime);
        }
        let (told, hear) = sync_channel(1);
        thread::Builder::new().name("redlock".to_owned()).spawn(move || match make() {
            Ok(runtime) => {
                // Whoever started it waits for it.
                let _ = told.send(Ok(handle_of(&runtime)));
                runtime.block_on(std::future::pending::<()>());
            }
            Err(error) => {
                let _ = told.send(Err(error));
            }
        })?;
        let made = hear.recv().unwrap_or_else(|_| Err(io::Error::other("its thread ended")))?;
        let runtime = self.runtime.get_or_init(|| made);
        self.let_next_in();
        Ok(runtime)
    }

    /// Begins a task of another thread, now or when those have begun that came before.
    fn let_in(&'static self, runtime: &Handle, task: impl Future<Output = ()> + Send + 'static) {
        {
            let mut arrivals = self.arrivals();
            if !arrivals.has_taken_place() {
                return arrivals.outside.push_back(Box::pin(task));
            }
        }
        drop(runtime.spawn(self.begins(task)));
    }

    async fn begins(&'static self, task: impl Future<Output = ()> + Send + 'static) {
        self.arrivals().at_the_door -= 1;
        self.let_next_in();
        task.await;
    }

    /// Begins as many of those outside as there is room for, once there is a runtime.
    fn let_next_in(&'static self) {
        let Some(runtime) = self.runtime.get() else { return };
        loop {
            // Not under the lock: a runtime that ends drops the task, which may spawn another.
            let next = self.arrivals().next();
            let Some(task) = next else { return };
            drop(runtime.spawn(self.begins(task)));
        }
    }

    fn arrivals(&self) -> MutexGuard<'_, Arrivals> {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&'static self, task: Task) {
        self.arrivals().outside.push_back(task);
        // It may have been started meanwhile.
        self.let_next_in();
    }
}

impl Arrivals {
    /// The next one that comes to the door.
    fn next(&mut self) -> Option<Task> {
        if self.outside.is_empty() {
            // There may have been many.
            self.outside.shrink_to(AT_THE_DOOR);
            return None;
        }
        if self.has_taken_place() { self.outside.pop_front() } else { None }
    }

    /// Takes a place at the door, if there is room.
    fn has_taken_place(&mut self) -> bool {
        let is_room = self.at_the_door < AT_THE_DOOR;
        self.at_the_door += usize::from(is_room);
        is_room
    }
}

fn make() -> io::Result<tokio::runtime::Runtime> {
    reserve()?;
    // What other threads wake is not behind thirty tasks that woke each other.
    Builder::new_current_thread().global_queue_interval(4).enable_all().build()
}

/// Tells whether there are as many file descriptors as a runtime takes: of those for signals, which it has with tokio's features
/// `signal` and `process`, tokio takes for granted that there are some left.
#[cfg(unix)]
fn reserve() -> io::Result<()> {
    use std::os::unix::net::UnixStream;

    const PAIRS: usize = 4;

    let pairs: io::Result<Vec<_>> = (0..PAIRS).map(|_| UnixStream::pair()).collect();
    pairs.map(drop)
}

#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "so that callers need not know which system this is")]
fn reserve() -> io::Result<()> {
    Ok(())
}

/// Drives a future on this thread, with timers and sockets of the background runtime.
///
/// Works on a plain thread and inside any tokio runtime, where it blocks the worker like the sync function that
/// called it does. On a thread that is ending, whose thread-locals tokio cannot use any more, another one drives it.
///
/// # Errors
///
/// Those of the future, and those of [`background`].
pub(crate) fn block_on<T: Send>(future: impl Future<Output = Result<T, Error>> + Send) -> Result<T, Error> {
    let runtime = background()?;
    if !matches!(Place::of_caller(), Place::EndingThread) {
        return park(runtime, future);
    }
    let driven = thread::scope(|scope| {
        let driver = thread::Builder::new().name("redlock-call".to_owned());
        driver.spawn_scoped(scope, || park(runtime, future)).map(thread::ScopedJoinHandle::join)
    });
    match driven {
        Ok(Ok(output)) => output,
        Ok(Err(panic)) => Err(Error::Config { reason: format!("the call panicked: {}", words_of(&*panic)) }),
        Err(error) => Err(Error::Config {
            reason: format!(
                "a call from a thread that is ending needs a thread of its own, which could not be started: {error}"
            ),
        }),
    }
}

/// In a destructor nothing may unwind any further.
fn words_of(panic: &(dyn Any + Send)) -> &str {
    let words = panic.downcast_ref::<&str>().copied();
    words.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without words")
}

thread_local! {
    /// The runtime on which a blocking call was made that is driven here, if its clock was moved.
    static CALLER: RefCell<Option<Handle>> = const { RefCell::new(None) };
}

/// The runtime of this call, if a test has paused or moved its clock.
pub(crate) fn runtime_of_moved_clock() -> Option<Handle> {
    let of_blocking_call = CALLER.try_with(|caller| caller.borrow().clone()).ok()?;
    of_blocking_call.or_else(|| {
        let runtime = Handle::try_current().ok()?;
        clock::shift_of_runtime().map(|_| runtime)
    })
}

/// Forgets the caller, also when the call panics.
struct Forget;

impl Drop for Forget {
    fn drop(&mut self) {
        let _ending = CALLER.try_with(|caller| caller.replace(None));
    }
}

fn park<F: Future>(runtime: &Handle, future: F) -> F::Output {
    let shift = clock::shift_of_runtime();
    let caller = shift.and_then(|_| Handle::try_current().ok());
    let _forget = caller.and_then(|caller| CALLER.try_with(|kept| kept.replace(Some(caller))).ok()).map(|_| Forget);
    clock::shifted(shift, || park_by_this_clock(runtime, future))
}

fn park_by_this_clock<F: Future>(runtime: &Handle, future: F) -> F::Output {
    let waker = parking::waker();
    let mut cx = Context::from_waker(&waker);
    // Inside a tokio task the budget of that task would run out and never be renewed: it would spin.
    let mut future = pin!(task::unconstrained(future));
    let is_left = holds(Rule::BlockingUsesBackground) || Handle::try_current().is_err();
    let _entered = is_left.then(|| runtime.enter());
    loop {
        match future.as_mut().poll(&mut cx) {
            Poll::Ready(output) => return output,
            Poll::Pending => parking::park(),
        }
    }
}

/// Asks for everything that a lock on the caller's runtime takes, before anything is sent: the background runtime, and the
/// drivers of the caller's.
///
/// # Errors
///
/// [`Error::Config`], which names what is missing.
pub(crate) fn prepare(uses: Uses) -> Result<(), Error> {
    background()?;
    match Place::of_caller() {
        Place::Runtime(runtime) => drivers::check(&runtime, uses),
        Place::Nowhere => Ok(()),
        Place::EndingThread => Err(no_runtime_any_more()),
    }
}

fn no_runtime_any_more() -> Error {
    Error::Config {
        reason: "an async call was polled by a destructor of a thread that is ending, where no runtime can be used any more; \
                 use its blocking twin"
            .to_owned(),
    }
}

/// Drives a future on the caller's tokio runtime or, where there is none or one without drivers, with timers and sockets of the
/// background runtime; so that any executor will do.
///
/// By reference, because an async function keeps room for an argument beside what becomes of it.
///
/// # Errors
///
/// Those of the future, and those of [`background`].
pub(crate) async fn on_any_executor<T, F>(uses: Uses, mut future: Pin<&mut F>) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let mut task_is_capable = None;
    poll_fn(|cx| {
        // To ask for the task is cheaper than for the runtime, which counts who asks.
        let is_in_task = task::try_id().is_some();
        let is_capable = match task_is_capable {
            Some(is_capable) if is_in_task => is_capable,
            _ => match Place::of_caller() {
                Place::Runtime(runtime) => drivers::check(&runtime, uses).is_ok(),
                Place::Nowhere => false,
                Place::EndingThread => return Poll::Ready(Err(no_runtime_any_more())),
            },
        };
        task_is_capable = is_in_task.then_some(is_capable);
        let _entered = if is_capable { None } else { Some(background()?.enter()) };
        future.as_mut().poll(cx)
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::channel;
    use std::sync::{Arc, Barrier};
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_came_while_it_could_not_be_started_begins_with_it() {
        let background: &'static Background = Box::leak(Box::default());
        let (told, heard) = channel();
        let tell = |number| {
            let told = told.clone();
            background.keep(Box::pin(async move { told.send(number).unwrap() }));
        };
        (0..2).for_each(tell);
        assert!(heard.try_recv().is_err());
        background.start().unwrap();
        // It may have been started between the attempt to and this.
        tell(2);
        for number in 0..3 {
            assert_eq!(heard.recv_timeout(Duration::from_secs(60)), Ok(number));
        }
    }

    #[test]
    fn a_crowd_of_tasks_keeps_nothing_else_waiting_for_long_and_all_of_it_begins() {
        const CROWD: usize = 20_000;
        let runtime = background().unwrap();
        let (begun, is_full) = (Arc::new(AtomicUsize::new(0)), Arc::new(Barrier::new(2)));
        // The thread stands still until all are there.
        let stands_still = Arc::clone(&is_full);
        drop(runtime.spawn(async move {
            stands_still.wait();
        }));
        for _ in 0..CROWD {
            let begun = Arc::clone(&begun);
            spawn(async move {
                begun.fetch_add(1, Ordering::SeqCst);
                // An answer that it waits for.
                task::yield_now().await;
            });
        }
        let (told, heard) = channel();
        let before = Arc::clone(&begun);
        drop(runtime.spawn(async move { told.send(before.load(Ordering::SeqCst)).unwrap() }));
        is_full.wait();
        let before = heard.recv_timeout(Duration::from_secs(60)).unwrap();
        assert!(before < CROWD / 100, "{before} of the crowd began before what came with it");
        while begun.load(Ordering::SeqCst) < CROWD {
            thread::yield_now();
        }
    }
}
