//! The end of a manager: those who wait are let go, those who hold may finish, and nothing stays on the nodes that nobody holds.

use std::fmt;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use crate::error::LostReason;
use crate::held::lease::Lease;
use crate::lock::shared::Shared;
use crate::manager::LockManager;
use crate::platform::background::block_on;
use crate::platform::clock;
#[cfg(all(feature = "signal", any(unix, windows)))]
use crate::platform::tasks::{Handle, JoinSet};
use crate::protocol::DEAD_AFTER_TIMEOUTS;
use crate::shown::shown;
use crate::values::on_shutdown::OnShutdown;

/// How long [`LockManager::shutdown`] takes at the most: less than the ten seconds after which a container that does not end
/// is killed (`docker stop`), so that the program has as long again for the rest.
const USUAL_BOUND: Duration = Duration::from_secs(5);

/// So long before the end of a shutdown's time an async body that may finish is cancelled after all: it needs only the time
/// to its next await to be dropped, and its lock a round trip (or two, of which each may take a node's timeout) to be released.
const LET_GO: Duration = Duration::from_millis(100);

/// How a shutdown went.
///
/// Given by [`LockManager::shutdown_within`].
///
/// ```
/// # use std::time::Duration;
/// # use redlock_runtime::LockManager;
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
/// let _kept = locks.lock("report").acquire().await?;
/// let report = locks.shutdown_within(Duration::from_millis(50)).await;
/// assert_eq!((report.released, report.unconfirmed), (0, 0));
/// assert_eq!(report.still_held, ["report"]);
/// assert_eq!(report.to_string(), "no lock was released; still held: `report`");
/// # Ok::<(), redlock_runtime::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "it tells which locks are still held, and whether every release was confirmed"]
#[non_exhaustive]
pub struct ShutdownReport {
    /// How many locks were held when the shutdown began, and were let go since.
    pub released: usize,
    /// The names of the locks whose holders had not let go when the time was over, such as a sync body that still runs. Their
    /// keys are not renewed any more, and live until they are let go after all, or for the rest of their TTL.
    pub still_held: Vec<String>,
    /// How many releases, these and earlier ones, some node had not confirmed when the time was over. They are sent again
    /// for up to two minutes while the process lives; if it ends, the keys there live for the rest of their TTL.
    pub unconfirmed: usize,
}

impl ShutdownReport {
    const fn nothing() -> Self {
        Self { released: 0, still_held: Vec::new(), unconfirmed: 0 }
    }
}

impl fmt::Display for ShutdownReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// More names than these are only counted.
        const SHOWN: usize = 8;

        match (self.released, self.still_held.len()) {
            (0, 0) => f.write_str("no lock was held")?,
            (0, _) => f.write_str("no lock was released")?,
            (1, _) => f.write_str("1 lock was released")?,
            (released, _) => write!(f, "{released} locks were released")?,
        }
        match self.unconfirmed {
            0 => {}
            1 => f.write_str("; 1 release is not confirmed by every node yet")?,
            unconfirmed => write!(f, "; {unconfirmed} releases are not confirmed by every node yet")?,
        }
        for (place, name) in self.still_held.iter().take(SHOWN).enumerate() {
            write!(f, "{} `{}`", if place == 0 { "; still held:" } else { "," }, shown(name))?;
        }
        match self.still_held.len().checked_sub(SHOWN) {
            None | Some(0) => Ok(()),
            Some(more) => write!(f, " and {more} more"),
        }
    }
}

impl LockManager {
    /// Ends this manager and its clones: [`Self::shutdown_within`] five seconds, or ten node timeouts if that is longer. It takes so
    /// long only if a lock is not released, or a node does not answer.
    ///
    /// To be called at the end of a process: releases that are on their way end with it. Drop your guards before: one that is
    /// kept counts as a body that still runs.
    ///
    /// ```
    /// # use redlock_runtime::{Error, LockManager};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
    /// let guard = locks.lock("report").acquire().await?;
    /// drop(guard); // released in the background
    ///
    /// locks.shutdown().await; // waits for that
    /// assert!(matches!(locks.lock("report").acquire().await, Err(Error::ShutDown)));
    /// # Ok::<(), Error>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Cancel safety
    ///
    /// As [`Self::shutdown_within`].
    pub async fn shutdown(&self) {
        // Whoever wants to know how it went asks for a bound of his own. What went wrong is in the log.
        let _ = self.shutdown_within(self.usual_bound()).await;
    }

    /// Ends this manager and its clones, and returns when that is done, or `bound` is over:
    ///
    /// 1. No more locks are acquired; whoever waits for one gets [`Error::ShutDown`](crate::Error::ShutDown) at once.
    /// 2. Whoever holds a lock may finish: the key stays, and is renewed, until the body has ended or the guard is gone, and is
    ///    released then (after its `min_hold`, where it has one).
    ///    A [leader](crate::Lead) has no end of its own, so [`Term::lost`](crate::Term::lost) ends at once.
    /// 3. Shortly before `bound` is over (a tenth of a second and two node timeouts, at most a quarter of `bound`) those who are
    ///    left are asked to let go; with [`OnShutdown::Cancel`] at once. The lock is lost to them
    ///    ([`LostReason::ShutDown`]): an async body of `#[redlock]` is dropped at its next await, `guard.lost()` ends,
    ///    `guard.is_valid()` is false. But nobody else gets the lock yet: a sync body, one with `on_lost = "continue"`, and a
    ///    guard that is kept still have it.
    /// 4. Every release that is on its way is awaited, and so are the labels of locks that were detached; and no node counts a waiter of this
    ///    manager any more.
    /// 5. When `bound` is over, what is still held is not renewed any more. It is not released under its holder either, because
    ///    two would be inside then: its key lives until the holder lets go after all, or for the rest of its TTL. The report
    ///    names these locks, and so does an event at WARN.
    /// 6. The connections are closed, those of other runtimes as soon as these run. Only a release that comes later makes
    ///    another one.
    ///
    /// May be called more than once, also at the same time; one with a shorter bound ends the others.
    ///
    /// A call of a `#[redlock]` function that can return no error and is not silent does not return once the manager is shut
    /// down: the process is ending. An async one stays pending until its future is dropped. A sync one blocks its thread until
    /// the tokio runtime that the thread belongs to is shut down, and then ends quietly, by unwinding; on any other thread
    /// until the process ends.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use redlock_runtime::{Error, LockManager};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
    /// let report = locks.shutdown_within(Duration::from_secs(5)).await;
    /// assert_eq!(report.to_string(), "no lock was held");
    /// assert!(matches!(locks.lock("invoice:7").acquire().await, Err(Error::ShutDown)));
    /// # Ok::<(), redlock_runtime::Error>(())
    /// # })?;
    /// # Ok::<(), redlock_runtime::Error>(())
    /// ```
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: from the first poll on it goes on by itself, on whatever runtime that was.
    pub async fn shutdown_within(&self, bound: Duration) -> ShutdownReport {
        if self.check_process().is_err() {
            // What is held is the parent's.
            return ShutdownReport::nothing();
        }
        let mut held = self.shared.shut_down();
        let now = clock::now();
        held.retain(|lease| lease.is_of_a_shutdown(now));
        let Ok(runtime) = self.shared.engine.awaited_runtime() else {
            // Without it nothing was ever sent, and nothing is held.
            self.shared.engine.close();
            return ShutdownReport::nothing();
        };
        let ending = runtime.spawn(end(Arc::clone(&self.shared), held, bound));
        // It is never aborted.
        ending.await.unwrap_or_else(|error| resume_unwind(error.into_panic()))
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
        block_on(async { Ok(self.shutdown_within(bound).await) }).unwrap_or(ShutdownReport::nothing())
    }

    /// Waits for the signal that ends a process (SIGTERM or SIGINT, on Windows ctrl-c), then does what [`Self::shutdown`]
    /// does, so that another process gets the locks when they are released, not after a TTL.
    ///
    /// To be awaited beside the program's work, or spawned. Once it was polled, the first of these signals no longer ends the
    /// process: when this has ended, return from `main`. A second one ends the process at once, with the exit code
    /// 130 (SIGINT) or 143 (SIGTERM), whatever it is doing.
    ///
    /// ```
    /// # use redlock_runtime::{Error, LockManager};
    /// # async fn serve() {}
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
    /// tokio::select! {
    ///     () = serve() => locks.shutdown().await,
    ///     ended = locks.shutdown_on_signal() => println!("{}", ended?),
    /// }
    /// # Ok::<(), Error>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Config`](crate::Error::Config) if the system does not let the process handle the signals.
    ///
    /// # Cancel safety
    ///
    /// Dropped before a signal came, it does nothing more, but the signals still do not end the process. Dropped after it,
    /// the shutdown goes on.
    #[cfg(all(feature = "signal", any(unix, windows)))]
    pub fn shutdown_on_signal(
        &self,
    ) -> impl Future<Output = Result<ShutdownReport, crate::Error>> + Send + 'static + use<> {
        self.shutdown_on_signal_within(self.usual_bound())
    }

    /// [`Self::shutdown_on_signal`] with a bound of your own: what your platform leaves a process between SIGTERM and SIGKILL,
    /// less what the rest of the program needs (30 s in Kubernetes unless `terminationGracePeriodSeconds` says otherwise).
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use redlock_runtime::{Error, LockManager};
    /// # async fn serve() {}
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
    /// let bound = Duration::from_secs(20); // of the 30 that Kubernetes leaves
    /// tokio::select! {
    ///     () = serve() => println!("{}", locks.shutdown_within(bound).await),
    ///     ended = locks.shutdown_on_signal_within(bound) => println!("{}", ended?),
    /// }
    /// # Ok::<(), Error>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Self::shutdown_on_signal`].
    ///
    /// # Cancel safety
    ///
    /// As [`Self::shutdown_on_signal`].
    #[cfg(all(feature = "signal", any(unix, windows)))]
    pub fn shutdown_on_signal_within(
        &self,
        bound: Duration,
    ) -> impl Future<Output = Result<ShutdownReport, crate::Error>> + Send + 'static + use<> {
        let locks = self.clone();
        async move {
            // Now, not when a task is polled for the first time: a signal before that ends the process.
            let background = crate::platform::background::background()?;
            let mut signals = Signals::listen(background).map_err(|error| crate::Error::Config {
                reason: format!("the signals that end this process cannot be handled: {error}"),
            })?;
            // Where nothing that the program does can block it. Dropping this future drops the set, which ends it.
            let mut listening = JoinSet::new();
            let ending = async move {
                signals.next().await;
                // However long the shutdown takes, and whatever the program does then: who asks twice does not want to wait.
                background.spawn(async move {
                    let exit_code = signals.next().await;
                    tracing::warn!("a second signal came: the process ends now");
                    std::process::exit(exit_code);
                });
                locks.shutdown_within(bound).await
            };
            listening.spawn_on(ending, background);
            let Some(ended) = listening.join_next().await else { unreachable!("a task was spawned") };
            Ok(ended.unwrap_or_else(|error| resume_unwind(error.into_panic())))
        }
    }

    fn usual_bound(&self) -> Duration {
        USUAL_BOUND.max(self.shared.engine.node_timeout() * DEAD_AFTER_TIMEOUTS)
    }
}

/// The signals by which the system asks the process to end.
#[cfg(all(feature = "signal", unix))]
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(all(feature = "signal", unix))]
impl Signals {
    /// Listens from now on.
    fn listen(background: &Handle) -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};

        let _entered = background.enter();
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next one; returns what a shell calls the end of a process by it, 128 and the signal's number.
    async fn next(&mut self) -> i32 {
        tokio::select! {
            _ = self.terminate.recv() => 128 + 15,
            _ = self.interrupt.recv() => 128 + 2,
        }
    }
}

/// The signals by which the system asks the process to end.
#[cfg(all(feature = "signal", windows))]
struct Signals(tokio::signal::windows::CtrlC);

#[cfg(all(feature = "signal", windows))]
impl Signals {
    /// Listens from now on.
    fn listen(background: &Handle) -> std::io::Result<Self> {
        let _entered = background.enter();
        Ok(Self(tokio::signal::windows::ctrl_c()?))
    }

    /// Waits for the next one; returns what the system calls the end of a process by it, `STATUS_CONTROL_C_EXIT`.
    async fn next(&mut self) -> i32 {
        self.0.recv().await;
        0xC000_013A_u32.cast_signed()
    }
}

/// Lets those who hold a lock finish, or asks them to let go, and waits until nothing is on its way, within the bound.
async fn end(shared: Arc<Shared>, held: Vec<Arc<Lease>>, bound: Duration) -> ShutdownReport {
    let time_to_finish = match shared.on_shutdown {
        OnShutdown::Drain => bound.saturating_sub((LET_GO + 2 * shared.engine.node_timeout()).min(bound / 4)),
        OnShutdown::Cancel => Duration::ZERO,
    };
    let all_let_go = async || {
        for lease in &held {
            lease.until_let_go().await;
        }
    };
    held.iter().filter(|lease| lease.is_endless()).for_each(|lease| lease.recall());
    let releases = async {
        if timeout(time_to_finish, all_let_go()).await.is_err() {
            for lease in &held {
                lease.recall();
            }
            all_let_go().await;
        }
        shared.engine.tracked_releases().all_confirmed().await;
    };
    let notes = async { tokio::join!(shared.statistics.close(), shared.labels.all_left()) };
    let _ = timeout(bound, async { tokio::join!(releases, notes) }).await;
    let (let_go, kept): (Vec<_>, Vec<_>) = held.iter().partition(|lease| lease.is_over());
    let mut still_held = Vec::new();
    for lease in kept.into_iter().filter(|lease| lease.is_of_a_shutdown(clock::now())) {
        // Its key stays for its holder, who releases it with the guard.
        lease.lose(LostReason::ShutDown);
        shared.renewals.stop(lease);
        still_held.push(lease.name.as_str().to_owned());
    }
    let report =
        ShutdownReport { released: let_go.len(), still_held, unconfirmed: shared.engine.tracked_releases().open() };
    shared.engine.close();
    shared.statistics.end();
    if report.still_held.is_empty() {
        tracing::info!("the lock manager was shut down: {report}");
    } else {
        tracing::warn!(
            "the lock manager was shut down while locks are held, which live for the rest of their TTL: {report}"
        );
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_says_in_plain_words_what_became_of_the_locks() {
        let told = |released, still_held: &[&str], unconfirmed| {
            let still_held = still_held.iter().map(|name| (*name).to_owned()).collect();
            ShutdownReport { released, still_held, unconfirmed }.to_string()
        };
        assert_eq!(told(0, &[], 0), "no lock was held");
        assert_eq!(told(1, &[], 0), "1 lock was released");
        assert_eq!(told(2, &[], 1), "2 locks were released; 1 release is not confirmed by every node yet");
        assert_eq!(told(0, &[], 3), "no lock was held; 3 releases are not confirmed by every node yet");
        assert_eq!(told(0, &["a", "b"], 0), "no lock was released; still held: `a`, `b`");
        assert_eq!(
            told(1, &["a"; 10], 0),
            format!("1 lock was released; still held: {}`a` and 2 more", "`a`, ".repeat(7))
        );
    }
}
