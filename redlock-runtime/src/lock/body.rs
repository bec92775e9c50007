//! What runs under a lock that is given back behind it.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::thread;

use super::guard::LockGuard;
use crate::Error;
use crate::held::deadlock::within;
use crate::rules::{Rule, holds};
use crate::shown::shown;

/// Runs a body until it ends, or the lock is lost: then it is dropped.
pub(super) async fn until_lost<T, E: From<Error>>(
    guard: &LockGuard,
    mut body: Pin<&mut impl Future<Output = Result<T, E>>>,
) -> Result<T, E> {
    let running = poll_fn(|cx| within(guard.lease(), || body.as_mut().poll(cx)));
    // In this order: a loss that is told together with what wakes the body ends it.
    tokio::select! {
        biased;
        loss = guard.lost() => Err(loss.into()),
        value = running => value,
    }
}

/// Runs a body until it ends, or the lock is gone: then it is dropped, and `None`. A shutdown that asks its holder to let go keeps the
/// lock while the body winds down.
pub(super) async fn until_gone<T>(guard: &LockGuard, mut body: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    let running = poll_fn(|cx| within(guard.lease(), || body.as_mut().poll(cx)));
    tokio::select! {
        biased;
        () = guard.gone(), if holds(Rule::BodyEndsWithTerm) => None,
        value = running => Some(value),
    }
}

/// What a future comes to, or what it panicked with.
pub(super) async fn caught<F: Future>(future: F) -> thread::Result<F::Output> {
    let mut future = pin!(future);
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(polled) => polled.map(Ok),
        Err(panic) => Poll::Ready(Err(panic)),
    })
    .await
}

/// The value wins over whatever is wrong with the lock at its end, so that is only told here.
pub(crate) fn tell_end(name: &str, ended: Result<(), Error>) {
    let Err(error) = ended else { return };
    let cause: &(dyn std::error::Error + 'static) = &error;
    match &error {
        Error::NotCompleted { fire, .. } => {
            tracing::error!(
                lock = %shown(name),
                fire,
                error = cause,
                "the body ended well, but its fire may run again; let the store refuse a fire that it has seen"
            );
        }
        // Only a completion ends so. The lease has told of the loss, but not what it means for the fire.
        Error::Lost { .. } => {
            tracing::error!(
                lock = %shown(name),
                error = cause,
                "the body ended well, but after its lock was lost, so its fire was not completed and may run again; give it a longer ttl, \
                 and let the store refuse a fire that it has seen"
            );
        }
        _ => tracing::warn!(lock = %shown(name), error = cause, "the lock was not released after the body"),
    }
}
