//! One call of an annotated function: which lock it asks for, how, and what came of it.
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use super::outcome::{Called, Ending, Returned, Returns};
use crate::held::deadlock::within;
use crate::lock::guard::LockGuard;
use crate::lock::request::LockRequest;
use crate::manager::LockManager;
use crate::values::fire::{IntoFire, OnceAt};
use crate::values::name::Name;
use crate::{Error, IntoDuration, IntoTimeout};

/// The name that a call asks for, as text.
pub struct CallName {
    pub(crate) text: String,
    /// An argument that it holds in braces, which nobody has filled in.
    pub(crate) unfilled: Option<&'static str>,
    /// The names, if there are several.
    pub(crate) several: Option<Vec<String>>,
    /// What it is made of, if that is known: the same for all calls.
    pub(crate) template: Option<&'static str>,
}

impl CallName {
    pub(crate) fn of_all(names: Vec<Self>) -> Self {
        let unfilled = names.iter().find(|name| name.unfilled.is_some());
        let (at_fault, unfilled) = (unfilled.map(|name| name.text.clone()), unfilled.and_then(|name| name.unfilled));
        let texts: Vec<_> = names.into_iter().map(|name| name.text).collect();
        Self { text: at_fault.unwrap_or_else(|| texts.join(" + ")), unfilled, several: Some(texts), template: None }
    }

    fn check(&self) -> Result<(), Error> {
        match self.unfilled {
            None => Ok(()),
            Some(argument) => Err(Name::refuse_unfilled(self.text.clone(), argument)),
        }
    }
}

/// One call of an annotated function: the lock that it asks for.
#[must_use]
pub struct Call {
    lock: LockId,
    /// An error when no manager is installed and none could be made.
    request: Result<LockRequest, Error>,
    attempt: Arc<Attempt>,
}

impl Call {
    /// A call that uses the installed manager.
    pub fn new(name: CallName) -> Self {
        match LockManager::current() {
            Ok(manager) => Self::with_lock(manager, name),
            Err(error) => Self::with_request(LockId::new(None, name.text), Err(error)),
        }
    }

    /// A call that uses the manager of the attribute's `manager = …`.
    pub fn with_manager(manager: &LockManager, name: CallName) -> Self {
        Self::with_lock(manager.clone(), name)
    }

    fn with_lock(manager: LockManager, name: CallName) -> Self {
        let request = name.check().map(|()| match &name.several {
            Some(names) => manager.lock_all(names),
            None => manager.lock(name.text.as_str()),
        });
        let request = match name.template {
            Some(template) => request.map(|request| request.label(template)),
            None => request,
        };
        Self::with_request(LockId::new(Some(manager), name.text), request)
    }

    fn with_request(lock: LockId, request: Result<LockRequest, Error>) -> Self {
        Self { lock, request, attempt: Arc::default() }
    }

    /// Which function it is, by its path: nobody else tells of a silent one whose lock cannot be used, and a lock whose name is not
    /// made of a template has nothing else to be called by in metrics.
    pub fn of(self, function: &'static str) -> Self {
        Self { lock: self.lock.of(function), ..self }.map(|request| request.label_unless_given(function))
    }

    /// How long to wait for the lock; for ever if not called.
    pub fn timeout(self, timeout: impl IntoTimeout) -> Self {
        let timeout = timeout.into_timeout();
        self.map(|request| request.timeout(timeout))
    }

    /// How long the key outlives a crashed holder.
    pub fn ttl(self, ttl: impl IntoDuration) -> Self {
        let ttl = ttl.into_duration();
        self.map(|request| request.ttl(ttl))
    }

    /// Which run of the job it is.
    pub fn once(self, fire: impl IntoFire) -> Self {
        let fire = fire.into_fire();
        self.map(|request| request.once(fire))
    }

    /// When that is marked as completed.
    pub fn once_at(self, once_at: OnceAt) -> Self {
        self.map(|request| request.once_at(once_at))
    }

    /// How many may hold the lock at once.
    pub fn permits(self, permits: u32) -> Self {
        self.map(|request| request.permits(permits))
    }

    /// As a reader of a lock that readers share.
    pub fn read(self) -> Self {
        self.map(LockRequest::into_read)
    }

    /// As its writer.
    pub fn write(self) -> Self {
        self.map(LockRequest::into_write)
    }

    /// Whether the key is extended while the body runs.
    pub fn renew(self, renew: bool) -> Self {
        self.map(|request| request.renew(renew))
    }

    /// When renewal stops.
    pub fn max_hold(self, max_hold: impl IntoDuration) -> Self {
        let max_hold = max_hold.into_duration();
        self.map(|request| request.max_hold(max_hold))
    }

    /// Whether the value of the body tells if it ended well. A fire that is completed by that is refused otherwise.
    pub(crate) fn telling_success(self, tells_success: bool) -> Self {
        if tells_success {
            return self;
        }
        let Self { request, .. } = self;
        let request = request.and_then(LockRequest::refused_if_completed_by_value);
        Self { request, ..self }
    }

    /// How long the key stays even if the body is quick.
    pub fn min_hold(self, min_hold: impl IntoDuration) -> Self {
        let min_hold = min_hold.into_duration();
        self.map(|request| request.min_hold(min_hold))
    }

    /// The name that the waiting counter uses.
    pub fn stats_name(self, stats_name: CallName) -> Self {
        let is_filled = stats_name.check();
        let Self { request, .. } = self;
        let request = request.and_then(|request| is_filled.map(|()| request.stats_name(stats_name.text)));
        Self { request, ..self }
    }

    /// A share of the coming attempt for the body. By value: what is borrowed before an await takes room in the
    /// future for good.
    pub fn with_access(self) -> (Self, Access) {
        let access = self.attempt.access();
        (self, access)
    }

    /// A share for a body that has a `require_lock!`.
    pub fn with_split_access(self) -> (Self, Access) {
        let access = self.attempt.split();
        (self, access)
    }

    /// Whether an event tells of its end, if it cannot have the lock.
    pub(crate) fn telling_failure(self, tells_failure: bool) -> Self {
        self.map(|request| request.telling_failure(tells_failure))
    }

    /// What there is to do.
    pub(crate) fn into_parts(self) -> (Arc<LockId>, Arc<Attempt>, Result<LockRequest, Error>) {
        let Self { lock, request, attempt } = self;
        let lock = Arc::new(lock);
        attempt.lock.get_or_init(|| Arc::clone(&lock));
        (lock, attempt, request)
    }

    fn map(self, set: impl FnOnce(LockRequest) -> LockRequest) -> Self {
        Self { request: self.request.map(set), ..self }
    }
}

/// A lock of a manager.
pub(crate) struct LockId {
    /// None if there is no manager, and so no lock.
    manager: Option<LockManager>,
    name: String,
    /// The path of the function that is called, where somebody has to be told of it.
    function: &'static str,
}

impl LockId {
    fn new(manager: Option<LockManager>, name: String) -> Self {
        Self { manager, name, function: "" }
    }

    /// Says which function is called.
    fn of(self, function: &'static str) -> Self {
        Self { function, ..self }
    }

    /// Which call it is, for people.
    pub(crate) fn called(&self) -> Called<'_> {
        Called { function: self.function, lock: &self.name }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Notes that it was lost while a body ran.
    pub(crate) fn count_loss(&self) {
        if let Some(manager) = &self.manager {
            manager.count_loss();
        }
    }
}

/// What a call and its body share.
#[derive(Default)]
pub(crate) struct Attempt {
    /// Which lock it is, once it is asked for.
    lock: OnceLock<Arc<LockId>>,
    /// Whether the lock was acquired, once that is known.
    pub(crate) held: OnceLock<Result<LockGuard, Error>>,
    /// Whether the body asks for the lock itself, at its `require_lock!`.
    is_split: AtomicBool,
    /// Whether a body without the lock has come to its `require_lock!`.
    pub(crate) is_refused: AtomicBool,
}

/// The body's share of an attempt. It goes with the body, so the guard outlives everything in the body.
pub struct Access(Arc<Attempt>);

impl Attempt {
    /// A share for the body.
    pub(crate) fn access(self: &Arc<Self>) -> Access {
        Access(Arc::clone(self))
    }

    /// A share for a body that has a `require_lock!`, before which it runs in any case.
    pub(crate) fn split(self: &Arc<Self>) -> Access {
        self.is_split.store(true, Ordering::Relaxed);
        self.access()
    }

    /// Why the body ends here, or does not begin.
    pub(crate) fn refusal(&self) -> Option<Error> {
        match self.held.get() {
            Some(Err(error)) if !self.is_split.load(Ordering::Relaxed) || self.is_refused.load(Ordering::Relaxed) => {
                Some(error.clone())
            }
            Some(_) | None => None,
        }
    }

    /// Runs a part of the body as what it is: inside the lock, if it was acquired.
    pub(crate) fn within<T>(&self, body: impl FnOnce() -> T) -> T {
        match self.held.get() {
            Some(Ok(guard)) => within(guard.lease(), body),
            Some(Err(_)) | None => body(),
        }
    }

    /// The guard by value. The body is gone and its share with it; should one be left, it releases the lock.
    pub(crate) fn into_guard(self: Arc<Self>) -> Option<LockGuard> {
        let held = Arc::into_inner(self)?.held.into_inner()?;
        held.ok()
    }
}

impl Access {
    /// The guard of a running body that is not split.
    pub fn guard(&self) -> &LockGuard {
        match self.held() {
            Ok(guard) => guard,
            Err(_) => unreachable!("the body runs only with its lock"),
        }
    }

    /// The guard at an async body's `require_lock!`. Without the lock the body is dropped at this await.
    pub async fn require(&self) -> &LockGuard {
        if let Ok(guard) = self.held() {
            return guard;
        }
        self.0.is_refused.store(true, Ordering::Relaxed);
        std::future::pending().await
    }

    /// The guard at a sync body's `require_lock!`, or what the body returns there.
    ///
    /// # Errors
    ///
    /// What a call that was refused returns.
    #[track_caller]
    pub fn require_blocking<R>(&self, returns: Returns<R>) -> Result<&LockGuard, Returned<R>> {
        self.held().map_err(|error| {
            self.0.is_refused.store(true, Ordering::Relaxed);
            let Some(lock) = self.0.lock.get() else { unreachable!("the body runs only after the attempt") };
            returns.decide(Ending::Refused(error.clone()), None, lock.called())
        })
    }

    fn held(&self) -> Result<&LockGuard, &Error> {
        match self.0.held.get() {
            Some(held) => held.as_ref(),
            None => unreachable!("the body runs only after the attempt"),
        }
    }
}
