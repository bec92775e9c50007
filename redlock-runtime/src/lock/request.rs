use std::borrow::Cow;
use std::fmt;
use std::future::{Future as _, pending, poll_fn};
use std::mem;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::select_all;
use tokio::time::sleep;

use super::fire::RequestedFire;
use super::guard::LockGuard;
use super::resolved::Resolved;
use super::shared::{Shared, check_length};
use crate::engine::{Acquisition, AttemptFailed, FireRefusal, Plan, Term, Won};
use crate::error::HeldElsewhere;
use crate::held::lease::{Lease, PassedOn, Successor};
use crate::held::{deadlock, owner_label};
use crate::observe::{Acquiring, REPEAT, harmless, within};
use crate::platform::background::{block_on, on_any_executor};
use crate::platform::{clock, entropy, process};
use crate::protocol::{Backoff, Needs, Next, OthersSay, SHORTEST_TTL, Turns, Verdict, next_step, slot_order};
use crate::shown::shown;
use crate::values::fire::{Fire, OnceAt};
use crate::values::name::Name;
use crate::values::permits::{Slots, check_permits};
use crate::values::readers_writers::SharedKeys;
use crate::values::several::{Several, name_of_all};
use crate::values::subject::{self, Subject};
use crate::waiting::counters::Waiting;
use crate::waiting::queue::{LocalHold, Offer, QueuePlace, Turn, Unreachable};
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

    /// Checks every setting, and takes the time: the acquisition begins, unless it `began` just before, for those who look. The name is
    /// moved out.
    fn resolve(&mut self, began: Option<Instant>) -> Result<Resolved, Error> {
        let name = match &self.kind {
            Kind::Several(names) => name_of_all(names)?,
            _ => Name::parse(mem::take(&mut self.name))?,
        };
        if let Some(stats_name) = &self.stats_name {
            Name::parse(stats_name.clone())?;
        }
        if let Some(label) = &self.owner_label {
            owner_label::check(label)?;
        }
        let ttl = self.ttl.unwrap_or(self.shared.ttl);
        self.shared.check_ttl("ttl", ttl)?;
        if let Some(least) = self.min_hold {
            check_length("min_hold", least.max(SHORTEST_TTL))?;
        }
        if let Some(most) = self.max_hold.filter(|most| *most < SHORTEST_TTL) {
            let reason = format!("max_hold of {most:?} ends before it begins; use at least {SHORTEST_TTL:?}");
            return Err(Error::Config { reason });
        }
        let subject = self.subject(&name)?;
        // Also if the holder crashes, the key stays for its least time; unless somebody is to make up for the fire that it ran.
        let least = self.min_hold.filter(|_| self.once.is_none());
        let key_ttl = least.map_or(ttl, |least| least.max(ttl));
        let (min_hold, max_hold) = (self.min_hold, self.max_hold);
        // An earlier moment ends its time earlier, and has a fire later than it is, which leaves less that is evidence.
        let (began, timeout) = (began.unwrap_or_else(clock::now), self.timeout.limit());
        let waits = timeout != Some(Duration::ZERO);
        // A timeout that no clock reaches is none.
        let deadline = timeout.filter(|_| waits).and_then(|timeout| began.checked_add(timeout));
        let resolve = |fire| RequestedFire::resolve(fire, self.once_at, &self.shared, began);
        let fire = self.once.map(resolve).transpose()?;
        let is_simple = self.renew && min_hold.is_none() && fire.is_none() && matches!(subject, Subject::Key(_));
        let passes_on = is_simple && self.passes_on && self.shared.wait_queues.are_passed_on();
        let needs = passes_on.then_some(Needs { ttl });
        Ok(Resolved { needs, name, subject, ttl, key_ttl, min_hold, max_hold, waits, began, deadline, fire })
    }

    /// What is asked for under this name.
    fn subject(&self, name: &Name) -> Result<Subject, Error> {
        if let Some(subject) = self.subject_of_kind(name)? {
            return Ok(subject);
        }
        let Some(permits) = self.permits else { return Ok(Subject::Key(self.shared.keys.lock(name).into())) };
        let permits = check_permits(permits)?;
        if self.once.is_some() {
            let reason =
                "`once` together with `permits`: a fire runs once, so there is nothing to share; omit one of them";
            return Err(Error::Config { reason: reason.to_owned() });
        }
        if let Some(node) = self.node_with_one_key() {
            let reason =
                format!("`permits` needs nodes that grant one of several keys, which the custom node {node} cannot");
            return Err(Error::Config { reason });
        }
        Ok(Subject::any_permit(self.slots(name, permits)))
    }

    /// What is asked for under this name, if it is no plain lock.
    fn subject_of_kind(&self, name: &Name) -> Result<Option<Subject>, Error> {
        let keys = &self.shared.keys;
        let shared = || Arc::new(SharedKeys::new(keys, name));
        let (subject, kind) = match &self.kind {
            Kind::Plain => return Ok(None),
            Kind::Read => (subject::Kind::Reader(shared()), "a lock that readers share"),
            Kind::Write => (subject::Kind::Writer(shared()), "a lock that readers share"),
            Kind::Several(names) => {
                let names: Vec<_> = names.iter().cloned().map(Name::parse).collect::<Result<_, _>>()?;
                let several = Several::new(keys, names)?;
                let several = match self.timeout.limit() {
                    Some(Duration::ZERO) => several,
                    _ => several.awaited(clock::now(), entropy::seed()),
                };
                (subject::Kind::Several(several), "a lock of several names")
            }
        };
        let refused = |reason| Err(Error::Config { reason });
        if self.once.is_some() || self.permits.is_some() {
            let setting = if self.once.is_some() { "once" } else { "permits" };
            return refused(format!("{kind} together with `{setting}`: omit that, or use a plain lock"));
        }
        if let Some(node) = self.node_with_one_key() {
            return refused(format!("{kind} needs nodes with several keys, and the custom node {node} has one"));
        }
        Ok(Some(subject.into()))
    }

    /// A node that has one key for a lock, and so grants neither permits nor locks of other kinds.
    fn node_with_one_key(&self) -> Option<&str> {
        let mut nodes = self.shared.engine.nodes().iter();
        nodes.find(|node| !node.grants_permits()).map(|node| node.label())
    }

    /// The slots of this many permits, or as many more as others say that there are.
    fn slots(&self, name: &Name, permits: u8) -> Slots {
        let known = |line: &str| self.shared.others_permits.of(line, clock::now());
        Slots::new(&self.shared.keys, name, permits, known, |count| slot_order(count, entropy::seed()))
    }

    /// Takes in how many permits others say that there are. What is asked for from now on, if that is more than it was.
    fn learn(&self, name: &Name, subject: &Subject, told: Option<OthersSay>) -> Option<Subject> {
        let ((slots, _), others) = subject.permits().zip(told)?;
        self.shared.others_permits.note(name, slots, others, clock::now());
        (others.greatest?.permits > slots.count()).then(|| Subject::any_permit(self.slots(name, slots.said())))
    }

    /// One attempt, or more where one says nothing about the lock.
    async fn ask_once(&self, request: Resolved, acquiring: &mut Acquiring) -> Result<LockGuard, Error> {
        acquiring.asks_nodes();
        let engine = &self.shared.engine;
        let mut pauses = Pauses::default();
        let mut seen = 0;
        let mut subject = request.subject.clone();
        loop {
            let plan = Plan::once(self.shared.wait_queues.fencing(seen));
            match self.attempt(&request, &subject, plan).await? {
                Ok(won) => {
                    self.learn(&request.name, &subject, won.permits);
                    let local_hold = |lease: &Arc<Lease>| self.shared.wait_queues.hold_locally(lease);
                    let now = won.term.won;
                    return marked(self.guard(request, won, acquiring, now, local_hold)?).await;
                }
                Err(lost) => {
                    seen = lost.counter.max(seen);
                    if let Some(larger) = self.learn(&request.name, &subject, lost.permits_said()) {
                        subject = larger;
                        continue;
                    }
                    let waited = clock::now().saturating_duration_since(request.began);
                    match next_step(lost.verdict, waited, pauses.behind(lost.verdict), engine.node_timeout()) {
                        Next::TryAgainAfter(pause) => sleep(pause).await,
                        Next::GiveUp if lost.verdict == Verdict::Unreachable => {
                            return Err(match request.in_doubt(&lost) {
                                Some(doubt) => doubt,
                                None => lost.into_unreachable(&request.name, engine),
                            });
                        }
                        // However long the answers took: nobody waited for the holder.
                        Next::GiveUp => return Err(not_acquired(&request.name, Duration::ZERO)),
                    }
                }
            }
        }
    }

    /// Attempts whenever the lock is believed to be free, until one is won or the time is over.
    async fn stand_in_line(&self, request: Resolved, acquiring: &mut Acquiring) -> Result<LockGuard, Error> {
        let Resolved { name, began, deadline, .. } = &request;
        let mut subject = request.subject.clone();
        let mut pauses = Pauses::default();
        let mut place = self.shared.wait_queues.join(&subject, request.needs);
        let stats_name = self.stats_name.as_deref().unwrap_or(name.as_str());
        let mut counted: Option<Waiting> = None;
        let count = |counted: &mut Option<Waiting>, acquiring: &mut Acquiring| {
            acquiring.waits();
            counted.get_or_insert_with(|| self.shared.statistics.join(stats_name));
        };
        let mut has_tried = false;
        let mut doubt = None;
        loop {
            if self.shared.is_shut_down() {
                return Err(Error::ShutDown);
            }
            let now = if has_tried { clock::now() } else { *began };
            if has_tried && deadline.is_some_and(|deadline| now >= deadline) {
                return Err(match place.unreachable() {
                    _ if doubt.is_some() => doubt.unwrap_or(Error::ShutDown),
                    Some(Unreachable { granted, failures, .. }) => {
                        self.shared.engine.unreachable(name, granted, failures)
                    }
                    None => not_acquired(name, now.saturating_duration_since(*began)),
                });
            }
            let next = place.next(now);
            if let Turn::Ask(_) = next {
                acquiring.asks_nodes();
            }
            let overtaken = |error| {
                request.fire.iter().filter(|_| has_tried).for_each(|fire| fire.tell_if_overtaken(&error));
                error
            };
            match next {
                Turn::Ask(plan) => match self.attempt(&request, &subject, plan).await.map_err(overtaken)? {
                    Ok(won) => {
                        if let Some(subject::Kind::Several(several)) = subject.kind() {
                            several.was_acquired();
                        }
                        self.learn(name, &subject, won.permits);
                        let (is_wanted, now) = (won.term.is_wanted, won.term.won);
                        let took = now.saturating_duration_since(won.term.began);
                        if acquiring.is_waiting() {
                            let waited = now.saturating_duration_since(*began);
                            harmless(|| {
                                tracing::debug!(lock = %shown(name.as_str()), ?waited, "acquired after waiting");
                            });
                        }
                        note_others(&place, counted.as_ref().filter(|_| request.needs.is_some()));
                        let local_hold = |lease: &Arc<Lease>| place.won(lease, is_wanted, took, now);
                        return marked(self.guard(request, won, acquiring, now, local_hold)?).await;
                    }
                    // The caller's time was over before the nodes' time was: that says nothing about the nodes.
                    Err(lost) if has_tried && lost.was_cut_short => {}
                    Err(lost) => {
                        doubt = request.in_doubt(&lost);
                        if let Some(larger) = self.learn(name, &subject, lost.permits_said()) {
                            place.set_places(larger.places());
                            subject = larger;
                        }
                        // Not that of somebody who tries for long: it is told now what there is to mend.
                        let ends_soon = deadline.is_some_and(|deadline| deadline <= *began + REPEAT);
                        let is_told_later = self.tells_failure && ends_soon;
                        let pause = pauses.behind(lost.verdict);
                        place.failed(name.as_str(), &lost, clock::now(), pause, is_told_later);
                        if let Some(subject::Kind::Several(several)) = subject.kind() {
                            several.was_refused();
                        }
                        count(&mut counted, acquiring);
                    }
                },
                Turn::Take(offer) => {
                    acquiring.takes_over();
                    match take_over(&request, &offer, acquiring) {
                        Some((lease, acquisition)) => {
                            note_others(&place, counted.as_ref());
                            return LockGuard::new(lease, acquisition, &self.shared, None, |lease| {
                                let now = clock::now();
                                self.shared.renewals.start(lease);
                                self.shared.labels.note_later(lease, self.owner_label.as_deref(), now);
                                place.took(offer, lease, now)
                            });
                        }
                        // It is released.
                        None => drop(offer),
                    }
                }
                Turn::Wait(moment, local_holders) => {
                    count(&mut counted, acquiring);
                    let moment = deadline.map_or(moment, |deadline| deadline.min(moment));
                    wait_for_news(&place, moment, &local_holders).await;
                }
            }
            has_tried = true;
        }
    }

    /// One attempt: won, or not, or an error that no other attempt would mend.
    async fn attempt(
        &self,
        request: &Resolved,
        subject: &Subject,
        plan: Plan,
    ) -> Result<Result<Won, AttemptFailed>, Error> {
        let Resolved { name, key_ttl, deadline, fire, .. } = request;
        let plan = plan.for_fire(fire.as_ref().map(|fire| Arc::clone(&fire.question)));
        let acquiring = pin!(self.shared.engine.acquire(subject.clone(), *key_ttl, *deadline, plan));
        match self.shared.unless_shut_down(acquiring).await? {
            Err(AttemptFailed { misconfigured: Some(reason), .. }) => Err(Error::Config { reason }),
            Err(lost) => match (fire, lost.fire.as_deref()) {
                (
                    Some(fire),
                    Some(told @ (FireRefusal::AlreadyRan { .. } | FireRefusal::Doubt { is_final: true, .. })),
                ) => Err(fire.error(name, *told, lost.failures)),
                _ => Ok(Err(lost)),
            },
            Ok(won) => Ok(Ok(won)),
        }
    }

    fn guard(
        &self,
        request: Resolved,
        won: Won,
        acquiring: &Acquiring,
        now: Instant,
        local_hold: impl FnOnce(&Arc<Lease>) -> LocalHold,
    ) -> Result<LockGuard, Error> {
        let Won { mut acquisition, term: Term { began, valid_until, fencing_token, tokens, .. }, .. } = won;
        // A key may be kept for longer than restarted nodes abstain, but nobody may rely on it for longer than that.
        let valid_until = valid_until.min(self.shared.longest_valid_until(began));
        let keep_until = request.keep_until(began);
        if let Some(moment) = keep_until.filter(|_| request.fire.is_none()) {
            acquisition.keep_until(moment);
        }
        let max_until = request.max_until(began);
        let engine = Arc::clone(&self.shared.engine);
        let (subject, owner) = (acquisition.subject().clone(), Arc::clone(acquisition.owner()));
        let Resolved { name, ttl, fire, needs, .. } = request;
        let held = (began, valid_until, fencing_token);
        let lease = Lease::new(engine, name, subject, owner, ttl, held, max_until);
        // Without tokens that were reserved it does not pass on, unless it has none at all.
        let turns = needs.filter(|_| tokens.is_none_or(|tokens| tokens.give().is_some()));
        let turns = turns.map(|_| Turns::begin(began, tokens));
        let lease = Arc::new(lease.passing_on(turns).observed(acquiring.observed(), now));
        let fire = fire.map(|fire| Box::new(fire.held(fencing_token, keep_until)));
        LockGuard::new(lease, acquisition, &self.shared, fire, |lease| {
            if self.renew {
                self.shared.renewals.start(lease);
            }
            self.shared.labels.note_later(lease, self.owner_label.as_deref(), now);
            local_hold(lease)
        })
    }
}

/// The lease that another holder of this process has passed on, if it is worth anything.
fn take_over(request: &Resolved, offer: &Offer, acquiring: &Acquiring) -> Option<(Arc<Lease>, Acquisition)> {
    // After it was taken from the line: this task may have been woken late.
    let now = clock::now();
    let next = Successor { name: request.name.clone(), needs: request.needs?, max_until: request.max_until(now) };
    let PassedOn { acquisition, lease } = offer.lease()?.pass_on_to(now, next)?;
    Some((Arc::new(lease.observed(acquiring.observed(), now)), acquisition))
}

/// Marks the fire of a lock that was just acquired, where that is due before its body. Boxed, because it hardly ever is.
async fn marked(guard: LockGuard) -> Result<LockGuard, Error> {
    if guard.is_marked_before_body() { Box::pin(guard.marked_before_body()).await } else { Ok(guard) }
}

/// Pauses where asking again at once would only repeat the same. Most locks are free: chance is asked for with the first.
#[derive(Default)]
struct Pauses(Option<Backoff>);

impl Pauses {
    /// The first, and the longest before jitter.
    const LENGTHS: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(100));

    /// The pause behind an attempt that ended so.
    fn behind(&mut self, verdict: Verdict) -> Duration {
        if verdict == Verdict::Refused {
            // Somebody holds the lock: whatever collided before is over.
            self.0 = None;
            return Duration::ZERO;
        }
        let (first, longest) = Self::LENGTHS;
        let pauses = self.0.get_or_insert_with(|| Backoff::new(first, longest, entropy::seed()));
        pauses.next().unwrap_or(longest)
    }
}

/// A lock that passes on in this process is not to keep those waiting for ever who hear of nothing.
fn note_others(place: &QueuePlace, counted: Option<&Waiting>) {
    if let Some(counted) = counted {
        place.polled_by_others(counted.others());
    }
}

/// Waits until the place is called, or one of the holders in this process loses the lock, or this moment.
async fn wait_for_news(place: &QueuePlace, moment: Instant, local_holders: &[Arc<Lease>]) {
    let lost = async {
        match local_holders {
            [] => pending().await,
            [lease] => {
                lease.until_lost().await;
            }
            several => {
                select_all(several.iter().map(|lease| Box::pin(lease.until_lost()))).await;
            }
        }
    };
    tokio::select! {
        biased;
        () = place.called() => {}
        () = lost => {}
        () = clock::sleep_until(moment) => {}
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
