//! The one small runtime of our own, for what must not depend on a caller's.
//!
//! It is one thread, started on first use, that lives as long as the process. Three things run there:
//!
//! - releases of guards that were dropped, and of acquisitions whose future was dropped: the runtime they were made on
//!   may be blocked, shutting down or gone;
//! - renewals: a body that computes without awaiting starves its own runtime, not this one;
//! - the connections of blocking calls, whose thread has no runtime, or must not block the one it has.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use tokio::runtime::{Builder, Handle};
use tokio::task;

static BACKGROUND: LazyLock<Handle> = LazyLock::new(|| {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be made while the process has file descriptors left");
    let handle = runtime.handle().clone();
    thread::Builder::new()
        .name("redlock".to_owned())
        .spawn(move || runtime.block_on(std::future::pending::<()>()))
        .expect("a thread can be started while the process has any left");
    handle
});

/// The background runtime.
pub(crate) fn background() -> &'static Handle {
    &BACKGROUND
}

/// Drives a future on this thread, with timers and sockets of the background runtime.
///
/// Works on a plain thread and inside any tokio runtime, where it blocks the worker like the sync function that
/// called it does.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut cx = Context::from_waker(&waker);
    // Inside a tokio task the budget of that task would run out and never be renewed: it would spin.
    let mut future = pin!(task::unconstrained(future));
    let _entered = background().enter();
    loop {
        match future.as_mut().poll(&mut cx) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

/// Drives a future on the caller's tokio runtime or, where there is none, with timers and sockets of the background
/// runtime; so that any executor will do.
///
/// By reference, because an async function keeps room for an argument beside what becomes of it.
pub(crate) async fn on_any_executor<F: Future>(mut future: Pin<&mut F>) -> F::Output {
    poll_fn(|cx| {
        // To ask for the task is cheaper than for the runtime, which counts who asks.
        let has_runtime = task::try_id().is_some() || Handle::try_current().is_ok();
        let _entered = (!has_runtime).then(|| background().enter());
        future.as_mut().poll(cx)
    })
    .await
}
