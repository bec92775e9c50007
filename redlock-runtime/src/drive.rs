//! Runs the body of an annotated function under its lock, and releases the lock behind it.
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use crate::Error;
use crate::call::{Attempt, Call};
use crate::deadlock::LockId;
use crate::lock::LockRequest;
use crate::outcome::{Keep, OnLost, Outcome, Rules, Verdict};

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Runs the body of a sync function.
#[track_caller]
pub fn run<R>(call: Call, body: impl FnOnce() -> R, rules: Rules<R>) -> Verdict<R> {
    let (lock, attempt, request) = call.into_parts();
    let held = request.and_then(LockRequest::acquire_blocking);
    let _first = attempt.held.set(held);
    if let Some(error) = attempt.refusal() {
        drop(body);
        return rules.decide(Outcome::Refused(error));
    }
    let value = attempt.within(&lock, body);
    if attempt.is_refused.load(Ordering::Relaxed) {
        // Its `require_lock!` has decided already.
        return Verdict::Return(value);
    }
    if let Some(guard) = attempt.into_guard() {
        let was_lost = !guard.is_valid();
        tell_release(lock.name(), was_lost, guard.release_blocking());
    }
    rules.decide(Outcome::Finished(value))
}

/// Runs the body of an async function; see [`Drive`].
///
/// The body is made before the lock is asked for, so that its arguments are not kept twice meanwhile. What is waited
/// for is boxed, so that the future stays small and nested ones stay within the compiler's recursion limit.
pub fn drive<F: Future, K: Keep<F::Output>>(
    call: Call,
    body: Pin<&mut Option<F>>,
    rules: Rules<F::Output>,
    keep: K,
) -> Drive<'_, F, K> {
    let (lock, attempt, request) = call.into_parts();
    let shared = Arc::clone(&attempt);
    let entering: BoxFuture<()> = Box::pin(async move {
        let held = match request {
            Ok(request) => request.acquire().await,
            Err(error) => Err(error),
        };
        let _first = shared.held.set(held);
    });
    Drive { stage: Stage::Entering(entering), body, attempt: Some(attempt), lock, rules, keep }
}

/// The future that runs a body in place until it is finished or the lock is lost, then releases the lock.
///
/// # Cancel safety
///
/// Dropping it drops the body first and the guard after that, which releases the lock in the background.
#[must_use = "futures do nothing unless polled"]
pub struct Drive<'a, F: Future, K> {
    stage: Stage,
    /// Emptied as soon as the body is over: what it holds is dropped while the lock is still held.
    body: Pin<&'a mut Option<F>>,
    /// Taken when the body is over.
    attempt: Option<Arc<Attempt>>,
    lock: Arc<LockId>,
    rules: Rules<F::Output>,
    /// The body's value during the release.
    keep: K,
}

/// What is waited for.
enum Stage {
    Entering(BoxFuture<()>),
    /// The body, or the signal that cancels it, which is only made when the body waits.
    Running(Option<BoxFuture<Error>>),
    Releasing(BoxFuture<()>),
}

impl<F: Future, K: Keep<F::Output> + Unpin> Future for Drive<'_, F, K> {
    type Output = Verdict<F::Output>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        loop {
            match &mut this.stage {
                Stage::Entering(entering) => {
                    ready!(entering.as_mut().poll(context));
                    this.stage = Stage::Running(None);
                }
                Stage::Running(_) => match this.poll_body(context) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(outcome) => {
                        this.drop_body();
                        if let Some(outcome) = this.begin_release(outcome, context) {
                            return Poll::Ready(this.rules.decide(outcome));
                        }
                    }
                },
                Stage::Releasing(releasing) => {
                    ready!(releasing.as_mut().poll(context));
                    let value = this.keep.take().expect("not polled after it was ready");
                    return Poll::Ready(this.rules.decide(Outcome::Finished(value)));
                }
            }
        }
    }
}

impl<F: Future, K: Keep<F::Output>> Drive<'_, F, K> {
    /// Resolves when a lock is lost whose body is to be cancelled then.
    fn lost_signal(&self) -> Option<BoxFuture<Error>> {
        let attempt = self.attempt.as_ref()?;
        if self.rules.on_lost() == OnLost::Continue || !matches!(attempt.held.get(), Some(Ok(_))) {
            return None;
        }
        let access = attempt.access();
        Some(Box::pin(async move { access.guard().lost().await }))
    }

    /// How the body ended, if it did.
    fn poll_body(&mut self, context: &mut Context<'_>) -> Poll<Outcome<F::Output>> {
        if let Some(error) = self.attempt.as_ref().and_then(|attempt| attempt.refusal()) {
            return Poll::Ready(Outcome::Refused(error));
        }
        // Before the body: one that is woken together with the loss is at an await and goes no further.
        if let Stage::Running(Some(lost)) = &mut self.stage
            && let Poll::Ready(error) = lost.as_mut().poll(context)
        {
            return Poll::Ready(Outcome::Lost(error));
        }
        let (Some(attempt), Some(body)) = (&self.attempt, self.body.as_mut().as_pin_mut()) else {
            panic!("polled after it was ready");
        };
        if let Poll::Ready(value) = attempt.within(&self.lock, || body.poll(context)) {
            return Poll::Ready(Outcome::Finished(value));
        }
        if let Some(error) = attempt.refusal() {
            return Poll::Ready(Outcome::Refused(error));
        }
        // Only now is there an await to be cancelled at; most bodies that never wait never come here.
        if let Stage::Running(None) = &self.stage
            && let Some(mut lost) = self.lost_signal()
        {
            if let Poll::Ready(error) = lost.as_mut().poll(context) {
                return Poll::Ready(Outcome::Lost(error));
            }
            self.stage = Stage::Running(Some(lost));
        }
        Poll::Pending
    }

    /// Begins to release the lock and keeps the body's value until that is done; gives back an outcome for which
    /// nothing is waited.
    fn begin_release(&mut self, outcome: Outcome<F::Output>, context: &mut Context<'_>) -> Option<Outcome<F::Output>> {
        let attempt = self.attempt.take();
        let Outcome::Finished(value) = outcome else { return Some(outcome) };
        let lock = Arc::clone(&self.lock);
        let mut releasing: BoxFuture<()> = Box::pin(async move {
            if let Some(guard) = attempt.and_then(Attempt::into_guard) {
                let was_lost = !guard.is_valid();
                tell_release(lock.name(), was_lost, guard.release().await);
            }
        });
        let Some(value) = self.keep.put(value) else {
            self.stage = Stage::Releasing(releasing);
            return None;
        };
        // A value that cannot wait: the release is on its way, ahead of whatever the caller does next, and goes on in
        // the background.
        let _is_done = releasing.as_mut().poll(context).is_ready();
        Some(Outcome::Finished(value))
    }
}

impl<F: Future, K> Drive<'_, F, K> {
    /// Drops the body, whose destructors still run under the lock and count as the body, and the lost signal, which
    /// holds a share of the guard.
    fn drop_body(&mut self) {
        self.stage = Stage::Running(None);
        if let Some(attempt) = &self.attempt {
            attempt.within(&self.lock, || self.body.set(None));
        }
    }
}

impl<F: Future, K> Drop for Drive<'_, F, K> {
    fn drop(&mut self) {
        if self.attempt.is_some() {
            self.drop_body();
        }
    }
}

/// The body's value wins over whatever is wrong with the lock at its end, so that is only told here.
fn tell_release(name: &str, was_lost: bool, released: Result<(), Error>) {
    match released {
        _ if was_lost => tracing::warn!(lock = name, "the lock was lost while the body ran"),
        Err(error) => {
            let cause: &(dyn std::error::Error + 'static) = &error;
            tracing::warn!(lock = name, error = cause, "the lock was not released behind the body");
        }
        Ok(()) => {}
    }
}
