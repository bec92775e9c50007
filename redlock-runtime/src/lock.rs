use std::fmt;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use crate::background::{block_on, on_any_executor};
use crate::engine::{Lost, Won};
use crate::error::HeldElsewhere;
use crate::guard::LockGuard;
use crate::lease::Lease;
use crate::name::Name;
use crate::protocol::{Backoff, Next, SHORTEST_TTL, Verdict, attempt_until, next_step};
use crate::shared::Shared;
use crate::statistics::Waiting;
use crate::{Error, Timeout, clock, entropy};

/// Pauses between attempts while somebody else holds the lock: the first, and the longest before jitter.
const POLL: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(100));

/// A lock to be acquired: its name and how.
///
/// Made by [`LockManager::lock`](crate::LockManager::lock). Nothing is sent before one of the `acquire` methods is called.
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
        }
    }

    /// How long the key outlives a holder that crashed, from 10 ms to a year. Default: the manager's, 30 s unless set.
    pub fn ttl(self, ttl: Duration) -> Self {
        Self { ttl: Some(ttl), ..self }
    }

    /// How long to wait for the lock. Default: [`Timeout::Forever`].
    pub fn timeout(self, timeout: impl Into<Timeout>) -> Self {
        Self { timeout: timeout.into(), ..self }
    }

    /// Whether the lock is extended, a third of its TTL after each success, for as long as the guard lives. Default:
    /// `true`. Without it the lock expires after its TTL.
    pub fn renew(self, renew: bool) -> Self {
        Self { renew, ..self }
    }

    /// The lock is not extended beyond this time after it was acquired; reaching it counts as losing the lock. Default:
    /// none.
    pub fn max_hold(self, max_hold: Duration) -> Self {
        Self { max_hold: Some(max_hold), ..self }
    }

    /// The key stays for at least this time after it was acquired, even if the guard is released sooner: one run for each
    /// fire of a short job on machines whose clocks differ. Default: none.
    pub fn min_hold(self, min_hold: Duration) -> Self {
        Self { min_hold: Some(min_hold), ..self }
    }

    /// The name under which waiters are counted. Default: the lock's name.
    pub fn stats_name(self, stats_name: impl Into<String>) -> Self {
        Self { stats_name: Some(stats_name.into()), ..self }
    }

    /// Acquires the lock, waiting for it as long as the timeout says.
    ///
    /// # Errors
    ///
    /// [`Error::NotAcquired`] if somebody else held it until the time was over; [`Error::QuorumUnreachable`] if too few
    /// nodes could be asked at the last attempt; [`Error::InvalidName`] and [`Error::Config`] for a name or a setting that
    /// cannot be used; [`Error::ShutDown`] after the manager was shut down.
    ///
    /// # Cancel safety
    ///
    /// Dropped at any await, nothing stays behind: a key that was or will be set is released in the background.
    pub async fn acquire(self) -> Result<LockGuard, Error> {
        on_any_executor(self.wait()).await
    }

    /// Makes one attempt, whatever the timeout; `Ok(None)` if somebody else holds the lock.
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
    /// # Errors
    ///
    /// Those of [`Self::acquire`].
    pub fn acquire_blocking(self) -> Result<LockGuard, Error> {
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

    async fn wait(mut self) -> Result<LockGuard, Error> {
        let name = Name::parse(mem::take(&mut self.name))?;
        if let Some(stats_name) = &self.stats_name {
            Name::parse(stats_name.clone())?;
        }
        let ttl = self.ttl.unwrap_or(self.shared.ttl);
        self.shared.check_ttl("ttl", ttl)?;
        if let Some(least) = self.min_hold {
            self.shared.check_ttl("min_hold", least.max(SHORTEST_TTL))?;
        }
        if let Some(most) = self.max_hold.filter(|most| *most < SHORTEST_TTL) {
            let reason = format!("max_hold of {most:?} ends before it begins; use at least {SHORTEST_TTL:?}");
            return Err(Error::Config { reason });
        }
        // Also if the holder crashes, the key stays for its least time.
        let asked_ttl = self.min_hold.map_or(ttl, |least| least.max(ttl));

        let began = clock::now();
        let engine = &self.shared.engine;
        let key: Arc<str> = self.shared.keys.lock(&name).into();
        let mut pauses = None;
        let mut is_unreachable = false;
        let mut waiting = None;
        loop {
            if self.shared.is_shut_down() {
                return Err(Error::ShutDown);
            }
            let until = attempt_until(began, clock::now(), self.timeout.limit(), engine.node_timeout());
            let lost = match engine.acquire(Arc::clone(&key), asked_ttl, until).await {
                // It was shut down meanwhile: dropping what was won releases it.
                Ok(_) if self.shared.is_shut_down() => return Err(Error::ShutDown),
                Ok(won) => return Ok(self.into_guard(name, ttl, won)),
                Err(Lost { misconfigured: Some(reason), .. }) => return Err(Error::Config { reason }),
                Err(lost) => lost,
            };
            note_change(&name, &lost, &mut is_unreachable);
            let waited = clock::now().saturating_duration_since(began);
            let pause =
                pauses.get_or_insert_with(|| Backoff::new(POLL.0, POLL.1, entropy::seed())).next().unwrap_or(POLL.1);
            let limit = self.timeout.limit();
            match next_step(lost.verdict, limit, waited, pause, lost.holder_remaining, engine.node_timeout()) {
                Next::TryAgainAfter(pause) => {
                    let stats_name = self.stats_name.as_deref().unwrap_or(name.as_str());
                    let _counted: &Waiting = waiting.get_or_insert_with(|| self.shared.statistics.join(stats_name));
                    sleep(pause).await;
                }
                Next::GiveUp => return Err(self.given_up(&name, lost, waited)),
            }
        }
    }

    fn given_up(&self, name: &Name, lost: Lost, waited: Duration) -> Error {
        match lost.verdict {
            Verdict::Unreachable => lost.into_unreachable(name, &self.shared.engine),
            Verdict::Refused | Verdict::Split | Verdict::Won => {
                Error::NotAcquired { name: name.as_str().to_owned(), waited, source: HeldElsewhere }
            }
        }
    }

    fn into_guard(self, name: Name, ttl: Duration, won: Won) -> LockGuard {
        let Won { mut hold, began, valid_until } = won;
        if let Some(moment) = self.min_hold.and_then(|least| began.checked_add(least)) {
            hold.keep_until(moment);
        }
        let engine = Arc::clone(&self.shared.engine);
        let (key, owner) = (Arc::clone(hold.key()), Arc::clone(hold.owner()));
        let lease = Arc::new(Lease::new(engine, name, key, owner, ttl, (began, valid_until), self.max_hold));
        if self.renew {
            self.shared.renewals.start(&lease);
        }
        LockGuard::new(lease, hold, self.shared)
    }
}

impl fmt::Debug for LockRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockRequest").field("name", &self.name).field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

/// One line in the log for each change, however often a waiter asks.
fn note_change(name: &Name, lost: &Lost, is_unreachable: &mut bool) {
    let was = mem::replace(is_unreachable, lost.verdict == Verdict::Unreachable);
    let lock = name.as_str();
    match (was, *is_unreachable) {
        (false, true) => {
            tracing::warn!(lock, nodes = %lost.failures, "too few nodes can be reached; trying again");
        }
        (true, false) => tracing::info!(lock, "enough nodes can be reached again"),
        (true, true) | (false, false) => {}
    }
}

fn unless_held_elsewhere(acquired: Result<LockGuard, Error>) -> Result<Option<LockGuard>, Error> {
    match acquired {
        Ok(guard) => Ok(Some(guard)),
        Err(Error::NotAcquired { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
