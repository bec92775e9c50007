//! Waiting for conditions: bounded, and with a message that says what did not come.
//!
//! Tests wait for what they need, never for a time, so that they are as fast as the machine and do not fail on
//! a slow one. The bound is generous because it is only reached by a test that fails.

use std::fmt::Display;
use std::future::Future;
use std::panic::Location;
use std::thread;
use std::time::Duration;

use crate::clock;

/// How long a condition may take to come true; also on a machine that is busy with something else.
pub const LIMIT: Duration = Duration::from_secs(30);

/// How long servers may take to agree on something among themselves, which they do in seconds.
const LONG_LIMIT: Duration = Duration::from_secs(90);

/// How long to leave the machine alone between two looks at a condition.
const PAUSE: Duration = Duration::from_millis(5);

/// Waits until `condition` holds.
///
/// # Panics
///
/// After [`LIMIT`], with `what` in the message: `eventually("the key is gone", …)`.
#[track_caller]
pub fn eventually(what: impl Display, mut condition: impl FnMut() -> bool) {
    eventually_some(what, || condition().then_some(()));
}

/// Waits until `condition` holds, for as long as is promised.
///
/// # Panics
///
/// After `promised`, with `what` in the message.
#[track_caller]
pub fn as_promised(promised: Duration, what: impl Display, mut condition: impl FnMut() -> bool) {
    let found = within(promised, || condition().then_some(()));
    found.unwrap_or_else(|| panic!("waited {promised:?}, as long as is promised, in vain: {what}"));
}

/// Waits until `find` finds something, and returns it.
///
/// # Panics
///
/// After [`LIMIT`], with `what` in the message.
#[track_caller]
pub fn eventually_some<T>(what: impl Display, mut find: impl FnMut() -> Option<T>) -> T {
    within(LIMIT, &mut find).unwrap_or_else(|| panic!("waited {LIMIT:?} in vain: {what}"))
}

/// Like [`eventually_some`], for what several servers agree on among themselves.
///
/// # Panics
///
/// After ninety seconds, with `what` in the message.
#[track_caller]
pub fn long_eventually_some<T>(what: impl Display, mut find: impl FnMut() -> Option<T>) -> T {
    within(LONG_LIMIT, &mut find).unwrap_or_else(|| panic!("waited {LONG_LIMIT:?} in vain: {what}"))
}

/// Waits until `condition` holds, and lets other tasks of the runtime go on meanwhile.
///
/// The bound is real time, also under a paused clock; but sockets never belong under one.
///
/// # Panics
///
/// After [`LIMIT`], with `what` in the message and the caller's place.
#[track_caller]
pub fn eventually_async(what: impl Display, mut condition: impl AsyncFnMut() -> bool) -> impl Future<Output = ()> {
    eventually_some_async(what, async move || condition().await.then_some(()))
}

/// Like [`eventually_async`], until `find` finds something, which it returns.
///
/// # Panics
///
/// As [`eventually_async`].
#[track_caller]
pub fn eventually_some_async<T>(
    what: impl Display,
    mut find: impl AsyncFnMut() -> Option<T>,
) -> impl Future<Output = T> {
    // The test's line, which a panic inside an `async` block would not show.
    let caller = Location::caller();
    async move {
        let started = clock::now();
        loop {
            if let Some(found) = find().await {
                return found;
            }
            assert!(started.elapsed() < LIMIT, "waited {LIMIT:?} in vain, at {caller}: {what}");
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// What `find` finds within `limit`; `None` if that is over, for callers that can say more than "in vain".
pub(crate) fn within<T>(limit: Duration, mut find: impl FnMut() -> Option<T>) -> Option<T> {
    let started = clock::now();
    loop {
        let found = find();
        if found.is_some() || started.elapsed() >= limit {
            return found;
        }
        thread::sleep(PAUSE);
    }
}
