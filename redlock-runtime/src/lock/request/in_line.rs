//! Waiting in line for a lock that somebody has.

use std::future::pending;
use std::sync::Arc;
use std::time::Instant;

use futures_util::future::select_all;

use super::attempts::{Pauses, marked};
use super::{LockRequest, not_acquired};
use crate::Error;
use crate::engine::Acquisition;
use crate::held::lease::{Lease, PassedOn, Successor};
use crate::lock::guard::LockGuard;
use crate::lock::resolved::Resolved;
use crate::observe::{Acquiring, REPEAT, harmless};
use crate::platform::clock;
use crate::shown::shown;
use crate::values::subject;
use crate::waiting::counters::Waiting;
use crate::waiting::queue::{NextStep, Offer, QueuePlace, Unreachable};

impl LockRequest {
    /// Attempts whenever the lock is believed to be free, until one is won or the time is over.
    pub(super) async fn stand_in_line(&self, request: Resolved, acquiring: &mut Acquiring) -> Result<LockGuard, Error> {
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
            if let NextStep::Ask(_) = next {
                acquiring.asks_nodes();
            }
            let overtaken = |error| {
                request.fire.iter().filter(|_| has_tried).for_each(|fire| fire.tell_if_overtaken(&error));
                error
            };
            match next {
                NextStep::Ask(plan) => match self.attempt(&request, &subject, plan).await.map_err(overtaken)? {
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
                    Err(failed) if has_tried && failed.was_cut_short => {}
                    Err(failed) => {
                        doubt = request.in_doubt(&failed);
                        if let Some(larger) = self.learn(name, &subject, failed.permits_said()) {
                            place.set_places(larger.places());
                            subject = larger;
                        }
                        // Not that of somebody who tries for long: it is told now what there is to mend.
                        let ends_soon = deadline.is_some_and(|deadline| deadline <= *began + REPEAT);
                        let is_told_later = self.tells_failure && ends_soon;
                        let pause = pauses.behind(failed.verdict);
                        place.failed(name.as_str(), &failed, clock::now(), pause, is_told_later);
                        if let Some(subject::Kind::Several(several)) = subject.kind() {
                            several.was_refused();
                        }
                        count(&mut counted, acquiring);
                    }
                },
                NextStep::Take(offer) => {
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
                NextStep::Wait(moment, local_holders) => {
                    count(&mut counted, acquiring);
                    let moment = deadline.map_or(moment, |deadline| deadline.min(moment));
                    wait_for_news(&place, moment, &local_holders).await;
                }
            }
            has_tried = true;
        }
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
