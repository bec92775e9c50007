//! Runs the body of an annotated function under its lock, and releases the lock behind it.
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use crate::Error;
use crate::deadlock::{LockId, within};
use crate::guard::LockGuard;
use crate::outcome::{Keep, OnLost, Outcome, Rules, Verdict};

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A call after its attempt to acquire the lock, successful or not.
#[must_use = "the lock is released when this is dropped"]
pub struct Entered {
    lock: Arc<LockId>,
    attempt: Arc<Attempt>,
    /// Whether the body asks for the lock itself, at its `require_lock!`.
    is_split: bool,
}

/// What the call and its body share.
struct Attempt {
    held: Result<LockGuard, Error>,
    /// Whether a body without the lock has come to its `require_lock!`.
    is_refused: AtomicBool,
}

/// The body's share of an attempt. It goes with the body, so the guard outlives everything in the body.
pub struct Access(Arc<Attempt>);

impl Entered {
    pub(crate) fn new(lock: Arc<LockId>, held: Result<LockGuard, Error>) -> Self {
        let attempt = Attempt { held, is_refused: AtomicBool::new(false) };
        Self { lock, attempt: Arc::new(attempt), is_split: false }
    }

    /// The body has a `require_lock!`, before which it runs in any case.
    pub fn split(self) -> Self {
        Self { is_split: true, ..self }
    }

    /// A share for the body.
    #[must_use]
    pub fn access(&self) -> Access {
        Access(Arc::clone(&self.attempt))
    }

    /// Why the body ends here, or does not begin.
    fn refusal(&self) -> Option<Error> {
        match &self.attempt.held {
            Err(error) if !self.is_split || self.attempt.is_refused.load(Ordering::Relaxed) => Some(error.clone()),
            Ok(_) | Err(_) => None,
        }
    }

    /// Runs a part of the body as what it is: inside the lock, if it was acquired.
    fn within<T>(&self, body: impl FnOnce() -> T) -> T {
        match &self.attempt.held {
            Ok(_) => within(&self.lock, body),
            Err(_) => body(),
        }
    }

    /// Resolves when the lock is lost.
    fn lost(&self) -> BoxFuture<Error> {
        let access = self.access();
        Box::pin(async move { access.guard().lost().await })
    }

    /// The guard by value. The body is gone and its share with it; should one be left, it releases the lock.
    fn into_guard(self) -> Option<LockGuard> {
        Arc::into_inner(self.attempt).and_then(|attempt| attempt.held.ok())
    }
}

impl Access {
    /// The guard of a running body that is not split.
    #[must_use]
    pub fn guard(&self) -> &LockGuard {
        match &self.0.held {
            Ok(guard) => guard,
            Err(_) => unreachable!("the body runs only with its lock"),
        }
    }

    /// The guard at an async body's `require_lock!`. Without the lock the body is dropped at this await.
    pub async fn require(&self) -> &LockGuard {
        match &self.0.held {
            Ok(guard) => guard,
            Err(_) => {
                self.0.is_refused.store(true, Ordering::Relaxed);
                std::future::pending().await
            }
        }
    }

    /// The guard at a sync body's `require_lock!`, or what the body returns there.
    ///
    /// # Errors
    ///
    /// The verdict of a call that was refused.
    #[track_caller]
    pub fn require_blocking<R>(&self, rules: Rules<R>) -> Result<&LockGuard, Verdict<R>> {
        self.0.held.as_ref().map_err(|error| {
            self.0.is_refused.store(true, Ordering::Relaxed);
            rules.decide(Outcome::Refused(error.clone()))
        })
    }
}

/// Runs the body of a sync function.
#[track_caller]
pub fn run<R>(entered: Entered, body: impl FnOnce() -> R, rules: Rules<R>) -> Verdict<R> {
    if let Some(error) = entered.refusal() {
        drop(body);
        return rules.decide(Outcome::Refused(error));
    }
    let value = entered.within(body);
    if entered.attempt.is_refused.load(Ordering::Relaxed) {
        // Its `require_lock!` has decided already.
        return Verdict::Return(value);
    }
    let lock = Arc::clone(&entered.lock);
    if let Some(guard) = entered.into_guard() {
        let was_lost = !guard.is_valid();
        tell_release(lock.name(), was_lost, guard.release_blocking());
    }
    rules.decide(Outcome::Finished(value))
}

/// Runs the body of an async function; see [`Drive`].
pub fn drive<F: Future, K: Keep<F::Output>>(
    entered: Entered,
    body: Pin<&mut Option<F>>,
    rules: Rules<F::Output>,
    keep: K,
) -> Drive<'_, F, K> {
    let lost = match rules.on_lost() {
        OnLost::Cancel if entered.attempt.held.is_ok() => Some(entered.lost()),
        OnLost::Cancel | OnLost::Continue => None,
    };
    Drive { lost, body, entered: Some(entered), rules, keep, release: None }
}

/// The future that runs a body in place until it is finished or the lock is lost, then releases the lock.
///
/// # Cancel safety
///
/// Dropping it drops the body first and the guard after that, which releases the lock in the background.
#[must_use = "futures do nothing unless polled"]
pub struct Drive<'a, F: Future, K> {
    /// The signal that cancels the body.
    lost: Option<BoxFuture<Error>>,
    /// Emptied as soon as the body is over: what it holds is dropped while the lock is still held.
    body: Pin<&'a mut Option<F>>,
    /// Taken when the body is over.
    entered: Option<Entered>,
    rules: Rules<F::Output>,
    /// The body's value during the release.
    keep: K,
    release: Option<BoxFuture<()>>,
}

impl<F: Future, K: Keep<F::Output> + Unpin> Future for Drive<'_, F, K> {
    type Output = Verdict<F::Output>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if let Some(entered) = this.entered.take() {
            match this.poll_body(&entered, context) {
                None => {
                    this.entered = Some(entered);
                    return Poll::Pending;
                }
                Some(outcome) => {
                    this.drop_body(&entered);
                    if let Some(outcome) = this.keep_for_release(outcome, entered) {
                        return Poll::Ready(this.rules.decide(outcome));
                    }
                }
            }
        }
        this.poll_release(context)
    }
}

impl<F: Future, K: Keep<F::Output>> Drive<'_, F, K> {
    /// How the body ended, if it did.
    fn poll_body(&mut self, entered: &Entered, context: &mut Context<'_>) -> Option<Outcome<F::Output>> {
        if let Some(error) = entered.refusal() {
            return Some(Outcome::Refused(error));
        }
        // Before the body: one that is woken together with the loss is at an await and goes no further.
        if let Some(lost) = &mut self.lost
            && let Poll::Ready(error) = lost.as_mut().poll(context)
        {
            return Some(Outcome::Lost(error));
        }
        let body = self.body.as_mut().as_pin_mut()?;
        match entered.within(|| body.poll(context)) {
            Poll::Ready(value) => Some(Outcome::Finished(value)),
            Poll::Pending => entered.refusal().map(Outcome::Refused),
        }
    }

    /// Keeps the body's value and begins to release the lock; gives back an outcome for which nothing is waited.
    fn keep_for_release(&mut self, outcome: Outcome<F::Output>, entered: Entered) -> Option<Outcome<F::Output>> {
        let Outcome::Finished(value) = outcome else {
            return Some(outcome);
        };
        if let Some(value) = self.keep.put(value) {
            return Some(Outcome::Finished(value));
        }
        self.release = Some(Box::pin(async move {
            let lock = Arc::clone(&entered.lock);
            if let Some(guard) = entered.into_guard() {
                let was_lost = !guard.is_valid();
                tell_release(lock.name(), was_lost, guard.release().await);
            }
        }));
        None
    }

    fn poll_release(&mut self, context: &mut Context<'_>) -> Poll<Verdict<F::Output>> {
        if let Some(release) = &mut self.release
            && release.as_mut().poll(context).is_pending()
        {
            return Poll::Pending;
        }
        self.release = None;
        match self.keep.take() {
            Some(value) => Poll::Ready(self.rules.decide(Outcome::Finished(value))),
            None => panic!("polled after it was ready"),
        }
    }
}

impl<F: Future, K> Drive<'_, F, K> {
    /// The body's destructors still run under the lock, and count as the body.
    fn drop_body(&mut self, entered: &Entered) {
        self.lost = None;
        entered.within(|| self.body.set(None));
    }
}

impl<F: Future, K> Drop for Drive<'_, F, K> {
    fn drop(&mut self) {
        if let Some(entered) = self.entered.take() {
            self.drop_body(&entered);
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
