use std::future::{Future, pending};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::{Acquisition, AttemptFailed, Engine, InFlight, Plan, Repairs, Won};
use crate::node::{Carrier, Command, PendingReply, Reply};
use crate::platform::clock;
use crate::protocol::{AcquireEffect, AskOrder, SET_WON_AFTER, Verdict};
use crate::values::subject::{Subject, Which};

/// A permit that was won, for the nodes that grant another one.
#[derive(Clone)]
pub(super) struct WonPermit {
    /// The nodes.
    pub(super) engine: Arc<Engine>,
    /// The permit.
    pub(super) subject: Subject,
    /// Its number.
    pub(super) slot: u8,
    /// Who won it.
    pub(super) owner: Arc<str>,
    /// How long its keys live.
    pub(super) ttl: Duration,
    /// Until when it counts as held.
    pub(super) valid_until: Instant,
    /// What he asked for it, which is recalled when it is released.
    pub(super) acquire: Option<Arc<Command>>,
}

impl WonPermit {
    /// A node that answers later than the majority: what else it grants is given back at once, and the permit is set there instead.
    pub(super) fn instead_of_late_stray(&self, InFlight { node, reply, sent }: InFlight) -> InFlight {
        let (won, carrier) = (self.clone(), reply.carrier().clone().first());
        let last = carrier.clone();
        let seen_through = async move {
            let reply = reply.await;
            if reply.acquire_effect() == AcquireEffect::NotSet || won.is_granted_by(&reply) {
                return reply;
            }
            won.engine.undo(
                &won.subject.about(Which::AllBut(won.slot)),
                &won.owner,
                Repairs::after_acquire(node, &reply),
            );
            if let Reply::Failed(_) = reply { reply } else { won.set(node, last).await }
        };
        InFlight { node, reply: self.in_background(carrier, seen_through), sent }
    }

    /// Sets it on a node whose grant of another one is being given back.
    pub(super) fn instead_of_stray(&self, node: usize) -> InFlight {
        let carrier = Carrier::none_yet();
        InFlight { node, reply: self.in_background(carrier.clone(), self.clone().set(node, carrier)), sent: None }
    }

    /// A key of somebody else, who mostly gives it back as well, is in the way for a moment.
    async fn set(self, node: usize, carrier: Carrier) -> Reply {
        let mut reply = Reply::NOT_OURS;
        for pause in SET_WON_AFTER {
            sleep(pause).await;
            let is_over = self.acquire.as_ref().is_some_and(|acquire| acquire.is_recalled());
            if is_over || clock::now() >= self.valid_until {
                break;
            }
            // Its connection may be made when the permit was released, which does not wait for that.
            let command = Command::set_besides(self.ttl, &self.subject, &self.owner, self.acquire.as_ref());
            let asked = self.engine.ask(node, &command).reply;
            carrier.goes_on(asked.carrier().clone());
            reply = asked.await;
            if reply.acquire_effect() != AcquireEffect::NotSet {
                break;
            }
        }
        reply
    }

    fn is_granted_by(&self, reply: &Reply) -> bool {
        match reply {
            Reply::Slots(told) => told.granted.is_some_and(|granted| granted.slot == self.slot),
            Reply::Granted { .. } | Reply::Done => true,
            _ => false,
        }
    }

    /// What ends with a reply, in the background: the caller's runtime may never run again.
    fn in_background(&self, carrier: Carrier, reply: impl Future<Output = Reply> + Send + 'static) -> PendingReply {
        let (told, pending) = PendingReply::of_task(carrier);
        self.engine.spawn(async move {
            // Whoever released the permit without waiting for it does not listen any more.
            let _ = told.send(reply.await);
        });
        pending
    }
}

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
            return Err(first.end_lost_attempt(failed, until).await);
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

#[cfg(test)]
mod tests {
    use std::future::ready;

    use tokio::sync::watch;
    use tokio::time::timeout;

    use super::*;
    use crate::node::scripted::Scripted;
    use crate::node::{Action, Voter};
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
