//! Runs the body of an annotated function under its lock, and releases the lock behind it.
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::Error;
use crate::guard::LockGuard;
use crate::outcome::{Keep, OnLost, Outcome, Rules, Verdict};

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A call after its attempt to acquire the lock, successful or not.
#[must_use = "the lock is released when this is dropped"]
pub struct Entered {
    name: String,
    attempt: Arc<Attempt>,
}

/// What the call and its body share.
struct Attempt {
    held: Result<LockGuard, Error>,
}

/// The body's share of an attempt. It goes with the body, so the guard outlives everything in the body.
pub struct Access(Arc<Attempt>);

impl Entered {
    pub(crate) fn new(name: String, held: Result<LockGuard, Error>) -> Self {
        Self {
            name,
            attempt: Arc::new(Attempt { held }),
        }
    }

    /// A share for the body.
    #[must_use]
    pub fn access(&self) -> Access {
        Access(Arc::clone(&self.attempt))
    }

    /// Why the lock was not acquired; `None` if it was.
    fn refusal(&self) -> Option<Error> {
        self.attempt.held.as_ref().err().cloned()
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
    /// The guard of the running body.
    #[must_use]
    pub fn guard(&self) -> &LockGuard {
        match &self.0.held {
            Ok(guard) => guard,
            Err(_) => unreachable!("the body runs only with its lock"),
        }
    }
}

/// Runs the body of a sync function.
#[track_caller]
pub fn run<R>(entered: Entered, body: impl FnOnce() -> R, rules: Rules<R>) -> Verdict<R> {
    if let Some(error) = entered.refusal() {
        drop(body);
        return rules.decide(&entered.name, Outcome::Refused(error));
    }
    let value = body();
    let name = entered.name.clone();
    if let Some(guard) = entered.into_guard() {
        let was_lost = !guard.is_valid();
        tell_release(&name, was_lost, guard.release_blocking());
    }
    rules.decide(&name, Outcome::Finished(value))
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
    Drive {
        lost,
        body,
        entered: Some(entered),
        rules,
        keep,
        release: None,
    }
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
    /// The lock's name comes back from the release, for what is logged after it.
    release: Option<BoxFuture<String>>,
}

impl<F: Future, K: Keep<F::Output> + Unpin> Future for Drive<'_, F, K> {
    type Output = Verdict<F::Output>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if this.release.is_none() {
            match this.poll_body(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(verdict)) => return Poll::Ready(verdict),
                Poll::Ready(None) => {}
            }
        }
        this.poll_release(context)
    }
}

impl<F: Future, K: Keep<F::Output>> Drive<'_, F, K> {
    /// Ready with the verdict, or with `None` when the value is kept and the release has begun.
    fn poll_body(&mut self, context: &mut Context<'_>) -> Poll<Option<Verdict<F::Output>>> {
        if let Some(refusal) = self.entered.as_ref().and_then(Entered::refusal) {
            return Poll::Ready(Some(self.end(Outcome::Refused(refusal))));
        }
        // Before the body: one that is woken together with the loss is at an await and goes no further.
        if let Some(lost) = &mut self.lost
            && let Poll::Ready(error) = lost.as_mut().poll(context)
        {
            return Poll::Ready(Some(self.end(Outcome::Lost(error))));
        }
        let Some(body) = self.body.as_mut().as_pin_mut() else {
            panic!("polled after it was ready");
        };
        let Poll::Ready(value) = body.poll(context) else {
            return Poll::Pending;
        };
        match self.keep.put(value) {
            Some(value) => Poll::Ready(Some(self.end(Outcome::Finished(value)))),
            None => {
                self.begin_release();
                Poll::Ready(None)
            }
        }
    }

    /// The verdict of a call whose lock, if there is one, is released in the background.
    fn end(&mut self, outcome: Outcome<F::Output>) -> Verdict<F::Output> {
        self.lost = None;
        self.body.set(None);
        let name = self
            .entered
            .take()
            .map(|entered| entered.name)
            .unwrap_or_default();
        self.rules.decide(&name, outcome)
    }

    fn begin_release(&mut self) {
        self.lost = None;
        self.body.set(None);
        let Some(entered) = self.entered.take() else {
            return;
        };
        self.release = Some(Box::pin(async move {
            let name = entered.name.clone();
            if let Some(guard) = entered.into_guard() {
                let was_lost = !guard.is_valid();
                tell_release(&name, was_lost, guard.release().await);
            }
            name
        }));
    }

    fn poll_release(&mut self, context: &mut Context<'_>) -> Poll<Verdict<F::Output>> {
        let Some(release) = &mut self.release else {
            panic!("polled after it was ready");
        };
        let Poll::Ready(name) = release.as_mut().poll(context) else {
            return Poll::Pending;
        };
        self.release = None;
        let Some(value) = self.keep.take() else {
            panic!("polled after it was ready");
        };
        Poll::Ready(self.rules.decide(&name, Outcome::Finished(value)))
    }
}

impl<F: Future, K> Drop for Drive<'_, F, K> {
    fn drop(&mut self) {
        // The body's destructors still run under the lock.
        self.lost = None;
        self.body.set(None);
    }
}

/// The body's value wins over whatever is wrong with the lock at the end, so that is only told here.
fn tell_release(name: &str, was_lost: bool, released: Result<(), Error>) {
    match released {
        _ if was_lost => tracing::warn!(lock = name, "the lock was lost while the body ran"),
        Err(error) => {
            let cause: &(dyn std::error::Error + 'static) = &error;
            tracing::warn!(
                lock = name,
                error = cause,
                "the lock could not be released and will expire"
            );
        }
        Ok(()) => {}
    }
}
