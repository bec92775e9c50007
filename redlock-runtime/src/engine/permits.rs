use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Acquisition, AttemptFailed, Engine, Plan, Won};
use crate::platform::clock;
use crate::protocol::{AskOrder, Verdict};
use crate::values::subject::{Subject, Which};

impl Engine {
    /// One attempt to get any permit: a round for any, and where the nodes disagreed in that a second one for a slot that may be had,
    /// and no other. See [`protocol::permits`](crate::protocol::SlotTally).
    pub(super) async fn acquire_any_permit(
        self: &Arc<Self>,
        subject: Subject,
        ttl: Duration,
        until: Option<Instant>,
        plan: Plan,
    ) -> Result<Won, AttemptFailed> {
        let mut first = Acquisition::new(Arc::clone(self), subject.clone());
        let failed = match first.ask(clock::now(), ttl, until, plan.clone()).await {
            Ok(term) => return Ok(first.into_won(term)),
            Err(failed) => failed,
        };
        let second_choice = failed.permits.as_deref().and_then(|permits| permits.second_choice);
        let Some(slot) = second_choice.filter(|_| failed.verdict == Verdict::Split && !failed.was_cut_short) else {
            return Err(first.end_lost_attempt(failed, until).await);
        };
        // Both are sent on the same connections, the release first: it costs no round trip.
        let mut second = Acquisition::new(Arc::clone(self), subject.about(Which::One(slot)));
        let mut giving_back = pin!(first.give_back(until));
        let asked = {
            let plan = Plan { ask_order: AskOrder::AllAtOnce, contender: None, ..plan };
            let asking = pin!(second.ask(clock::now(), ttl, until, plan));
            let given_back = async {
                giving_back.as_mut().await;
                pending().await
            };
            tokio::select! {
                biased;
                never = given_back => never,
                asked = asking => asked,
            }
        };
        let second_failed = match asked {
            Ok(term) => {
                return Ok(Won { permits: failed.permits_said(), ..second.into_won(term) });
            }
            Err(failed) => second.end_lost_attempt(failed, until).await,
        };
        let AttemptFailed { mut seen, permits, counter, .. } = failed;
        seen.extend(second_failed.seen);
        // Somebody else has this one, which says nothing about the others.
        let verdict = match second_failed.verdict {
            Verdict::Refused => Verdict::Split,
            verdict => verdict,
        };
        let counter = counter.max(second_failed.counter);
        Err(AttemptFailed { verdict, seen, counter, permits, ..second_failed })
    }
}
