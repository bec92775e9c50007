//! What a manager, its requests and its guards share.

use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::Notify;

use crate::Error;
use crate::engine::Engine;
use crate::held::lease::Lease;
use crate::held::owner_label::Labels;
use crate::held::renewal::Renewals;
use crate::held::unconfirmed_tokens::Unconfirmed;
use crate::platform::clock;
use crate::protocol::{FenceFallback, LONGEST_TTL, OnceTerms, SHORTEST_TTL, valid_until};
use crate::values::keys::Keys;
use crate::values::on_shutdown::OnShutdown;
use crate::waiting::counters::Statistics;
use crate::waiting::permits::OthersPermits;
use crate::waiting::queue::WaitQueues;

/// A clock of a test.
pub(crate) type TimeOfDay = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// The settings of a manager, its nodes, and the renewal of all locks that it holds.
pub(crate) struct Shared {
    /// The nodes.
    pub(crate) engine: Arc<Engine>,
    /// How names become keys.
    pub(crate) keys: Keys,
    /// The TTL of locks that set none.
    pub(crate) ttl: Duration,
    /// No lock has a longer one.
    longest_ttl: Duration,
    /// What to do if too few nodes remember earlier fencing tokens; `None`: locks have none.
    pub(crate) fence_fallback: Option<FenceFallback>,
    /// Those who hold or want a lock in this process.
    pub(crate) wait_queues: Arc<WaitQueues>,
    /// The renewal of all held locks.
    pub(crate) renewals: Arc<Renewals>,
    /// What the owners of held locks are called.
    pub(crate) labels: Arc<Labels>,
    /// Who waits for what.
    pub(crate) statistics: Arc<Statistics>,
    /// How many permits locks have, as others said.
    pub(crate) others_permits: OthersPermits,
    /// Releases by token that may be repeated.
    pub(crate) unconfirmed: Unconfirmed,
    /// What may be assumed about completed fires.
    pub(crate) once_terms: OnceTerms,
    /// What a test says that the machine's clock shows.
    time_of_day: Option<TimeOfDay>,
    /// What a shutdown does to those who hold a lock.
    pub(crate) on_shutdown: OnShutdown,
    /// Whether no more locks are acquired.
    is_shut_down: AtomicBool,
    /// Told when that begins.
    shutting_down: Notify,
    /// How often the body of an annotated function lost its lock.
    pub(crate) losses: AtomicU64,
}

impl Shared {
    pub(crate) fn new(
        engine: Arc<Engine>,
        keys: Keys,
        (ttl, longest_ttl): (Duration, Duration),
        fence_fallback: Option<FenceFallback>,
        owner_label: Option<Arc<str>>,
        (once_terms, time_of_day): (OnceTerms, Option<TimeOfDay>),
        (slow_poll, local_hand_over, on_shutdown): (Duration, bool, OnShutdown),
    ) -> Self {
        let (renewals, is_shut_down, losses) = (Arc::default(), AtomicBool::new(false), AtomicU64::new(0));
        let statistics = Statistics::new(Arc::clone(&engine), keys.clone());
        let labels = Labels::new(Arc::clone(&engine), owner_label);
        let waits = (slow_poll, local_hand_over, engine.reserves_tokens());
        let wait_queues = WaitQueues::new(engine.quorum(), engine.node_timeout(), fence_fallback, waits);
        engine.report_to(&wait_queues);
        Self {
            engine,
            keys,
            ttl,
            longest_ttl,
            fence_fallback,
            wait_queues,
            renewals,
            labels,
            statistics,
            others_permits: OthersPermits::default(),
            unconfirmed: Unconfirmed::default(),
            once_terms,
            time_of_day,
            on_shutdown,
            is_shut_down,
            shutting_down: Notify::new(),
            losses,
        }
    }

    /// The time of day, as the time since 1970.
    pub(crate) fn since_1970(&self) -> Duration {
        match &self.time_of_day {
            Some(clock) => clock().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default(),
            None => clock::since_1970(),
        }
    }

    /// Tells those who look at it that what ran under a lock ended well.
    pub(crate) fn run_ended(&self, lease: &Lease) {
        lease.run_ended(|| self.since_1970());
    }

    /// Acquires no more locks; returns those that are held.
    pub(crate) fn shut_down(&self) -> Vec<Arc<Lease>> {
        self.is_shut_down.store(true, Ordering::Release);
        self.shutting_down.notify_waiters();
        self.wait_queues.call_all()
    }

    /// What this comes to, unless no more locks are acquired before that.
    pub(crate) async fn unless_shut_down<T>(&self, acquiring: Pin<&mut impl Future<Output = T>>) -> Result<T, Error> {
        let shutting_down = self.shutting_down.notified();
        if self.is_shut_down() {
            return Err(Error::ShutDown);
        }
        tokio::select! {
            biased;
            acquired = acquiring => Ok(acquired),
            () = shutting_down => Err(Error::ShutDown),
        }
    }

    pub(crate) fn is_shut_down(&self) -> bool {
        self.is_shut_down.load(Ordering::Acquire)
    }

    /// Whether a shutdown has begun that asks those who hold a lock to let go at once.
    pub(crate) fn cancels_bodies(&self) -> bool {
        self.is_shut_down() && matches!(self.on_shutdown, OnShutdown::Cancel)
    }

    /// Whether a lock on these nodes can have this TTL; `setting` names it in the error.
    pub(crate) fn check_ttl(&self, setting: &str, ttl: Duration) -> Result<(), Error> {
        let Self { longest_ttl, .. } = self;
        check_length(setting, ttl)?;
        if ttl <= *longest_ttl {
            return Ok(());
        }
        let reason = format!(
            "{setting} of {ttl:?} is longer than `longest_ttl`, the longest that any lock on these nodes has, which is \
             {longest_ttl:?}; use a shorter one, because locks are renewed, or set `longest_ttl` of the builder, or \
             REDLOCK_LONGEST_TTL, in all processes: a node that restarted does not vote for that long"
        );
        Err(Error::Config { reason })
    }

    /// The longest TTL that a lock on these nodes has.
    pub(crate) fn longest_ttl(&self) -> Duration {
        self.longest_ttl
    }

    /// Until when a lock that was acquired by an attempt that began then can be valid without being renewed.
    pub(crate) fn longest_valid_until(&self, began: Instant) -> Instant {
        valid_until(began, self.longest_ttl)
    }
}

/// Whether a key can live for this long; `setting` names it in the error.
pub(crate) fn check_length(setting: &str, length: Duration) -> Result<(), Error> {
    if (SHORTEST_TTL..=LONGEST_TTL).contains(&length) {
        return Ok(());
    }
    let fault = if length < SHORTEST_TTL { "too short to leave a validity" } else { "too long" };
    let reason = format!(
        "{setting} of {length:?} is {fault}; use {SHORTEST_TTL:?} to {} days",
        LONGEST_TTL.as_secs() / (24 * 60 * 60)
    );
    Err(Error::Config { reason })
}

impl Drop for Shared {
    fn drop(&mut self) {
        if !self.engine.is_of_this_process() {
            // A copy that a child has of its parent's.
            mem::forget((Arc::clone(&self.engine), Arc::clone(&self.renewals)));
            return;
        }
        self.renewals.end();
    }
}
