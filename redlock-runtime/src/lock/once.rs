//! One run per fire: which fire a lock is asked for, the body that is run for it, and its completion.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::sync::Arc;

use super::body::{caught, tell_end, until_lost};
use super::fire::{HeldFire, not_completed};
use super::guard::{LockGuard, Work};
use super::request::LockRequest;
use crate::Error;
use crate::engine::Engine;
use crate::error::LostReason;
use crate::held::deadlock::within;
use crate::platform::background::{block_on, on_any_executor};
use crate::platform::clock;
use crate::values::fire::{IntoFire, OnceAt};

/// What became of a body that runs if it gets its lock.
///
/// ```
/// use redlock_runtime::Run;
/// # use redlock_runtime::{Error, LockManager};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
/// let report = async || locks.lock("report").once(7_u64).run(async |_| Ok::<_, Error>("365 pages")).await;
/// match report().await? {
///     Run::Ran(pages) => assert_eq!(pages, "365 pages"),
///     Run::Skipped(reason) => println!("nothing to do: {reason:?}"),
/// }
/// assert_eq!(report().await?.ran(), None); // it already ran
/// # Ok::<(), Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "it says whether the body ran"]
pub enum Run<T> {
    /// It ran to its end, and returned this.
    Ran(T),
    /// It did not run, and nothing is wrong.
    Skipped(SkipReason),
}

/// Why a body did not run.
///
/// ```
/// use redlock_runtime::{Run, SkipReason, Timeout};
/// # use redlock_runtime::{Error, LockManager};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
/// let _elsewhere = locks.lock("report").acquire().await?;
/// let ran = locks.lock("report").timeout(Timeout::Skip).run(async |_| Ok::<(), Error>(())).await?;
/// let told = match ran {
///     Run::Ran(()) => "written",
///     Run::Skipped(SkipReason::HeldElsewhere) => "somebody else is at it",
///     Run::Skipped(SkipReason::AlreadyRan { .. }) => "written before",
///     Run::Skipped(_) => "skipped",
/// };
/// assert_eq!(told, "somebody else is at it");
/// # Ok::<(), Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SkipReason {
    /// Another owner held the lock until the timeout was over.
    HeldElsewhere,
    /// The fire was completed before, or a later one was, which stands for all before it: see [`Error::AlreadyRan`].
    AlreadyRan {
        /// The greatest completed fire, as far as is known.
        completed: u64,
    },
}

impl<T> Run<T> {
    /// The body's value, if it ran.
    pub fn ran(self) -> Option<T> {
        match self {
            Self::Ran(value) => Some(value),
            Self::Skipped(_) => None,
        }
    }
}

impl LockRequest {
    /// Acquires the lock for one run of a job: if the [fire](crate::Fire) was completed before, by any process, the request ends with
    /// [`Error::AlreadyRan`]. Complete the fire with [`LockGuard::complete`]; [`run`](Self::run) does both.
    ///
    /// Two runs are never under way at once; and a completed fire does not run again while a majority of the nodes keep their
    /// marks, of which one may restart empty in a week ([`marks_retention`](crate::LockManagerBuilder::marks_retention)). If its
    /// process dies between the end of the body and the mark, the fire may run again: where that matters, hand
    /// [`fire`](LockGuard::fire) and the fencing token to the store that the body writes to.
    ///
    /// The request's `timeout` decides what becomes of a run that fails: with [`Timeout::Skip`](crate::Timeout::Skip) the others have
    /// left by then, and with a longer one they stand by, and the next of them runs.
    ///
    /// More in [Cron jobs](crate::pages::cron).
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use redlock_runtime::{Error, LockManager, Timeout};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
    /// let hour = Duration::from_secs(3600);
    /// let report = || locks.lock("report").once(hour).timeout(Timeout::Skip);
    /// report().acquire().await?.complete().await?;
    /// assert!(matches!(report().acquire().await, Err(Error::AlreadyRan { .. }))); // in this hour
    /// # Ok::<(), Error>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// Acquiring is an [`Error::AlreadyRan`] for a completed fire, an [`Error::FireInDoubt`] if too few nodes can know of it, and an
    /// [`Error::Config`] for a fire that cannot be one: number 0 or above 2⁵³ − 1, a moment before 1970 or more than
    /// [`max_clock_skew`](crate::LockManagerBuilder::max_clock_skew) ahead, or a period of less than a second or more than `marks_retention`.
    pub fn once(mut self, fire: impl IntoFire) -> Self {
        self.once = Some(fire.into_fire());
        self
    }

    /// When the fire of [`once`](Self::once) is marked as completed. Default: [`OnceAt::End`].
    ///
    /// ```
    /// # use redlock_runtime::{Error, LockManager, OnceAt};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
    /// let remind = async || {
    ///     let request = locks.lock("reminder").once(17_u64).once_at(OnceAt::Start);
    ///     request.run(async |_| Err::<(), Box<dyn std::error::Error>>("the mail server hung up".into())).await
    /// };
    /// assert!(remind().await.is_err());
    /// assert_eq!(remind().await.unwrap().ran(), None); // the first one may have sent it
    /// # Ok::<(), Error>(())
    /// # }).unwrap();
    /// ```
    pub fn once_at(mut self, once_at: OnceAt) -> Self {
        self.once_at = once_at;
        self
    }

    /// Acquires the lock, runs the body, and releases the lock; with [`once`](Self::once), completes the fire if the body returned
    /// `Ok`.
    ///
    /// If the lock is lost while the body runs, its future is dropped at its next await, as the body of an annotated function is.
    /// What the body returns wins over whatever is wrong with the lock at its end: an ERROR event tells of a fire that was not
    /// [completed](Error::NotCompleted), a WARN event of a lock that was not released.
    ///
    /// ```
    /// # use redlock_runtime::{Error, Fire, LockManager, Run, SkipReason, Timeout};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
    /// let report = async |batch: u64| {
    ///     let request = locks.lock("report").once(Fire::from(batch)).timeout(Timeout::Skip);
    ///     request.run(async |guard| Ok::<_, Error>(guard.fire())).await
    /// };
    /// assert_eq!(report(7).await?, Run::Ran(Some(7)));
    /// assert_eq!(report(7).await?, Run::Skipped(SkipReason::AlreadyRan { completed: 7 }));
    /// # Ok::<(), Error>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// Those of the body, which complete no fire. Those of [`Self::acquire`], but [`Error::NotAcquired`] and
    /// [`Error::AlreadyRan`]: these are [`Run::Skipped`]. [`Error::Lost`].
    ///
    /// # Cancel safety
    ///
    /// Dropped at any await, the body is dropped, and then the lock is released in the background; its fire is not completed, unless
    /// the body had returned.
    pub async fn run<T, E: From<Error>>(self, body: impl AsyncFnOnce(&LockGuard) -> Result<T, E>) -> Result<Run<T>, E> {
        let guard = match self.acquire().await {
            Ok(guard) => guard,
            Err(error) => return skipped(error),
        };
        let value = caught(until_lost(&guard, pin!(body(&guard)))).await;
        let name = guard.name().to_owned();
        tell_end(&name, guard.finish(matches!(value, Ok(Ok(_)))).await);
        // Behind the release: whoever catches a panic may try again at once.
        value.unwrap_or_else(|panic| resume_unwind(panic)).map(Run::Ran)
    }

    /// [`Self::run`] for code that is not async: blocks the thread. A body is not stopped by the loss of the lock.
    ///
    /// # Errors
    ///
    /// Those of [`Self::run`], but [`Error::Lost`].
    pub fn run_blocking<T, E: From<Error>>(self, body: impl FnOnce(&LockGuard) -> Result<T, E>) -> Result<Run<T>, E> {
        let guard = match self.acquire_blocking() {
            Ok(guard) => guard,
            Err(error) => return skipped(error),
        };
        let value = catch_unwind(AssertUnwindSafe(|| within(guard.lease(), || body(&guard))));
        let name = guard.name().to_owned();
        tell_end(&name, guard.finish_blocking(matches!(value, Ok(Ok(_)))));
        value.unwrap_or_else(|panic| resume_unwind(panic)).map(Run::Ran)
    }
}

/// What a request without a lock comes to.
fn skipped<T, E: From<Error>>(error: Error) -> Result<Run<T>, E> {
    match error {
        Error::NotAcquired { .. } => Ok(Run::Skipped(SkipReason::HeldElsewhere)),
        Error::AlreadyRan { completed, .. } => Ok(Run::Skipped(SkipReason::AlreadyRan { completed })),
        error => Err(error.into()),
    }
}

impl LockGuard {
    /// The fire that the lock was acquired for, as the number that [`Fire`](crate::Fire) explains; `None` without
    /// [`once`](LockRequest::once). For what the lock protects: a store that has seen this fire refuses it, whoever comes with it.
    ///
    /// ```
    /// # use redlock_runtime::LockManager;
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
    /// let guard = locks.lock("import").once(7_u64).acquire().await?;
    /// assert_eq!(guard.fire(), Some(7)); // INSERT INTO imported (fire) VALUES (7), which has to be unique
    /// guard.complete().await?;
    /// # Ok::<(), redlock_runtime::Error>(())
    /// # }).unwrap();
    /// ```
    #[must_use]
    pub fn fire(&self) -> Option<u64> {
        self.fire.as_ref().map(|fire| fire.mark.stored.fire)
    }

    /// Marks the fire as completed and releases the lock, in one step on each node; returns when a majority has confirmed. From
    /// then on the fire does not run again.
    ///
    /// With [`OnceAt::Start`] the fire is marked already: then this is a [release](Self::release). However it ends, the lock is
    /// released.
    ///
    /// ```
    /// # use redlock_runtime::{Error, LockManager};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
    /// let guard = locks.lock("import").once(7_u64).acquire().await?;
    /// println!("imports batch {:?}", guard.fire());
    /// guard.complete().await?;
    /// assert!(matches!(locks.lock("import").once(7_u64).acquire().await, Err(Error::AlreadyRan { .. })));
    /// # Ok::<(), redlock_runtime::Error>(())
    /// # })?;
    /// # Ok::<(), redlock_runtime::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::NotCompleted`] if too few nodes confirmed before the lock would have been lost: the fire may run again.
    /// [`Error::Lost`] if it was lost before. [`Error::Config`] for a lock that was acquired without [`once`](LockRequest::once).
    ///
    /// # Cancel safety
    ///
    /// Dropped before it ended, both go on in the background.
    pub async fn complete(self) -> Result<(), Error> {
        let uses = self.uses();
        on_any_executor(uses, pin!(self.complete_fire())).await
    }

    /// [`Self::complete`] for code that is not async; blocks the thread.
    ///
    /// # Errors
    ///
    /// Those of [`Self::complete`].
    pub fn complete_blocking(self) -> Result<(), Error> {
        block_on(self.complete_fire())
    }

    /// Marks the fire of a lock that was just acquired, where that is due before its body. The lock is held and renewed meanwhile, so a
    /// shutdown leaves it the time that all holders have.
    ///
    /// # Errors
    ///
    /// The mark may be on some of the nodes, or all: then nobody runs the fire.
    pub(super) async fn marked_before_body(self) -> Result<Self, Error> {
        let Some(HeldFire { mark, at: OnceAt::Start, keep_until }) = self.fire.as_deref().copied() else {
            return Ok(self);
        };
        let lease = Arc::clone(self.lease());
        let lost = |reason| match reason {
            LostReason::ShutDown => Error::ShutDown,
            reason => lease.lost_error(reason),
        };
        match lease.mark_before_body(mark).await {
            Some(Ok(())) => {}
            Some(Err(not)) => return Err(not_completed(self.shared(), &lease.name, mark.stored.fire, not)),
            None => return Err(lost(LostReason::ShutDown)),
        }
        // Nobody begins what he is to end at once.
        let cancelled = self.shared().cancels_bodies().then_some(LostReason::ShutDown);
        if let Some(reason) = lease.told_reason(clock::now()).or(cancelled) {
            return Err(lost(reason));
        }
        lease.keep_until(keep_until);
        Ok(self)
    }

    /// Whether its fire is marked before its body.
    pub(super) fn is_marked_before_body(&self) -> bool {
        self.fire.as_ref().is_some_and(|fire| fire.at == OnceAt::Start)
    }

    /// What its fire is completed with behind a body that ended well, if there is one to complete.
    pub(crate) fn engine_that_completes(&self) -> Option<Arc<Engine>> {
        self.fire.as_ref().filter(|fire| fire.at == OnceAt::End).map(|_| Arc::clone(&self.shared().engine))
    }

    /// Ends what a body did: completes the fire that it ran for, if it ended well, or releases the lock.
    pub(crate) async fn finish(self, is_success: bool) -> Result<(), Error> {
        if is_success && self.fire.is_some() {
            Box::pin(self.complete()).await
        } else {
            self.release_behind(Work::is_done_if(is_success)).await
        }
    }

    /// [`Self::finish`] for code that is not async; blocks the thread.
    pub(crate) fn finish_blocking(self, is_success: bool) -> Result<(), Error> {
        if is_success && self.fire.is_some() {
            self.complete_blocking()
        } else {
            self.release_blocking_behind(Work::is_done_if(is_success))
        }
    }

    async fn complete_fire(self) -> Result<(), Error> {
        let Some(HeldFire { mark, at, keep_until }) = self.fire.as_deref().copied() else {
            let reason =
                "the lock was acquired for no fire, so there is none to complete; say which with `once`, or release it";
            return Err(Error::Config { reason: reason.to_owned() });
        };
        if at == OnceAt::Start {
            return self.give_back(Work::IsDone).await;
        }
        self.check_process()?;
        if let Some(reason) = self.lease().lost_reason(clock::now()) {
            let lost = self.lease().lost_error(reason);
            // It is lost, and whatever its release comes to adds nothing.
            let _ = self.give_back(Work::Failed).await;
            return Err(lost);
        }
        // From here on a drop of this future completes the fire, too.
        self.lease().set_mark(mark);
        self.lease().keep_until(keep_until);
        let (shared, lease) = (Arc::clone(self.shared()), Arc::clone(self.lease()));
        let completed = self.end_with(|acquisition| acquisition.complete(mark, lease.valid_until())).await;
        completed.map_err(|not| not_completed(&shared, &lease.name, mark.stored.fire, not))?;
        shared.run_ended(&lease);
        Ok(())
    }
}
