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
        let failed = match first.ask(clock::now(), ttl, until, &plan).await {
            Ok(term) => return Ok(first.into_won(term)),
            Err(failed) => failed,
        };
        let second_choice = failed.permits.as_deref().and_then(|permits| permits.second_choice);
        let Some(slot) = second_choice.filter(|_| failed.verdict == Verdict::Split && !failed.was_cut_short) else {
            return Err(first.end_failed_attempt(failed, until).await);
        };
        // Both are sent on the same connections, the release first: it costs no round trip.
        let mut second = Acquisition::new(Arc::clone(self), subject.about(Which::One(slot)));
        let mut giving_back = pin!(first.give_back(until));
        let asked = {
            let plan = Plan { ask_order: AskOrder::AllAtOnce, contender: None, ..plan };
            let asking = pin!(second.ask(clock::now(), ttl, until, &plan));
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
            Err(failed) => second.end_failed_attempt(failed, until).await,
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

#[cfg(test)]
mod tests {
    use std::future::ready;

    use tokio::sync::watch;
    use tokio::time::timeout;

    use super::*;
    use crate::node::scripted::Scripted;
    use crate::node::{Action, Carrier, Command, PendingReply, Reply, Voter};
    use crate::protocol::{Asker, GrantedSlot, LONGEST_TTL, Quorum, ToldSlots};
    use crate::values::keys::Keys;
    use crate::values::name::Name;
    use crate::values::permits::Slots;

    #[tokio::test]
    async fn a_permit_that_was_released_is_not_set_where_a_connection_is_made_then() {
        let (told, mut setting) = watch::channel(None);
        let node = |slot| -> Arc<dyn Voter> {
            let told = told.clone();
            Scripted::voter(move |command, _| {
                let granted = Some(GrantedSlot { slot, counter: None, is_wanted: false });
                let slots = ToldSlots { granted, held: vec![None; 2], counters: Vec::new(), permits: None };
                match (command.action, command.asker) {
                    (Action::Acquire { .. }, Asker::Comes) => PendingReply::new(ready(Reply::Slots(Box::new(slots)))),
                    (Action::Acquire { .. }, Asker::Holds) => {
                        let _ = told.send(Some(command));
                        PendingReply::new(pending()).carried_by(Carrier::none_yet())
                    }
                    _ => PendingReply::new(ready(Reply::Done)),
                }
            })
        };
        let nodes = vec![node(0), node(0), node(1)];
        let engine = Engine::new(nodes, Quorum::of(3).unwrap(), Duration::from_secs(5), LONGEST_TTL);
        let name = Name::parse("x".to_owned()).unwrap();
        let slots = Slots::new(&Keys::default(), &name, 2, |_| 2, |count| (0..count).collect());
        let (subject, ttl) = (Subject::any_permit(slots), Duration::from_secs(60));
        let won = engine.acquire(subject, ttl, None, Plan::once(None)).await.expect("two of three grant the same");

        let set = timeout(Duration::from_secs(10), setting.wait_for(Option::is_some)).await.expect("it is set");
        let set: Arc<Command> = set.unwrap().clone().expect("it was waited for");
        assert!(!set.is_recalled(), "it is held");
        won.acquisition.release().await.expect("a majority confirms");
        assert!(set.is_recalled());
    }
}
