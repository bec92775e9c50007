//! Futures that are dropped in the middle.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Polls a future `polls` times, some of them after its sockets had something to say, then drops it.
pub(crate) async fn poll_and_drop<F: Future>(future: F, polls: usize) -> Option<F::Output> {
    let mut future = pin!(future);
    for _ in 0..polls {
        let polled = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        if let Poll::Ready(output) = polled {
            return Some(output);
        }
        // What the sockets have to say is read in between, so that the next poll is at another await.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    None
}
