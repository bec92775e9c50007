//! Leadership: of all processes of a fleet one leads, and when it ends another does.

use std::borrow::Cow;
use std::fmt;
use std::panic::resume_unwind;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;

use super::body::{caught, tell_end, until_gone};
use super::guard::LockGuard;
use super::request::LockRequest;
use crate::held::deadlock::within;
use crate::held::lease::Lease;
use crate::platform::background::{block_on, on_any_executor};
use crate::platform::{clock, entropy};
use crate::protocol::{TermEnd, TermPauses, stand_back};
use crate::shown::shown;
use crate::{Error, IntoDuration};

/// A process that wants to lead: made by [`LockManager::lead`](crate::LockManager::lead).
///
/// Whoever leads holds an ordinary lock of that name, with all that comes with one: it is renewed, its loss is told, and each
/// [`Term`] has a fencing token that is greater than those of all earlier terms.
///
/// ```
/// # use std::time::Duration;
/// # use redlock_runtime::{Error, LockManager};
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
/// let candidate = locks.lead("scheduler").ttl(Duration::from_secs(10)).owner_label("eu-1");
/// candidate
///     .run(async |term| {
///         println!("{} is led, with fencing token {}", term.name(), term.fencing_token());
/// #       locks.shutdown().await;
///         Ok::<(), Error>(())
///     })
///     .await?;
/// # Ok::<(), Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug)]
#[must_use = "nobody campaigns until `run` or `watch` is called"]
pub struct Lead {
    /// The lock that the leader holds.
    pub(crate) request: LockRequest,
}

/// The time for which this process leads.
///
/// Dropping it ends the term; the next leader follows as soon as the release has reached a majority of the nodes.
///
/// ```
/// # use redlock_runtime::{Error, LockManager};
/// # async fn plan(_: u64) -> Result<(), Error> { Ok(()) }
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
/// # let mut steps = 0;
/// locks
///     .lead("scheduler")
///     .run(async |term| {
///         assert_eq!(term.name(), "scheduler");
///         while term.is_leader() {
///             plan(term.fencing_token()).await?; // the store refuses a smaller one than it has seen
/// #           steps += 1;
/// #           if steps == 3 { locks.shutdown().await }
///         }
///         Ok::<(), Error>(())
///     })
///     .await?;
/// # Ok::<(), Error>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
#[must_use = "a term that is dropped at once ends at once"]
pub struct Term {
    /// Held until the term is over.
    guard: Option<LockGuard>,
    /// What others see of it.
    state: Arc<TermState>,
}

/// What is known of a term from outside.
#[derive(Debug, Default)]
struct TermState {
    /// Whether the leader gave it up.
    is_resigned: AtomicBool,
    /// Whether it is over.
    is_over: AtomicBool,
    /// Told when it is.
    over: Notify,
}

impl Lead {
    pub(crate) fn new(request: LockRequest) -> Self {
        // A process that has led lets others lead.
        Self { request: request.never_passed_on() }
    }

    /// How long it takes at most until another leads when this process was killed: as [`LockRequest::ttl`]. Default: the
    /// manager's, 30 s unless set.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use redlock_runtime::{LockManager, Leadership};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
    /// let mut watch = locks.lead("scheduler").ttl(Duration::from_secs(10)).watch();
    /// let Some(Leadership::Leading(_term)) = watch.next().await.transpose()? else { panic!("nobody else campaigns") };
    /// let remaining = locks.inspect("scheduler").await?.remaining;
    /// assert!(remaining.is_some_and(|remaining| remaining <= Duration::from_secs(10)));
    /// # Ok::<(), redlock_runtime::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn ttl(self, ttl: impl IntoDuration) -> Self {
        Self { request: self.request.ttl(ttl) }
    }

    /// What [`LockManager::leader`](crate::LockManager::leader) says of this process. Default: the manager's
    /// [`owner_label`](crate::LockManagerBuilder::owner_label).
    ///
    /// ```
    /// # use redlock_runtime::{LockManager, Leadership};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
    /// let mut watch = locks.lead("scheduler").owner_label("eu-1").watch();
    /// let Some(Leadership::Leading(_term)) = watch.next().await.transpose()? else { panic!("nobody else campaigns") };
    /// // It is known a tenth of a second later.
    /// let label = loop {
    ///     let leader = locks.leader("scheduler").await?;
    ///     if let Some(label) = leader.and_then(|leader| leader.label) { break label }
    /// #   tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    /// };
    /// assert_eq!(label, "eu-1");
    /// # Ok::<(), redlock_runtime::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn owner_label(self, owner_label: impl Into<String>) -> Self {
        Self { request: self.request.owner_label(owner_label) }
    }

    /// What [metrics](crate::observe) call the lock, as [`LockRequest::label`]. Default: `other`.
    ///
    /// ```
    /// # use redlock_runtime::{Error, LockManager};
    /// # let locks = LockManager::builder().nodes(["memory://lead-label"]).build()?;
    /// let region = "eu";
    /// let leading = locks.lead(format!("scheduler:{region}")).label("scheduler:{region}").run(async |_| Ok::<(), Error>(()));
    /// # drop(leading);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn label(self, label: impl Into<Cow<'static, str>>) -> Self {
        Self { request: self.request.label(label) }
    }

    /// Campaigns, runs the body while this process leads, and campaigns again when the body has ended or the leadership was lost;
    /// until the manager is shut down.
    ///
    /// - A body that returned is run again no sooner than 100 ms after it began, so that one which returns at once is no endless loop.
    /// - A body that returned an error is logged at WARN, and this process pauses before it campaigns again: 100 ms, then twice
    ///   as long each time, up to 30 s, of which a random half is left out. A shutdown ends each pause.
    /// - When the leadership is lost, [`Term::lost`] reports it, and the body's future is dropped at its next await, before the lock
    ///   can be another's.
    /// - A [shutdown](crate::LockManager::shutdown_within) is reported by [`Term::lost`], too, but the body winds down by itself: the lock is
    ///   kept, and renewed, until it has ended or the shutdown's time is over. Then another leads.
    ///
    /// ```
    /// # use redlock_runtime::{Error, LockManager};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
    /// let leading = locks.lead("scheduler").run(async |term| {
    ///     println!("leads with fencing token {}", term.fencing_token());
    ///     // … until there is nothing left to do, or:
    ///     let loss = term.lost().await;
    ///     println!("leads no more: {loss}");
    ///     Ok::<(), Error>(())
    /// });
    /// # let ending = async { tokio::time::sleep(std::time::Duration::from_millis(50)).await; locks.shutdown().await; Ok(()) };
    /// # tokio::try_join!(leading, ending)?;
    /// # Ok::<(), Error>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::InvalidName`], [`Error::Config`] and [`Error::WouldDeadlock`], at once. `Ok` when the manager was shut down.
    ///
    /// # Cancel safety
    ///
    /// Dropped at any await, the body is dropped, and then the lock is released in the background.
    pub async fn run<E: fmt::Display>(self, mut body: impl AsyncFnMut(&Term) -> Result<(), E>) -> Result<(), Error> {
        let mut pauses = TermPauses::new(entropy::seed());
        loop {
            let Some(term) = self.campaign().await? else { return Ok(()) };
            let (name, began) = (term.name().to_owned(), clock::now());
            tracing::info!(lock = %shown(&name), fencing_token = term.fencing_token(), "this process leads");
            let ended = caught(until_gone(term.guard(), pin!(body(&term)))).await;
            let (lasted, is_resigned) = (clock::now().saturating_duration_since(began), term.is_resigned());
            let uses = term.guard().uses();
            tell_end(&name, term.end().await);
            let end = match ended {
                // Behind the release: another may lead while whoever catches it tries again.
                Err(panic) => resume_unwind(panic),
                Ok(ended) => end_of(&name, ended, is_resigned),
            };
            let pausing = self.pause(pauses.after(end, lasted, entropy::seed));
            match on_any_executor(uses, pin!(pausing)).await {
                Err(Error::ShutDown) => return Ok(()),
                waited => waited?,
            }
        }
    }

    /// [`Self::run`] for code that is not async: blocks the thread. A body is not stopped by the loss of the leadership: it asks
    /// [`Term::is_leader`] before each step.
    ///
    /// # Errors
    ///
    /// Those of [`Self::run`].
    pub fn run_blocking<E: fmt::Display>(self, mut body: impl FnMut(&Term) -> Result<(), E>) -> Result<(), Error> {
        let mut pauses = TermPauses::new(entropy::seed());
        loop {
            let Some(term) = block_on(self.campaign())? else { return Ok(()) };
            let (name, began) = (term.name().to_owned(), clock::now());
            tracing::info!(lock = %shown(&name), fencing_token = term.fencing_token(), "this process leads");
            let ended = within(term.guard().lease(), || body(&term));
            let (lasted, is_resigned) = (clock::now().saturating_duration_since(began), term.is_resigned());
            tell_end(&name, block_on(term.end()));
            let end = end_of(&name, Some(ended), is_resigned);
            match block_on(self.pause(pauses.after(end, lasted, entropy::seed))) {
                Err(Error::ShutDown) => return Ok(()),
                waited => waited?,
            }
        }
    }

    /// Waits for so long; an error at once when the manager is shut down.
    async fn pause(&self, pause: Duration) -> Result<(), Error> {
        if pause.is_zero() {
            return Ok(());
        }
        self.request.shared().unless_shut_down(pin!(sleep(pause))).await
    }

    /// Returns when this process leads; `None` when its manager was shut down.
    pub(crate) async fn campaign(&self) -> Result<Option<Term>, Error> {
        match self.request.clone().acquire().await {
            Ok(guard) => {
                guard.lease().set_endless();
                if self.request.shared().is_shut_down() {
                    // It has asked all others already.
                    guard.lease().recall();
                }
                Ok(Some(Term { guard: Some(guard), state: Arc::default() }))
            }
            Err(Error::ShutDown) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// How a term ended whose body came to this; `None`: the leadership was lost before.
fn end_of<E: fmt::Display>(name: &str, ended: Option<Result<(), E>>, is_resigned: bool) -> TermEnd {
    match ended {
        Some(Ok(())) if is_resigned => TermEnd::Resigned,
        Some(Ok(())) => TermEnd::Returned,
        Some(Err(error)) => {
            tracing::warn!(lock = %shown(name), %error, "the leader's body failed");
            TermEnd::Failed
        }
        // The lease has told.
        None => TermEnd::Lost,
    }
}

impl Term {
    pub(crate) fn guard(&self) -> &LockGuard {
        match &self.guard {
            Some(guard) => guard,
            None => unreachable!("it is taken out by what ends the term"),
        }
    }

    /// What others see of it.
    pub(crate) fn watched(&self) -> WatchedTerm {
        WatchedTerm { state: Arc::clone(&self.state), lease: Arc::clone(self.guard().lease()) }
    }

    fn is_resigned(&self) -> bool {
        self.state.is_resigned.load(Ordering::Acquire)
    }

    /// What is led.
    #[must_use]
    pub fn name(&self) -> &str {
        self.guard().name()
    }

    /// A number that is greater than that of every earlier term, of whichever process; see [`LockGuard::fencing_token`].
    #[must_use]
    pub fn fencing_token(&self) -> u64 {
        self.guard().fencing_token()
    }

    /// Whether this process leads at this moment, and is not asked to stop. Costs no round trip.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.guard().is_valid()
    }

    /// Waits until the leadership is lost, or the manager is being shut down, and says why, as [`LockGuard::lost`].
    ///
    /// ```
    /// # use redlock_runtime::{Error, LockManager};
    /// # async fn serve() { std::future::pending().await }
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
    /// let leading = locks.lead("scheduler").run(async |term| {
    ///     tokio::select! {
    ///         () = serve() => {}
    ///         loss = term.lost() => println!("winds down: {loss}"),
    ///     }
    ///     Ok::<(), Error>(())
    /// });
    /// # let ending = async { tokio::time::sleep(std::time::Duration::from_millis(50)).await; locks.shutdown().await; Ok(()) };
    /// # tokio::try_join!(leading, ending)?;
    /// # Ok::<(), Error>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn lost(&self) -> Error {
        self.guard().lost().await
    }

    /// Gives the leadership up when this term ends: this process then stands back for up to 400 ms before it campaigns again, so that
    /// another leads, if one campaigns. The term ends when the body returns, or the term is dropped.
    ///
    /// ```
    /// # use redlock_runtime::{LockManager, Leadership};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
    /// let (mut one, mut other) = (locks.lead("scheduler").watch(), locks.lead("scheduler").watch());
    /// let Some(Leadership::Leading(term)) = one.next().await.transpose()? else { panic!("nobody else campaigns") };
    /// term.resign();
    /// drop(term);
    /// while !matches!(other.next().await.transpose()?, Some(Leadership::Leading(_))) {} // the other one's turn
    /// # Ok::<(), redlock_runtime::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn resign(&self) {
        self.state.is_resigned.store(true, Ordering::Release);
    }

    /// Ends the term, and waits until a majority of the nodes has released its lock.
    ///
    /// ```
    /// # use redlock_runtime::{LockManager, Leadership};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
    /// let mut watch = locks.lead("scheduler").watch();
    /// let Some(Leadership::Leading(term)) = watch.next().await.transpose()? else { panic!("nobody else campaigns") };
    /// term.end().await?;
    /// assert!(locks.leader("scheduler").await?.is_none());
    /// # Ok::<(), redlock_runtime::Error>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`LockGuard::release`].
    ///
    /// # Cancel safety
    ///
    /// Dropped before it ended, the release goes on in the background.
    pub async fn end(mut self) -> Result<(), Error> {
        match self.guard.take() {
            Some(guard) => guard.release().await,
            None => Ok(()),
        }
    }
}

impl Drop for Term {
    fn drop(&mut self) {
        drop(self.guard.take());
        self.state.is_over.store(true, Ordering::Release);
        self.state.over.notify_waiters();
    }
}

/// A term, for somebody who does not end it.
pub(crate) struct WatchedTerm {
    state: Arc<TermState>,
    lease: Arc<Lease>,
}

impl WatchedTerm {
    /// How long whoever led stands back now.
    pub(crate) fn stands_back(&self) -> Duration {
        if self.state.is_resigned.load(Ordering::Acquire) { stand_back(entropy::seed()) } else { Duration::ZERO }
    }

    /// Ends when the term is over, or the leadership is lost.
    pub(crate) async fn until_over(&self) {
        tokio::select! {
            biased;
            () = self.state.until_over() => {}
            () = self.lease.until_gone() => {}
        }
    }
}

impl TermState {
    /// Ends when whoever has the term has ended it.
    async fn until_over(&self) {
        loop {
            let over = self.over.notified();
            if self.is_over.load(Ordering::Acquire) {
                return;
            }
            over.await;
        }
    }
}
