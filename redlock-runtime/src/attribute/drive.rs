//! Runs the body of an annotated function under its lock, and releases the lock behind it.
//!
//! What depends on the body is kept small, because it is compiled again for each annotated function: the body's side
//! of a call, as [`Body`], and its value. All else is in [`Progress`].
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use tokio::time::timeout;

use super::call::{Attempt, Call, LockId};
use super::outcome::{Ending, Keep, OnLost, Returned, Returns};
use crate::Error;
use crate::lock::body;
use crate::lock::guard::Work;
use crate::lock::request::LockRequest;
use crate::platform::background::{block_on, on_any_executor};
use crate::platform::tasks::Handle;
use crate::shown::shown;

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What a body panicked with.
type Panic = Box<dyn Any + Send>;

/// Runs the body of a sync function.
#[track_caller]
pub fn run<R>(call: Call, body: impl FnOnce() -> R, returns: Returns<R>) -> Returned<R> {
    let (mut body, mut value) = (Some(body), None);
    let call = call.telling_failure(returns.tells_failure()).telling_success(!returns.cannot_tell_success());
    let (lock, ending) = run_once(call, &mut || {
        value = body.take().map(|body| body());
        value.as_ref().is_some_and(|value| returns.is_success(value))
    });
    if returns.has_no_answer(&ending) {
        tell_end(&lock);
        wait_for_the_end();
    }
    returns.decide(ending, value, lock.called())
}

fn run_once(call: Call, body: &mut dyn FnMut() -> bool) -> (Arc<LockId>, Ending) {
    let (lock, attempt, request) = call.into_parts();
    let ending = run_under(&lock, attempt, request, body);
    (lock, ending)
}

fn run_under(
    lock: &Arc<LockId>,
    attempt: Arc<Attempt>,
    request: Result<LockRequest, Error>,
    body: &mut dyn FnMut() -> bool,
) -> Ending {
    let held = request.and_then(LockRequest::acquire_blocking);
    let _first = attempt.held.set(held);
    if let Some(error) = attempt.refusal() {
        return Ending::Refused(error);
    }
    let is_success = match catch_unwind(AssertUnwindSafe(|| attempt.within(body))) {
        Ok(is_success) => is_success,
        Err(panic) => {
            // Before whoever catches it, who may try again at once.
            let _ended = block_on(release_in_time(Arc::clone(lock), Some(attempt)));
            resume_unwind(panic);
        }
    };
    if attempt.is_refused.load(Ordering::Relaxed) {
        return Ending::Decided;
    }
    if let Some(guard) = attempt.into_guard() {
        let was_lost = guard.was_lost();
        tell_release(lock, was_lost, guard.finish_blocking(is_success));
    }
    Ending::Finished
}

/// Runs the body of an async function; see [`Drive`].
///
/// The body is made before the lock is asked for, so that its arguments are not kept twice meanwhile.
pub fn drive<F: Future, K: Keep<F::Output>>(
    call: Call,
    body: Pin<&mut Option<F>>,
    returns: Returns<F::Output>,
    keep: K,
) -> Drive<'_, F, K> {
    let call = call.telling_failure(returns.tells_failure()).telling_success(!returns.cannot_tell_success());
    Drive { progress: Progress::new(call, returns.on_lost()), body, returns, keep }
}

/// The future that runs a body in place until it is finished or the lock is lost, then releases the lock.
///
/// # Cancel safety
///
/// Dropping it drops the body first and the guard after that, which releases the lock in the background.
#[must_use = "futures do nothing unless polled"]
pub struct Drive<'a, F: Future, K> {
    progress: Progress,
    /// Emptied as soon as the body is over: what it holds is dropped while the lock is still held.
    body: Pin<&'a mut Option<F>>,
    returns: Returns<F::Output>,
    /// The body's value during the release.
    keep: K,
}

impl<F: Future, K: Keep<F::Output> + Unpin> Future for Drive<'_, F, K> {
    type Output = Returned<F::Output>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { progress, body, returns, keep } = self.get_mut();
        let mut side = BodySide { body: body.as_mut(), returns, keep, handed_over: None };
        let ending = ready!(progress.poll(&mut side, context));
        if returns.has_no_answer(&ending) {
            // The process is ending, and drops this future with its runtime.
            tell_end(&progress.lock);
            progress.stage = Stage::Releasing(Box::pin(std::future::pending()));
            return Poll::Pending;
        }
        let value = match side.handed_over {
            None => keep.take(),
            value => value,
        };
        Poll::Ready(returns.decide(ending, value, progress.lock.called()))
    }
}

impl<F: Future, K> Drop for Drive<'_, F, K> {
    fn drop(&mut self) {
        self.progress.cancel(&mut || self.body.set(None));
    }
}

/// What [`Progress`] may do with a body.
trait Body {
    /// Runs it until it waits or is over; then its value is put away.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Finished>;
    /// Drops it, if that was not done yet.
    fn clear(&mut self);
}

/// A body that returned.
struct Finished {
    /// Where its value is.
    value: Value,
    /// Whether it ended well.
    is_success: bool,
}

/// Where a body's value is.
enum Value {
    /// It waits for the release.
    Kept,
    /// It cannot wait, and is returned by the poll that made it.
    HandedOver,
}

/// A body during one poll.
struct BodySide<'a, F: Future, K> {
    body: Pin<&'a mut Option<F>>,
    returns: &'a Returns<F::Output>,
    keep: &'a mut K,
    handed_over: Option<F::Output>,
}

impl<F: Future, K: Keep<F::Output>> Body for BodySide<'_, F, K> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Finished> {
        let Some(body) = self.body.as_mut().as_pin_mut() else { polled_too_often() };
        let value = ready!(body.poll(context));
        let is_success = self.returns.is_success(&value);
        self.handed_over = self.keep.put(value);
        let value = if self.handed_over.is_some() { Value::HandedOver } else { Value::Kept };
        Poll::Ready(Finished { value, is_success })
    }

    fn clear(&mut self) {
        self.body.set(None);
    }
}

fn polled_too_often() -> ! {
    panic!("polled after it was ready")
}

/// How far the call of an async function is.
struct Progress {
    stage: Stage,
    /// Taken when the body is over.
    attempt: Option<Arc<Attempt>>,
    lock: Arc<LockId>,
    on_lost: OnLost,
}

/// What is waited for. Boxed, so that the future stays small and nested ones stay within the compiler's recursion limit.
enum Stage {
    Entering(BoxFuture<()>),
    /// The body, or the signal that cancels it, which is only made when the body waits.
    Running(Option<BoxFuture<Error>>),
    Releasing(BoxFuture<()>),
    /// The release of a body that panicked, which its panic waits for.
    Unwinding(BoxFuture<()>, Option<Panic>),
}

impl Progress {
    fn new(call: Call, on_lost: OnLost) -> Self {
        let (lock, attempt, request) = call.into_parts();
        let shared = Arc::clone(&attempt);
        let entering: BoxFuture<()> = Box::pin(async move {
            let held = match request {
                Ok(request) => request.acquire().await,
                Err(error) => Err(error),
            };
            let _first = shared.held.set(held);
        });
        Self { stage: Stage::Entering(entering), attempt: Some(attempt), lock, on_lost }
    }

    fn poll(&mut self, body: &mut dyn Body, context: &mut Context<'_>) -> Poll<Ending> {
        loop {
            match &mut self.stage {
                Stage::Entering(entering) => {
                    ready!(entering.as_mut().poll(context));
                    self.stage = Stage::Running(None);
                    if self.on_lost == OnLost::Skip
                        && let Some(Ok(guard)) = self.attempt.as_ref().and_then(|attempt| attempt.held.get())
                    {
                        guard.leave_telling_to_call();
                    }
                }
                Stage::Running(_) => {
                    let ended = catch_unwind(AssertUnwindSafe(|| {
                        let ended = ready!(self.poll_body(body, context));
                        self.drop_body(&mut || body.clear());
                        Poll::Ready(ended)
                    }));
                    let ended = match ended {
                        Ok(ended) => ready!(ended),
                        Err(panic) => {
                            self.unwind(body, panic);
                            continue;
                        }
                    };
                    let attempt = self.attempt.take();
                    let Finished { value, is_success } = match ended {
                        Ok(finished) => finished,
                        Err(ending) => {
                            if matches!(ending, Ending::Lost(_)) {
                                self.lock.count_loss();
                                // By what the call is skipped with, if it is.
                                if let Some(Ok(guard)) = attempt.as_ref().and_then(|attempt| attempt.held.get()) {
                                    guard.loss_is_told();
                                }
                            }
                            return Poll::Ready(ending);
                        }
                    };
                    let told_in_background =
                        attempt.as_ref().filter(|_| is_success).and_then(|attempt| match attempt.held.get() {
                            Some(Ok(guard)) if matches!(value, Value::HandedOver) => guard.engine_that_completes(),
                            _ => None,
                        });
                    let mut releasing: BoxFuture<()> = Box::pin(release(Arc::clone(&self.lock), attempt, is_success));
                    if matches!(value, Value::HandedOver) {
                        // The release is on its way, ahead of whatever the caller does next, and goes on in the
                        // background. Of a fire somebody has to tell if it was not completed.
                        if releasing.as_mut().poll(context).is_pending()
                            && let Some(engine) = told_in_background
                        {
                            engine.spawn(releasing);
                        }
                        return Poll::Ready(Ending::Finished);
                    }
                    self.stage = Stage::Releasing(releasing);
                }
                Stage::Releasing(releasing) => {
                    ready!(releasing.as_mut().poll(context));
                    return Poll::Ready(Ending::Finished);
                }
                Stage::Unwinding(releasing, panic) => {
                    ready!(releasing.as_mut().poll(context));
                    let Some(panic) = panic.take() else { polled_too_often() };
                    resume_unwind(panic);
                }
            }
        }
    }

    /// Drops a body that panicked, and lets its panic wait for the release: whoever catches it may try again at once.
    fn unwind(&mut self, body: &mut dyn Body, panic: Panic) {
        // Of two panics the first counts, as it does outside of us.
        let _second = catch_unwind(AssertUnwindSafe(|| self.drop_body(&mut || body.clear())));
        let releasing = release_in_time(Arc::clone(&self.lock), self.attempt.take());
        // Where there is nothing to drive it, the guard is dropped, which releases the lock in the background.
        let releasing = async move { drop(releasing.await) };
        self.stage = Stage::Unwinding(Box::pin(releasing), Some(panic));
    }

    /// What became of the body.
    fn poll_body(&mut self, body: &mut dyn Body, context: &mut Context<'_>) -> Poll<Result<Finished, Ending>> {
        let Some(attempt) = &self.attempt else { polled_too_often() };
        if let Some(error) = attempt.refusal() {
            return Poll::Ready(Err(Ending::Refused(error)));
        }
        // Before the body: one that is woken together with the loss is at an await and goes no further.
        if let Stage::Running(Some(lost)) = &mut self.stage
            && let Poll::Ready(error) = lost.as_mut().poll(context)
        {
            return Poll::Ready(Err(Ending::Lost(error)));
        }
        if let Poll::Ready(finished) = attempt.within(|| body.poll(context)) {
            return Poll::Ready(Ok(finished));
        }
        if let Some(error) = attempt.refusal() {
            return Poll::Ready(Err(Ending::Refused(error)));
        }
        // Only now is there an await to be cancelled at; most bodies that never wait never come here.
        if let Stage::Running(None) = &self.stage
            && let Some(mut lost) = self.lost_signal()
        {
            if let Poll::Ready(error) = lost.as_mut().poll(context) {
                return Poll::Ready(Err(Ending::Lost(error)));
            }
            self.stage = Stage::Running(Some(lost));
        }
        Poll::Pending
    }

    /// Resolves when a lock is lost whose body is to be cancelled then.
    fn lost_signal(&self) -> Option<BoxFuture<Error>> {
        let attempt = self.attempt.as_ref()?;
        if self.on_lost == OnLost::Continue || !matches!(attempt.held.get(), Some(Ok(_))) {
            return None;
        }
        let access = attempt.access();
        Some(Box::pin(async move { access.guard().lost().await }))
    }

    /// Drops the body, if the call is not over.
    fn cancel(&mut self, clear: &mut dyn FnMut()) {
        if self.attempt.is_some() {
            self.drop_body(clear);
        }
    }

    /// Drops the body, whose destructors still run under the lock and count as the body, and the lost signal, which
    /// holds a share of the guard.
    fn drop_body(&mut self, clear: &mut dyn FnMut()) {
        self.stage = Stage::Running(None);
        if let Some(attempt) = &self.attempt {
            attempt.within(clear);
        }
    }
}

async fn release(lock: Arc<LockId>, attempt: Option<Arc<Attempt>>, is_success: bool) {
    if let Some(guard) = attempt.and_then(Attempt::into_guard) {
        let was_lost = guard.was_lost();
        tell_release(&lock, was_lost, guard.finish(is_success).await);
    }
}

/// Releases the lock of a body that panicked: waits for a majority to confirm, but no longer than one node's answer may
/// take. Then the release goes on in the background.
async fn release_in_time(lock: Arc<LockId>, attempt: Option<Arc<Attempt>>) -> Result<(), Error> {
    if let Some(guard) = attempt.and_then(Attempt::into_guard) {
        let (reply_timeout, uses) = (guard.node_timeout(), guard.uses());
        let was_lost = guard.was_lost();
        let releasing = async { Ok(timeout(reply_timeout, guard.release_behind(Work::Failed)).await) };
        match on_any_executor(uses, pin!(releasing)).await? {
            Ok(released) => tell_release(&lock, was_lost, released),
            Err(_) => {
                tracing::debug!(lock = %shown(lock.name()), "the release of a body that panicked goes on in the background");
            }
        }
    }
    Ok(())
}

fn tell_end(lock: &LockId) {
    tracing::info!(
        lock = %shown(lock.name()),
        "the lock manager was shut down: a call that can return no error waits for the process to end"
    );
}

/// Blocks the thread of a sync call that can neither return nor fail, because its lock manager was shut down: the process is
/// ending.
///
/// A tokio runtime waits for its blocking tasks when it ends, and so would the process: there the thread is let go when the
/// runtime is shut down, by unwinding without a message, of which nobody takes notice any more.
fn wait_for_the_end() -> ! {
    if let Ok(runtime) = Handle::try_current()
        && cfg!(panic = "unwind")
    {
        // Dropped with the runtime's other tasks, also if it is shut down already.
        let (ending, ended) = std::sync::mpsc::channel::<()>();
        runtime.spawn(async move {
            let _ending = ending;
            std::future::pending::<()>().await;
        });
        let _ended = ended.recv();
        resume_unwind(Box::new(Error::ShutDown));
    }
    loop {
        std::thread::park();
    }
}

fn tell_release(lock: &LockId, was_lost: bool, released: Result<(), Error>) {
    if was_lost || matches!(released, Err(Error::NotHeld { .. })) {
        lock.count_loss();
    }
    // That it was lost was told when it happened, but not what it means for a fire.
    if !was_lost || matches!(released, Err(Error::Lost { .. })) {
        body::tell_end(lock.name(), released);
    }
}
