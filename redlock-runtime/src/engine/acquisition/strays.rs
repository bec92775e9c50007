//! Permits that nodes granted astray: another one than the one that was won.

use std::future::Future;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::Acquisition;
use crate::engine::{Engine, InFlight, Repairs};
use crate::node::{Carrier, Command, PendingReply, Reply};
use crate::platform::clock;
use crate::protocol::{AcquireEffect, SET_WON_AFTER, Tally};
use crate::values::subject::{Subject, Which};

/// A permit that was won, for the nodes that grant another one.
#[derive(Clone)]
struct WonPermit {
    /// The nodes.
    engine: Arc<Engine>,
    /// The permit.
    subject: Subject,
    /// Its number.
    slot: u8,
    /// Who won it.
    owner: Arc<str>,
    /// How long its keys live.
    ttl: Duration,
    /// Until when it counts as held.
    valid_until: Instant,
    /// What he asked for it, which is recalled when it is released.
    acquire: Option<Arc<Command>>,
}

impl Acquisition {
    /// If any permit was asked for, it is about the one from now on that most of the nodes granted. What others granted is given back.
    pub(super) fn narrow(&mut self, tally: &Tally) {
        let Some((slots, slot)) = tally.slots().zip(tally.slot()) else { return };
        let astray = slots.astray(slot);
        if !astray.is_empty() && matches!(self.subject.permits(), Some((_, Which::Any))) {
            let strays = Repairs { set: astray, ..Repairs::default() };
            self.engine.undo(&self.subject.about(Which::AllBut(slot)), &self.owner, strays);
        }
        self.subject = self.subject.about(Which::One(slot));
    }

    /// Sees to it that nodes which granted another permit than the others, or may yet, have the one that was won instead: long before
    /// it is renewed, so that it bears the loss of any minority.
    pub(super) fn bring_strays_back(&mut self, tally: &Tally, ttl: Duration, valid_until: Instant) {
        let Some((slots, slot)) = tally.slots().zip(tally.slot()) else { return };
        let astray = slots.astray(slot);
        if astray.is_empty() && self.stragglers.is_empty() {
            return;
        }
        let won = WonPermit {
            engine: Arc::clone(&self.engine),
            subject: self.subject.clone(),
            slot,
            owner: Arc::clone(&self.owner),
            ttl,
            valid_until,
            acquire: self.acquire.clone(),
        };
        let late = mem::take(&mut self.stragglers).into_iter().map(|asked| won.instead_of_late_stray(asked));
        self.stragglers = late.chain(astray.iter().map(|node| won.instead_of_stray(node))).collect();
    }
}

impl WonPermit {
    /// A node that answers later than the majority: what else it grants is given back at once, and the permit is set there instead.
    fn instead_of_late_stray(&self, InFlight { node, reply, sent }: InFlight) -> InFlight {
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
    fn instead_of_stray(&self, node: usize) -> InFlight {
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
