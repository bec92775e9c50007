//! The end of a manager: whoever waits goes away, whoever holds is told, and nothing stays on the nodes.

use std::fmt;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
#[cfg(all(feature = "signal", any(unix, windows)))]
use tokio::{runtime::Handle, task::JoinSet};

use crate::background::block_on;
use crate::clock;
use crate::error::LostReason;
use crate::lease::Lease;
use crate::manager::LockManager;
use crate::node::connection::DEAD_AFTER_TIMEOUTS;
use crate::shared::Shared;

/// Whoever was told that its lock is lost has this long to let go of it by itself; then the lock is released under it. An
/// async body needs only the time to its next await.
const LET_GO: Duration = Duration::from_millis(100);

/// How a shutdown went.
///
/// Given by [`LockManager::shutdown_within`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "it tells whether every release was confirmed"]
#[non_exhaustive]
pub struct ShutdownReport {
    /// How many locks were held when the shutdown began, and are not any more.
    pub released: usize,
    /// How many releases, these and earlier ones, some node had not confirmed when the time was over. They are sent again
    /// for up to two minutes while the process lives; if it ends, the keys there live for the rest of their TTL.
    pub unconfirmed: usize,
}

impl fmt::Display for ShutdownReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} held locks released, {} releases not confirmed", self.released, self.unconfirmed)
    }
}

impl LockManager {
    /// Ends this manager and its clones: [`Self::shutdown_within`] ten node timeouts (2.5 s unless set otherwise), which is
    /// only reached if a node does not answer.
    ///
    /// To be called at the end of a process: releases that are on their way end with it.
    ///
    /// # Cancel safety
    ///
    /// As [`Self::shutdown_within`].
    pub async fn shutdown(&self) {
        // Whoever wants to know how it went asks for a bound of his own.
        let _ = self.shutdown_within(self.usual_bound()).await;
    }

    /// Ends this manager and its clones, and returns when that is done, or `bound` is over:
    ///
    /// 1. No more locks are acquired; whoever waits for one gets [`Error::ShutDown`](crate::Error::ShutDown).
    /// 2. Whoever holds a lock is told that it is lost ([`LostReason::ShutDown`]): an async body of `#[redlock]` is dropped
    ///    at its next await, `guard.lost()` ends, `guard.is_valid()` is false. A sync body sees only the latter, and goes on.
    /// 3. What was not let go after a tenth of a second is released (after its `min_hold`, where it has one). Its guard can
    ///    be dropped whenever that suits; `guard.release()` says [`Error::Lost`](crate::Error::Lost).
    /// 4. Every release that is on its way is awaited, and no node counts a waiter of this manager any more.
    /// 5. The connections are closed, those of other runtimes as soon as these run. Only a release that was not confirmed in
    ///    time makes another one.
    ///
    /// May be called more than once, also at the same time.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: from the first poll on it goes on by itself, on whatever runtime that was.
    pub async fn shutdown_within(&self, bound: Duration) -> ShutdownReport {
        if self.check_process().is_err() {
            // What is held is the parent's.
            return ShutdownReport { released: 0, unconfirmed: 0 };
        }
        let held = self.shared.shut_down();
        let now = clock::now();
        // Before anything is released: nobody may believe to hold what another one can have.
        let told: Vec<_> = held.iter().filter(|lease| lease.is_held(now)).collect();
        for lease in &told {
            lease.lose(LostReason::ShutDown);
        }
        let released = told.len();
        let Ok(runtime) = self.shared.engine.awaited_runtime() else {
            // Without it nothing was ever sent, and nothing is held.
            self.shared.engine.close();
            return ShutdownReport { released, unconfirmed: 0 };
        };
        let ending = runtime.spawn(end(Arc::clone(&self.shared), held, bound));
        // It is never aborted.
        let unconfirmed = ending.await.unwrap_or_else(|error| resume_unwind(error.into_panic()));
        ShutdownReport { released, unconfirmed }
    }

    /// [`Self::shutdown`] for code that is not async: blocks the thread. Works on any thread, inside a tokio runtime too.
    pub fn shutdown_blocking(&self) {
        // What is missing then is what a lock would have taken.
        let _ = block_on(async {
            self.shutdown().await;
            Ok(())
        });
    }

    /// [`Self::shutdown_within`] for code that is not async: blocks the thread.
    pub fn shutdown_within_blocking(&self, bound: Duration) -> ShutdownReport {
        block_on(async { Ok(self.shutdown_within(bound).await) })
            .unwrap_or(ShutdownReport { released: 0, unconfirmed: 0 })
    }

    /// Waits for the signal that ends a process (SIGTERM or SIGINT, on Windows ctrl-c), then does what [`Self::shutdown`]
    /// does, so that another process has the locks of this one at once and not after their TTL.
    ///
    /// To be awaited beside the program's work, or spawned. From its first poll on these signals do not end the process any
    /// more: when it has ended, return from `main`.
    ///
    /// ```no_run
    /// # use redlock_runtime::{Error, LockManager};
    /// # async fn serve() {}
    /// # async fn main_of_yours(locks: LockManager) -> Result<(), Error> {
    /// tokio::select! {
    ///     () = serve() => locks.shutdown().await,
    ///     ended = locks.shutdown_on_signal() => println!("{}", ended?),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Config`](crate::Error::Config) if the system does not let the process handle the signals.
    ///
    /// # Cancel safety
    ///
    /// Dropped before a signal came, it does nothing more, but the signals still do not end the process. Dropped behind it,
    /// the shutdown goes on.
    #[cfg(all(feature = "signal", any(unix, windows)))]
    pub fn shutdown_on_signal(
        &self,
    ) -> impl Future<Output = Result<ShutdownReport, crate::Error>> + Send + 'static + use<> {
        let locks = self.clone();
        async move {
            // Now, not when a task is polled for the first time: a signal before that ends the process.
            let background = crate::background::background()?;
            let signal = signalled(background).map_err(|error| crate::Error::Config {
                reason: format!("the signals that end this process cannot be handled: {error}"),
            })?;
            // Where nothing that the program does can block it. Dropping this future drops the set, which ends it.
            let mut listening = JoinSet::new();
            let ending = async move {
                signal.await;
                locks.shutdown_within(locks.usual_bound()).await
            };
            listening.spawn_on(ending, background);
            let Some(ended) = listening.join_next().await else { unreachable!("a task was spawned") };
            Ok(ended.unwrap_or_else(|error| resume_unwind(error.into_panic())))
        }
    }

    fn usual_bound(&self) -> Duration {
        self.shared.engine.node_timeout() * DEAD_AFTER_TIMEOUTS
    }
}

/// Listens from now on; what is returned ends when the system asks the process to end.
#[cfg(all(feature = "signal", unix))]
fn signalled(background: &Handle) -> std::io::Result<impl Future<Output = ()> + Send> {
    use tokio::signal::unix::{SignalKind, signal};

    let _entered = background.enter();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Listens from now on; what is returned ends when the system asks the process to end.
#[cfg(all(feature = "signal", windows))]
fn signalled(background: &Handle) -> std::io::Result<impl Future<Output = ()> + Send> {
    let _entered = background.enter();
    let mut interrupt = tokio::signal::windows::ctrl_c()?;
    Ok(async move {
        interrupt.recv().await;
    })
}

/// Releases what is held; returns how many releases were not confirmed within the bound.
async fn end(shared: Arc<Shared>, held: Vec<Arc<Lease>>, bound: Duration) -> usize {
    let let_go = LET_GO.min(bound / 2);
    let releases = async {
        let each = held.iter().map(|lease| tokio::spawn(release(Arc::clone(&shared), Arc::clone(lease), let_go)));
        for releasing in each.collect::<Vec<_>>() {
            // What went wrong there is made up for below.
            let _ = releasing.await;
        }
        shared.engine.debts().settled().await;
    };
    let _ = timeout(bound, async { tokio::join!(releases, shared.statistics.close()) }).await;
    for lease in &held {
        release_now(&shared, lease);
    }
    let unconfirmed = shared.engine.debts().open();
    shared.engine.close();
    unconfirmed
}

/// Releases a lock that its holder does not let go of in this time.
async fn release(shared: Arc<Shared>, lease: Arc<Lease>, let_go: Duration) {
    if timeout(let_go, lease.until_over()).await.is_err() {
        lease.end().await;
        release_now(&shared, &lease);
    }
}

fn release_now(shared: &Shared, lease: &Lease) {
    lease.end_now();
    shared.renewals.stop(lease);
    if let Some(hold) = lease.take_hold() {
        hold.release_in_background(());
    }
}
