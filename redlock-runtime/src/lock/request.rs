mod attempts;
mod in_line;
mod resolve;

use std::borrow::Cow;
use std::fmt;
use std::future::{Future as _, poll_fn};
use std::mem;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use super::guard::LockGuard;
use super::shared::Shared;
use crate::error::HeldElsewhere;
use crate::held::deadlock;
use crate::observe::{Acquiring, within};
use crate::platform::background::{block_on, on_any_executor};
use crate::platform::process;
use crate::values::fire::{Fire, OnceAt};
use crate::values::name::Name;
use crate::{Error, IntoDuration, IntoTimeout, Timeout};

/// A lock to be acquired: its name and how.
///
/// Made by [`LockManager::lock`](crate::LockManager::lock). Nothing is sent before one of the `acquire` methods is called.
///
/// ```
/// # use std::time::Duration;
/// # use redlock_runtime::LockManager;
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
/// let request = locks
///     .lock("invoice:7")
///     .ttl(Duration::from_secs(20))
///     .timeout(Duration::from_secs(5)) // or Timeout::Skip, Timeout::Forever
///     .max_hold(Duration::from_secs(300))
///     .owner_label("billing");
/// let guard = request.acquire().await?;
/// guard.release().await?;
/// # Ok::<(), redlock_runtime::Error>(())
/// # })?;
/// # Ok::<(), redlock_runtime::Error>(())
/// ```
#[derive(Clone)]
#[must_use = "nothing is locked until one of the `acquire` methods is called and its guard kept"]
pub struct LockRequest {
    /// Which nodes, and the defaults.
    shared: Arc<Shared>,
    /// Checked when acquiring, where an error can be returned.
    name: String,
    /// How long the key lives without renewal; `None`: the manager's.
    ttl: Option<Duration>,
    /// How long to wait.
    timeout: Timeout,
    /// Whether the lock is renewed.
    renew: bool,
    /// How long it may be held at most.
    max_hold: Option<Duration>,
    /// How long the key stays at least.
    min_hold: Option<Duration>,
    /// What the waiting counter uses instead of the name.
    stats_name: Option<String>,
    /// What the owner is called; `None`: as the manager says.
    owner_label: Option<String>,
    /// What metrics call the lock; `None`: one of those that are not told apart.
    label: Option<Cow<'static, str>>,
    /// Whether whoever asks tells of its end by an event, if it cannot have the lock: then it need not be told before, too.
    tells_failure: bool,
    /// The fire that the lock is asked for.
    pub(super) once: Option<Fire>,
    /// When that is marked as completed.
    pub(super) once_at: OnceAt,
    /// How many may hold the lock at once; `None`: one, of a lock without permits.
    pub(super) permits: Option<u32>,
    /// Which kind of lock it is.
    kind: Kind,
    /// Whether it may pass from one holder of this process to another.
    passes_on: bool,
}

/// Which kind of lock is asked for.
#[derive(Clone, Debug, Default)]
pub(super) enum Kind {
    /// One that one owner has, or those who have its permits.
    #[default]
    Plain,
    /// One that readers share, by a reader.
    Read,
    /// The same by a writer.
    Write,
    /// Plain locks of all these names.
    Several(Vec<String>),
}

impl LockRequest {
    pub(crate) fn new(shared: Arc<Shared>, name: String) -> Self {
        Self {
            shared,
            name,
            ttl: None,
            timeout: Timeout::default(),
            renew: true,
            max_hold: None,
            min_hold: None,
            stats_name: None,
            owner_label: None,
            label: None,
            tells_failure: false,
            once: None,
            once_at: OnceAt::End,
            permits: None,
            kind: Kind::Plain,
            passes_on: true,
        }
    }

    /// Always from the nodes, and back to them.
    pub(super) fn never_passed_on(self) -> Self {
        Self { passes_on: false, ..self }
    }

    pub(super) fn of_kind(self, kind: Kind) -> Self {
        Self { kind, ..self }
    }

    /// Which nodes, and the defaults.
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The name, as it was asked for.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// How long the key outlives a holder that crashed, from 10 ms to the manager's
    /// [`longest_ttl`](crate::LockManagerBuilder::longest_ttl), which is 5 minutes unless set; a longer one is an
    /// [`Error::Config`] when the lock is acquired. A lock is renewed, so this is no bound on how long it is held. Default: the
    /// manager's, 30 s unless set.
    ///
    /// ```
    /// # use redlock_runtime::LockManager;
    /// # use std::time::Duration;
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
    /// let guard = locks.lock("report").ttl(Duration::from_secs(10)).acquire().await?;
    /// # guard.release().await
    /// # }).unwrap();
    /// ```
    pub fn ttl(self, ttl: impl IntoDuration) -> Self {
        Self { ttl: Some(ttl.into_duration()), ..self }
    }

    /// How long to wait for the lock: a [`Timeout`], or a [`Duration`], which means up to that long. Default:
    /// [`Timeout::Forever`].
    ///
    /// ```
    /// # use redlock_runtime::LockManager;
    /// # use std::time::Duration;
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
    /// let guard = locks.lock("report").timeout(Duration::from_secs(5)).acquire().await?;
    /// # guard.release().await
    /// # }).unwrap();
    /// ```
    pub fn timeout(self, timeout: impl IntoTimeout) -> Self {
        Self { timeout: timeout.into_timeout(), ..self }
    }

    /// Whether the lock is extended, a third of its TTL after each success, for as long as the guard lives. Default:
    /// `true`. Without it the lock expires after its TTL.
    ///
    /// ```
    /// # use redlock_runtime::LockManager;
    /// # use std::time::Duration;
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
    /// let guard = locks.lock("report").ttl(Duration::from_secs(60)).renew(false).acquire().await?;
    /// # guard.release().await
    /// # }).unwrap();
    /// ```
    pub fn renew(self, renew: bool) -> Self {
        Self { renew, ..self }
    }

    /// The lock is not extended beyond this time after it was acquired; reaching it counts as losing the lock. Default:
    /// none.
    ///
    /// ```
    /// # use redlock_runtime::LockManager;
    /// # use std::time::Duration;
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
    /// let guard = locks.lock("report").max_hold(Duration::from_secs(300)).acquire().await?;
    /// # guard.release().await
    /// # }).unwrap();
    /// ```
    pub fn max_hold(self, max_hold: impl IntoDuration) -> Self {
        Self { max_hold: Some(max_hold.into_duration()), ..self }
    }

    /// The key stays for at least this time after it was acquired, even if the guard is released sooner.
    /// Up to a year. Default: none. For one run per fire use [`once`](Self::once).
    ///
    /// It may be longer than [`longest_ttl`](crate::LockManagerBuilder::longest_ttl), because nobody is *inside* for it: the
    /// lock counts as held for `longest_ttl` at most before it has to be renewed, and a node that restarts empty does not vote
    /// for that long, so two holders are as impossible as without it. What such a node forgets is that the key was to stay.
    /// While the other nodes of a majority keep it the lock is not acquired again; if more of them restart within `min_hold`,
    /// or the only one does, it is free before its time.
    ///
    /// With [`once`](Self::once) it counts only for a fire that was completed: a run that fails gives the lock back at once, and that
    /// of a process that died expires with its TTL, so that whoever stands by makes up for it.
    ///
    /// ```
    /// # use redlock_runtime::LockManager;
    /// # use std::time::Duration;
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
    /// let guard = locks.lock("report").min_hold(Duration::from_secs(30)).acquire().await?;
    /// # guard.release().await
    /// # }).unwrap();
    /// ```
    pub fn min_hold(self, min_hold: impl IntoDuration) -> Self {
        Self { min_hold: Some(min_hold.into_duration()), ..self }
    }

    /// The name under which waiters are counted. Default: the lock's name.
    ///
    /// ```
    /// # use redlock_runtime::LockManager;
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
    /// let guard = locks.lock("report").stats_name("reports").acquire().await?;
    /// # guard.release().await
    /// # }).unwrap();
    /// ```
    pub fn stats_name(self, stats_name: impl Into<String>) -> Self {
        Self { stats_name: Some(stats_name.into()), ..self }
    }

    /// What [`LockManager::inspect`](crate::LockManager::inspect) shows as the owner, up to 512 bytes without control
    /// characters; empty: nothing. Default: the [manager's](crate::LockManagerBuilder::owner_label).
    ///
    /// ```
    /// # use redlock_runtime::LockManager;
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
    /// let guard = locks.lock("report").owner_label("the nightly run").acquire().await?;
    /// # guard.release().await
    /// # }).unwrap();
    /// ```
    pub fn owner_label(self, owner_label: impl Into<String>) -> Self {
        Self { owner_label: Some(owner_label.into()), ..self }
    }

    /// What [metrics and observers](crate::observe) call the lock: one of few words, such as the template of its name, and never the
    /// name with an id in it. Default: the template of the attribute (`invoice:{id}`), and `other` for locks that are made by
    /// hand. Not to be taken for [`owner_label`](Self::owner_label), which says *who* has the lock.
    ///
    /// ```
    /// # use redlock_runtime::LockManager;
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
    /// let id = 7;
    /// let guard = locks.lock(format!("invoice:{id}")).label("invoice:{id}").acquire().await?;
    /// # guard.release().await
    /// # }).unwrap();
    /// ```
    pub fn label(self, label: impl Into<Cow<'static, str>>) -> Self {
        Self { label: Some(label.into()), ..self }
    }

    /// Whoever asks tells by an event of its own that it could not have the lock.
    pub(crate) fn telling_failure(self, tells_failure: bool) -> Self {
        Self { tells_failure, ..self }
    }

    /// What metrics call the lock if nothing else was said.
    pub(crate) fn label_unless_given(mut self, label: &'static str) -> Self {
        self.label.get_or_insert(Cow::Borrowed(label));
        self
    }

    /// For a body that returns a `Result` which cannot be asked whether it is an `Err`: an error if the fire is completed by that.
    pub(crate) fn refused_if_completed_by_value(self) -> Result<Self, Error> {
        if self.once.is_none() || self.once_at == OnceAt::Start {
            return Ok(self);
        }
        let reason = "`once` completes a fire unless its body returns `Err`, which the type parameter or `impl Trait` hides that is declared as its \
                      return type; declare a `Result<…>`, or use `LockRequest::run` in the body in place of the attribute";
        Err(Error::Config { reason: reason.to_owned() })
    }

    /// Acquires the lock, waiting for it as long as the timeout says.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use redlock_runtime::{Error, LockManager};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
    /// match locks.lock("invoice:7").timeout(Duration::from_secs(5)).acquire().await {
    ///     Ok(guard) => guard.release().await?,
    ///     Err(Error::NotAcquired { waited, .. }) => println!("somebody else still has it after {waited:?}"),
    ///     Err(error) => return Err(error),
    /// }
    /// # Ok::<(), redlock_runtime::Error>(())
    /// # })?;
    /// # Ok::<(), redlock_runtime::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::NotAcquired`] if another owner held it until the timeout; [`Error::QuorumUnreachable`] if too few nodes
    /// answered the last attempt; [`Error::WouldDeadlock`] at once, inside a body that holds it; [`Error::InvalidName`] and
    /// [`Error::Config`] for a name or a setting that cannot be used; [`Error::ShutDown`]. With [`once`](Self::once) also
    /// [`Error::AlreadyRan`], [`Error::FireInDoubt`] and, with [`OnceAt::Start`](crate::OnceAt::Start), [`Error::NotCompleted`].
    ///
    /// # Cancel safety
    ///
    /// Dropped at any await, nothing stays behind: a key that was or will be set is released in the background. With
    /// [`OnceAt::Start`] the mark of the fire may stay, which then does not run.
    pub async fn acquire(mut self) -> Result<LockGuard, Error> {
        if let Err(error) = self.shared.engine.prepare() {
            return self.refused(error);
        }
        let uses = self.shared.engine.uses();
        let mut waiting = pin!(self.wait());
        // The first poll is part of this one, in which the process was just asked for.
        let mut is_known = true;
        let waiting = poll_fn(|cx| {
            if mem::take(&mut is_known) {
                process::known(|| waiting.as_mut().poll(cx))
            } else {
                waiting.as_mut().poll(cx)
            }
        });
        on_any_executor(uses, pin!(waiting)).await
    }

    /// Makes one attempt, whatever the timeout; `Ok(None)` if somebody else holds the lock, or the caller's own body.
    ///
    /// Keep the guard: `request.try_acquire().await?;` as a statement gives the lock back at once, and an [`Option`] that is
    /// not used is nothing that the compiler warns of.
    ///
    /// ```
    /// # use redlock_runtime::LockManager;
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
    /// let guard = locks.lock("invoice:7").try_acquire().await?;
    /// assert!(guard.is_some());
    /// assert!(locks.lock("invoice:7").try_acquire().await?.is_none()); // somebody has it
    /// # Ok::<(), redlock_runtime::Error>(())
    /// # })?;
    /// # Ok::<(), redlock_runtime::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`Self::acquire`] but [`Error::NotAcquired`].
    ///
    /// # Cancel safety
    ///
    /// As [`Self::acquire`].
    pub async fn try_acquire(self) -> Result<Option<LockGuard>, Error> {
        unless_held_elsewhere(self.timeout(Timeout::Skip).acquire().await)
    }

    /// [`Self::acquire`] for code that is not async: blocks the thread. Works on any thread, inside a tokio runtime too,
    /// where it blocks the worker it runs on.
    ///
    /// ```
    /// # use redlock_runtime::LockManager;
    /// # let locks = LockManager::builder().nodes(["memory://"]).build()?;
    /// let guard = locks.lock("invoice:7").acquire_blocking()?;
    /// guard.release_blocking()?;
    /// # Ok::<(), redlock_runtime::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`Self::acquire`].
    pub fn acquire_blocking(mut self) -> Result<LockGuard, Error> {
        block_on(self.wait())
    }

    /// [`Self::try_acquire`] for code that is not async: blocks the thread for one round trip.
    ///
    /// # Errors
    ///
    /// Those of [`Self::try_acquire`].
    pub fn try_acquire_blocking(self) -> Result<Option<LockGuard>, Error> {
        unless_held_elsewhere(self.timeout(Timeout::Skip).acquire_blocking())
    }

    /// An acquisition that this process is not fit for.
    fn refused(&self, error: Error) -> Result<LockGuard, Error> {
        // What a child has of its parent's observers may be locked by a thread that the child does not have.
        if self.shared.engine.is_of_this_process() {
            self.begin().ended(&Err::<(), _>(error.clone()));
        }
        Err(error)
    }

    fn begin(&self) -> Acquiring {
        Acquiring::begin(self.shared.engine.observers(), &self.name, self.label.as_deref())
    }

    /// Waits, and tells how that ended.
    async fn wait(&mut self) -> Result<LockGuard, Error> {
        self.shared.engine.check_process()?;
        let mut acquiring = self.begin();
        let span = acquiring.span();
        // Pinned here, for it is large: the span's wrapper would move it.
        let acquired = within(span, pin!(self.wait_for_lock(&mut acquiring))).await;
        acquiring.ended(&acquired);
        drop(acquiring);
        acquired
    }

    async fn wait_for_lock(&mut self, acquiring: &mut Acquiring) -> Result<LockGuard, Error> {
        let request = self.resolve(acquiring.began())?;
        if deadlock::is_held_by_caller(&request.subject, &self.shared.engine) {
            return Err(if request.waits {
                Error::WouldDeadlock { name: request.name.as_str().to_owned() }
            } else {
                not_acquired(&request.name, Duration::ZERO)
            });
        }
        if request.waits {
            self.stand_in_line(request, acquiring).await
        } else {
            self.ask_once(request, acquiring).await
        }
    }
}

fn not_acquired(name: &Name, waited: Duration) -> Error {
    Error::NotAcquired { name: name.as_str().to_owned(), waited, source: HeldElsewhere }
}

impl fmt::Debug for LockRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockRequest").field("name", &self.name).field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

fn unless_held_elsewhere(acquired: Result<LockGuard, Error>) -> Result<Option<LockGuard>, Error> {
    match acquired {
        Ok(guard) => Ok(Some(guard)),
        Err(Error::NotAcquired { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
