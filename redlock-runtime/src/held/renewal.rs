//! Extends held locks until their guards are gone.
//!
//! One task and one timer for all locks of a manager. It runs on the background runtime with connections of its own,
//! so a body that computes without awaiting does not starve it, whatever runtime that body is on.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::timeout;

use super::lease::Lease;
use crate::Error;
use crate::error::LostReason;
use crate::observe::RenewalFailure;
use crate::platform::background;
use crate::platform::schedule::{Schedule, Timer};
use crate::platform::tasks::JoinSet;
use crate::platform::{clock, entropy};
use crate::protocol::{Backoff, extended_together, renewal_due};
use crate::shown::shown;

/// When which lock is to be extended.
#[derive(Default)]
pub(crate) struct Renewals {
    /// A std mutex: it is never held across an await.
    schedule: Mutex<Locks>,
    /// From when on the moments are counted at which locks are extended together.
    origin: OnceLock<Instant>,
    /// Wakes the task for something that is due before what it sleeps for.
    earlier: Notify,
}

#[derive(Default)]
struct Locks {
    /// The locks by the moment they are due.
    due: Schedule<Arc<Lease>>,
    /// Whether the task was started.
    is_running: bool,
    /// Whether the manager is gone.
    is_over: bool,
}

/// The task looks at the clock this often at least: timers stand still while the machine is suspended, and then the loss of what
/// expired meanwhile is told this long after it wakes up, at most.
const LOOK: Duration = Duration::from_secs(1);

/// So many locks are extended together.
const BATCH: usize = 64;

/// So long the next ones wait for these, at most: with ten thousand locks, less than half a second in all.
const BATCH_TIME: Duration = Duration::from_millis(3);

impl Renewals {
    fn schedule(&self) -> MutexGuard<'_, Locks> {
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Renews a lock from now on, a third of its TTL after each success.
    pub(crate) fn start(self: &Arc<Self>, lease: &Arc<Lease>) {
        lease.set_renewed();
        self.add(self.due(lease.kept_since(), lease), Arc::clone(lease));
    }

    /// When a lock that was extended at this moment is extended again.
    fn due(&self, extended: Instant, lease: &Lease) -> Instant {
        let origin = *self.origin.get_or_init(clock::now);
        extended_together(renewal_due(extended, lease.ttl), lease.ttl, origin)
    }

    fn add(self: &Arc<Self>, moment: Instant, lease: Arc<Lease>) {
        if let Some(home) = lease.home() {
            home.spawn(extend_at(moment, Renewal { renewals: Arc::clone(self), lease: Some(lease) }));
            return;
        }
        let mut schedule = self.schedule();
        let (ticket, timer) = schedule.due.add(moment, Arc::clone(&lease));
        lease.set_ticket(Some(ticket));
        if !schedule.is_running {
            schedule.is_running = true;
            background::spawn(run(Arc::clone(self)));
        } else if timer == Timer::IsLate {
            self.earlier.notify_one();
        }
    }

    /// Begins to extend these locks. Of very many, some are through before the next are begun, because each takes memory
    /// and room in a server's queue meanwhile; but nothing that is slow keeps others waiting for long.
    async fn extend_all(self: &Arc<Self>, leases: impl Iterator<Item = Arc<Lease>>) {
        let mut batch = JoinSet::new();
        let mut batch_time = BATCH_TIME;
        for lease in leases {
            batch_time = batch_time.min(lease.ttl / PAUSE_PARTS.0);
            batch.spawn(Renewal { renewals: Arc::clone(self), lease: Some(lease) }.run());
            if batch.len() == BATCH {
                let through = async { while batch.join_next().await.is_some() {} };
                let _ = timeout(batch_time, through).await;
                batch.detach_all();
            }
        }
        batch.detach_all();
    }

    /// Forgets a lock whose guard is gone.
    pub(crate) fn stop(&self, lease: &Lease) {
        if let Some(ticket) = lease.set_ticket(None) {
            self.schedule().due.remove(ticket);
        }
    }

    /// Ends the task.
    pub(crate) fn end(&self) {
        self.schedule().is_over = true;
        self.earlier.notify_one();
    }
}

/// The task: sleeps until the next lock is due, and extends all that are.
async fn run(renewals: Arc<Renewals>) {
    loop {
        let (due, next) = {
            let mut schedule = renewals.schedule();
            if schedule.is_over {
                return;
            }
            let due = schedule.due.take_due(clock::now(), None);
            (due, schedule.due.timer())
        };
        renewals.extend_all(due).await;
        match next {
            None => renewals.earlier.notified().await,
            Some(moment) => tokio::select! {
                biased;
                () = clock::sleep_until(moment.min(clock::now() + LOOK)) => {}
                () = renewals.earlier.notified() => {}
            },
        }
    }
}

/// The renewal of a lock by a runtime with a clock of its own, which the others' timer does not know.
async fn extend_at(moment: Instant, mut renewal: Renewal) {
    let Some(lease) = renewal.lease.clone() else { return };
    tokio::select! {
        biased;
        () = clock::sleep_until(moment) => renewal.run().await,
        () = lease.until_over() => renewal.lease = None,
    }
}

/// The extension of one lock, tried until it succeeds or the validity is over. However it ends, a panic included, the
/// lock is either scheduled again or told to be lost.
struct Renewal {
    /// Where the next one is scheduled.
    renewals: Arc<Renewals>,
    /// The lock; taken out when it needs no more from here.
    lease: Option<Arc<Lease>>,
}

/// Pauses between two tries of an extension, as parts of the TTL: the first, and the longest.
const PAUSE_PARTS: (u32, u32) = (60, 12);

impl Renewal {
    async fn run(mut self) {
        let Some(lease) = self.lease.clone() else { return };
        let longest = lease.ttl / PAUSE_PARTS.1;
        let mut pauses = Backoff::new(lease.ttl / PAUSE_PARTS.0, longest, entropy::seed());
        while lease.is_held(clock::now()) {
            let now = clock::now();
            // Nothing to be had beyond `max_hold`; and an explicit extension may reach further than this one would.
            let is_enough = lease.is_final() || lease.valid_until() > now + lease.ttl;
            let extended = if is_enough { Ok(()) } else { lease.renew().await };
            match extended {
                Ok(()) => {
                    self.lease = None;
                    // The last time is for the log: it finds the lock lost.
                    let due = if lease.is_final() { lease.valid_until() } else { self.renewals.due(now, &lease) };
                    self.renewals.add(due, Arc::clone(&lease));
                    // The guard may have gone meanwhile, and found nothing to take out.
                    if !lease.is_held(clock::now()) {
                        self.renewals.stop(&lease);
                    }
                    return;
                }
                Err(Error::QuorumUnreachable { source, .. }) => {
                    lease.renewal_failed(RenewalFailure::Unreachable);
                    tracing::debug!(lock = %shown(lease.name.as_str()), %source, "extension failed, trying again");
                    let pause = pauses.next().unwrap_or(longest).max(Duration::from_millis(1));
                    clock::sleep_until(clock::now() + pause).await;
                }
                Err(error) => {
                    match error {
                        Error::Lost { reason: LostReason::Taken, .. } => lease.renewal_failed(RenewalFailure::Taken),
                        Error::Lost { reason: LostReason::Expired, .. } => {
                            lease.renewal_failed(RenewalFailure::Expired);
                        }
                        _ => {}
                    }
                    break;
                }
            }
        }
        self.lease = None;
        // Whoever waits for the loss has a timer of his own; this is for the log.
        if let Some(reason) = lease.lost_reason(clock::now()) {
            lease.lose(reason);
        }
    }
}

impl Drop for Renewal {
    fn drop(&mut self) {
        if let Some(lease) = self.lease.take() {
            lease.lose(LostReason::RenewalEnded);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use tokio::sync::mpsc;

    use super::*;
    use crate::engine::Engine;
    use crate::node::scripted::Scripted;
    use crate::node::{PendingReply, Reply};
    use crate::protocol::LONGEST_TTL;
    use crate::protocol::{Quorum, valid_until};
    use crate::values::name::Name;

    fn engine(answer: impl Fn() -> PendingReply + Send + Sync + 'static) -> Arc<Engine> {
        Engine::new(
            vec![Scripted::new(move |_, _| answer())],
            Quorum::of(1).unwrap(),
            Duration::from_millis(250),
            LONGEST_TTL,
        )
    }

    /// A lock that is held for a minute.
    fn held_on(engine: Arc<Engine>) -> Arc<Lease> {
        let (began, ttl) = (clock::now(), Duration::from_secs(60));
        let name = Name::parse("x".to_owned()).unwrap();
        // It is time to extend it.
        let held = (began, valid_until(began, ttl / 2), 0);
        Arc::new(Lease::new(engine, name, "key".into(), "owner".into(), ttl, held, None))
    }

    /// Such a lock and its renewal.
    fn renewal_on(answer: fn() -> PendingReply) -> (Arc<Lease>, Renewal) {
        let lease = held_on(engine(answer));
        let renewal = Renewal { renewals: Arc::default(), lease: Some(Arc::clone(&lease)) };
        (lease, renewal)
    }

    async fn check_told(lease: &Lease) {
        let told = timeout(Duration::from_secs(1), lease.until_lost()).await;
        assert_eq!(told, Ok(LostReason::RenewalEnded));
    }

    #[tokio::test]
    async fn a_renewal_that_panics_tells_the_loss() {
        let (lease, renewal) = renewal_on(|| panic!("as the test wants"));
        assert!(tokio::spawn(renewal.run()).await.unwrap_err().is_panic());
        check_told(&lease).await;
    }

    #[tokio::test]
    async fn a_renewal_whose_task_is_ended_tells_the_loss() {
        let (lease, renewal) = renewal_on(|| PendingReply::new(pending()));
        let task = tokio::spawn(renewal.run());
        tokio::task::yield_now().await;
        assert!(!task.is_finished());
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
        check_told(&lease).await;
    }

    #[tokio::test(start_paused = true)]
    async fn of_many_locks_only_some_are_extended_at_a_time() {
        // How many are on their way, and how many were at most.
        let counts = Arc::new(Mutex::new((0, 0)));
        let counted = Arc::clone(&counts);
        let engine = engine(move || {
            let counted = Arc::clone(&counted);
            PendingReply::new(async move {
                {
                    let (under_way, most) = &mut *counted.lock().unwrap();
                    *under_way += 1;
                    *most = (*under_way).max(*most);
                }
                tokio::task::yield_now().await;
                counted.lock().unwrap().0 -= 1;
                Reply::Done
            })
        });
        let renewals = Arc::new(Renewals::default());
        let leases: Vec<_> = (0..10 * BATCH).map(|_| held_on(Arc::clone(&engine))).collect();
        renewals.extend_all(leases.iter().cloned()).await;
        while renewals.schedule().due.len() < leases.len() {
            tokio::task::yield_now().await;
        }
        renewals.end();
        assert_eq!(*counts.lock().unwrap(), (0, BATCH));
    }

    #[tokio::test(start_paused = true)]
    async fn locks_whose_nodes_do_not_answer_keep_the_others_waiting_for_a_moment_only() {
        let deaf = engine(|| PendingReply::new(pending()));
        let (asked, mut was_asked) = mpsc::unbounded_channel();
        let well = engine(move || {
            asked.send(()).unwrap();
            PendingReply::new(ready(Reply::Done))
        });
        let leases = (0..4 * BATCH).map(|_| held_on(Arc::clone(&deaf))).chain([held_on(well)]);
        let (renewals, began) = (Arc::new(Renewals::default()), clock::now());
        renewals.extend_all(leases).await;
        was_asked.recv().await.unwrap();
        renewals.end();
        // Timers are as precise as a millisecond.
        let allowed = 4 * (BATCH_TIME + Duration::from_millis(1));
        assert!(clock::now() - began <= allowed, "{:?}", clock::now() - began);
    }

    #[tokio::test]
    async fn a_renewal_that_never_runs_tells_the_loss() {
        let (lease, renewal) = renewal_on(|| PendingReply::new(pending()));
        drop(renewal.run());
        check_told(&lease).await;
    }
}
