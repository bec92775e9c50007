//! Locks with permits: what `permit.lua` and those beside it do.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Entry, State};
use crate::node::{Action, Changes, Command, Reply};
use crate::protocol::{GrantedSlot, OthersKey, PERMITS_RETENTION, Proposal, RELEASED, SaidPermits, ToldSlots};
use crate::values::permits::Slots;
use crate::values::subject::Which;

impl State {
    /// What is about several permits.
    pub(super) fn apply_to_permits(
        &mut self,
        command: &Command,
        (slots, which): (&Slots, Which),
        changes: Option<&Changes>,
        now: Instant,
    ) -> Option<Reply> {
        match (command.action, which) {
            (Action::Acquire { ttl, .. }, Which::Any) => Some(self.grant_permit(command, slots, ttl, changes, now)),
            (Action::Release { .. }, Which::Any) => Some(self.release_permits(command, slots, None)),
            (Action::Release { .. }, Which::AllBut(slot)) => Some(self.release_permits(command, slots, Some(slot))),
            (Action::Release { .. }, Which::One(slot)) => {
                // What may be left of asking for any. The slot itself is released as any key.
                let _ = self.release_permits(command, slots, Some(slot));
                None
            }
            _ => None,
        }
    }

    /// Grants the first slot that is free: see `permit.lua`.
    fn grant_permit(
        &mut self,
        command: &Command,
        slots: &Slots,
        ttl: Duration,
        changes: Option<&Changes>,
        now: Instant,
    ) -> Reply {
        let said = self.permits.get(slots.line()).filter(|(_, until)| *until > now);
        let said = said.map(|(permits, until)| SaidPermits { permits: *permits, lives: *until - now });
        if said.is_none_or(|said| said.permits <= slots.said()) {
            self.permits.insert(Arc::clone(slots.line()), (slots.said(), now + PERMITS_RETENTION));
        }
        let held: Vec<_> = slots
            .keys()
            .iter()
            .map(|key| {
                let entry = self.live(key, now)?;
                let owner = entry.owner.strip_suffix(RELEASED).unwrap_or(&entry.owner);
                Some(OthersKey::told(Some(owner), None, Some(entry.expires.saturating_duration_since(now)), || now))
            })
            .collect();
        let asks_all = command.fence.is_some_and(Proposal::asks_all);
        let told = slots.keys().iter().filter(|_| asks_all);
        let counters = told.map(|key| Some(self.fence(key, now))).collect();
        let free = slots.order().iter().find(|slot| held[usize::from(**slot)].is_none()).copied();
        let granted = free.map(|slot| {
            let key = slots.key(slot);
            self.entries.insert(Arc::clone(key), Entry { owner: Arc::clone(&command.owner), expires: now + ttl });
            self.tell(key);
            let contender = command.contender.as_ref();
            let is_wanted = contender.is_some_and(|process| self.is_wanted(slots.line(), process, now));
            let counter = command.fence.map(|proposal| self.raise_fence(key, proposal, now));
            GrantedSlot { slot, counter, is_wanted }
        });
        if granted.is_none() {
            self.refused(command, slots.line(), slots.keys(), changes, now);
        }
        Reply::Slots(Box::new(ToldSlots { granted, held, counters, permits: said }))
    }

    /// Releases whatever an owner has of these slots, but for one.
    fn release_permits(&mut self, command: &Command, slots: &Slots, but: Option<u8>) -> Reply {
        let mut reply = Reply::NOT_OURS;
        for (_, key) in (0..).zip(slots.keys()).filter(|(slot, _)| Some(*slot) != but) {
            if self.entries.get(key).is_some_and(|entry| entry.owner == command.owner) {
                self.entries.remove(key);
                self.tell(key);
                reply = Reply::Done;
            }
        }
        reply
    }
}
