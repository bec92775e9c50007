//! Attempts to acquire, and the guard of one that was won.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::{LockRequest, not_acquired};
use crate::Error;
use crate::engine::{AttemptFailed, FireRefusal, Plan, Term, Won};
use crate::held::lease::Lease;
use crate::lock::guard::LockGuard;
use crate::lock::resolved::Resolved;
use crate::observe::Acquiring;
use crate::platform::{clock, entropy};
use crate::protocol::{Backoff, Next, OthersSay, Turns, Verdict, next_step};
use crate::values::name::Name;
use crate::values::subject::Subject;
use crate::waiting::queue::LocalHold;

impl LockRequest {
    /// Takes in how many permits others say that there are. What is asked for from now on, if that is more than it was.
    pub(super) fn learn(&self, name: &Name, subject: &Subject, told: Option<OthersSay>) -> Option<Subject> {
        let ((slots, _), others) = subject.permits().zip(told)?;
        self.shared.others_permits.note(name, slots, others, clock::now());
        (others.greatest?.permits > slots.count()).then(|| Subject::any_permit(self.slots(name, slots.said())))
    }

    /// One attempt, or more where one says nothing about the lock.
    pub(super) async fn ask_once(&self, request: Resolved, acquiring: &mut Acquiring) -> Result<LockGuard, Error> {
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
                Err(failed) => {
                    seen = failed.counter.max(seen);
                    if let Some(larger) = self.learn(&request.name, &subject, failed.permits_said()) {
                        subject = larger;
                        continue;
                    }
                    let waited = clock::now().saturating_duration_since(request.began);
                    match next_step(failed.verdict, waited, pauses.behind(failed.verdict), engine.node_timeout()) {
                        Next::TryAgainAfter(pause) => sleep(pause).await,
                        Next::GiveUp if failed.verdict == Verdict::Unreachable => {
                            return Err(match request.in_doubt(&failed) {
                                Some(doubt) => doubt,
                                None => failed.into_unreachable(&request.name, engine),
                            });
                        }
                        // However long the answers took: nobody waited for the holder.
                        Next::GiveUp => return Err(not_acquired(&request.name, Duration::ZERO)),
                    }
                }
            }
        }
    }

    /// One attempt: won, or not, or an error that no other attempt would mend.
    pub(super) async fn attempt(
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
            Err(failed) => match (fire, failed.fire.as_deref()) {
                (
                    Some(fire),
                    Some(told @ (FireRefusal::AlreadyRan { .. } | FireRefusal::Doubt { is_final: true, .. })),
                ) => Err(fire.error(name, *told, failed.failures)),
                _ => Ok(Err(failed)),
            },
            Ok(won) => Ok(Ok(won)),
        }
    }

    pub(super) fn guard(
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

/// Marks the fire of a lock that was just acquired, where that is due before its body. Boxed, because it hardly ever is.
pub(super) async fn marked(guard: LockGuard) -> Result<LockGuard, Error> {
    if guard.is_marked_before_body() { Box::pin(guard.marked_before_body()).await } else { Ok(guard) }
}

/// Pauses where asking again at once would only repeat the same. Most locks are free: chance is asked for with the first.
#[derive(Default)]
pub(super) struct Pauses(Option<Backoff>);

impl Pauses {
    /// The first, and the longest before jitter.
    const LENGTHS: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(100));

    /// The pause behind an attempt that ended so.
    pub(super) fn behind(&mut self, verdict: Verdict) -> Duration {
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
