//! Threads of simulated processes: each is a real one, which runs only while the task that stands for it is polled. So of all
//! threads of a run, that of its schedule included, one runs at a time, and which one follows from the seed.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::{Context, Poll, Waker};
use std::thread;

use super::{IS_OVER, NUMBER, Place, WORLD, Within, World, world};
use crate::rules;

/// What a thread is told.
enum Resume {
    GoOn,
    /// The run is over.
    End,
}

/// What is heard of it.
enum Step<T> {
    Parked,
    Ended(thread::Result<T>),
}

/// What a thread knows of the task that stands for it.
struct Own {
    /// Wakes the task.
    waker: Waker,
    tell_parked: Box<dyn Fn()>,
    resumes: Receiver<Resume>,
    is_ended: Cell<bool>,
}

thread_local! {
    static OWN: RefCell<Option<Own>> = const { RefCell::new(None) };
}

/// A thread, as the task that stands for it: the thread runs while this is polled, and its value is this one's.
///
/// Where it is dropped the thread ends by unwinding.
pub struct Thread<T> {
    place: Place,
    stage: Stage<T>,
}

enum Stage<T> {
    Unstarted(Box<dyn FnOnce() -> T + Send>),
    Runs { resumes: Sender<Resume>, steps: Receiver<Step<T>>, thread: thread::JoinHandle<()> },
    Over,
}

impl<T> std::fmt::Debug for Thread<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Thread").field("place", &self.place).finish_non_exhaustive()
    }
}

impl<T: Send + 'static> Thread<T> {
    /// A thread whose code runs there: on none of its process's runtimes ([`Place::THREAD`]), or on one, which it blocks.
    pub fn new(place: Place, run: impl FnOnce() -> T + Send + 'static) -> Self {
        Self { place, stage: Stage::Unstarted(Box::new(run)) }
    }
}

impl<T: Send + 'static> Future for Thread<T> {
    type Output = thread::Result<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Stage::Unstarted(_) = this.stage
            && let Stage::Unstarted(run) = std::mem::replace(&mut this.stage, Stage::Over)
        {
            this.stage = start(this.place, run, cx.waker());
        }
        let Stage::Runs { resumes, steps, .. } = &this.stage else { unreachable!("it is not polled after its end") };
        // A thread that has ended was heard.
        let _ = resumes.send(Resume::GoOn);
        let Ok(Step::Ended(ended)) = steps.recv() else { return Poll::Pending };
        this.end();
        Poll::Ready(ended)
    }
}

impl<T> Thread<T> {
    fn end(&mut self) {
        let Stage::Runs { thread, .. } = std::mem::replace(&mut self.stage, Stage::Over) else { return };
        let _ = thread.join();
        if let Some(world) = world() {
            world.blocks(self.place, false);
        }
    }
}

impl<T> Drop for Thread<T> {
    fn drop(&mut self) {
        if let Stage::Runs { resumes, steps, .. } = &self.stage {
            let _ = resumes.send(Resume::End);
            while let Ok(Step::Parked) = steps.recv() {}
        }
        self.end();
    }
}

/// Starts a thread, which waits to be resumed first.
fn start<T: Send + 'static>(place: Place, run: Box<dyn FnOnce() -> T + Send>, waker: &Waker) -> Stage<T> {
    let (resumes, own_resumes) = channel();
    let (own_steps, steps) = channel();
    let (waker, number, off) = (waker.clone(), NUMBER.get(), rules::switched_off());
    let world = world().expect("a run");
    world.blocks(place, true);
    let runtime = tokio::runtime::Handle::current();
    let log = tracing::dispatcher::get_default(Clone::clone);
    let body = move || {
        rules::switch_off(off);
        enter(world, number);
        let is_logged = !log.is::<tracing::subscriber::NoSubscriber>();
        let _logging = is_logged.then(|| tracing::dispatcher::set_default(&log));
        // Timers and true time are those of the run, whatever runtime the code believes to be on.
        let _entered = runtime.enter();
        let _within = Within::enter(place);
        let tell = own_steps.clone();
        let tell_parked = Box::new(move || drop(tell.send(Step::Parked)));
        let own = Own { waker, tell_parked, resumes: own_resumes, is_ended: Cell::new(false) };
        OWN.with(|place| place.replace(Some(own)));
        let ended = catch_unwind(AssertUnwindSafe(|| {
            wait_to_resume();
            run()
        }));
        OWN.with(RefCell::take);
        let _ = own_steps.send(Step::Ended(ended));
    };
    let thread = thread::Builder::new().name("simulated".to_owned()).spawn(body).expect("a thread");
    Stage::Runs { resumes, steps, thread }
}

fn enter(world: Arc<dyn World>, number: u64) {
    NUMBER.set(number);
    IS_OVER.set(false);
    WORLD.with(|place| place.replace(Some(world)));
}

/// Unwinds when the run is over.
fn wait_to_resume() {
    let is_over = OWN.with_borrow(|own| {
        let own = own.as_ref().expect("a simulated thread");
        if !own.is_ended.get() && !matches!(own.resumes.recv(), Ok(Resume::GoOn)) {
            own.is_ended.set(true);
        }
        own.is_ended.get()
    });
    if is_over {
        IS_OVER.set(true);
        resume_unwind(Box::new("the run is over"));
    }
}

/// What wakes this thread, if it is one of these.
pub(crate) fn waker() -> Option<Waker> {
    OWN.with_borrow(|own| own.as_ref().map(|own| own.waker.clone()))
}

/// Lets others run until this thread is woken; whether it is one of these.
pub(crate) fn park() -> bool {
    let is_own = OWN.with_borrow(|own| {
        let Some(own) = own else { return false };
        if !own.is_ended.get() {
            (own.tell_parked)();
        }
        true
    });
    if is_own {
        wait_to_resume();
    }
    is_own
}

/// Drives a future on this thread, one of these, as an executor without timers and sockets does that knows nothing of tokio.
pub fn block_on<F: Future>(future: F) -> F::Output {
    let waker = waker().expect("a simulated thread");
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => drop(park()),
        }
    }
}
