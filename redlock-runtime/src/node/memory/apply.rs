//! What is asked about the key of one lock: what `acquire.lua` and those beside it do.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Entry, Server, State, kept};
use crate::node::{Action, Changes, Command, NewMark, Reply};
use crate::platform::clock;
use crate::protocol::{Ballot, Counter, Holder, Marked, ToldMark, confirmation};
use crate::values::subject::Kind;

impl Server {
    pub(super) fn apply(&self, command: &Command, changes: Option<&Changes>) -> Reply {
        let now = clock::now();
        let mut state = self.state();
        if let Some(reply) = state.apply_of_kind(command, changes, now) {
            return reply;
        }
        let entries = &mut state.entries;
        if entries.get(command.key()).is_some_and(|entry| entry.expires <= now) {
            entries.remove(command.key());
        }
        if let Some(mark) = state.told_mark(command, now)
            && command.mark.is_some_and(|query| query.refuses(mark.stored))
            && state.live(command.key(), now).is_none()
        {
            let counter = command.fence.map(|_| state.fence(command.key(), now));
            return Reply::NotOurs { owner: None, remaining: None, counter, mark: Some(Box::new(mark)) };
        }
        let entries = &mut state.entries;
        match (command.action, entries.get_mut(command.key())) {
            (Action::Acquire { ttl, .. }, None) => {
                let entry = Entry { owner: Arc::clone(&command.owner), expires: now + ttl };
                entries.insert(Arc::clone(command.key()), entry);
                state.tell(command.key());
                let is_wanted =
                    command.contender.as_ref().is_some_and(|process| state.is_wanted(command.key(), process, now));
                let counter = command.fence.map(|proposal| state.raise_fence(command.key(), proposal, now));
                Reply::Granted { counter, is_wanted, mark: state.told_mark(command, now).map(Box::new) }
            }
            (Action::Adopt { ttl }, Some(entry)) if command.is_to_adopt_from(&entry.owner) => {
                *entry = Entry { owner: Arc::clone(&command.owner), expires: entry.expires.max(now + ttl) };
                state.tell(command.key());
                let counter = command.fence.map(|_| state.fence(command.key(), now));
                Reply::Granted { counter, is_wanted: false, mark: None }
            }
            (Action::Commit { token }, held) => {
                let is_ours = held.is_some_and(|entry| entry.owner == command.owner);
                if !is_ours {
                    return Reply::NOT_OURS;
                }
                let committed = state.fence(command.key(), now).commit(Holder::Asker, token);
                let stored = committed.and_then(Counter::number);
                state.fences.extend(stored.map(|counter| (Arc::clone(command.key()), counter)));
                if confirmation(token, committed) == Ballot::Granted { Reply::Done } else { Reply::NOT_OURS }
            }
            (Action::Extend { ttl, .. }, Some(entry)) if entry.owner == command.owner => {
                entry.expires = entry.expires.max(now + ttl);
                state.tell(command.key());
                Reply::Done
            }
            (Action::Release { .. }, Some(entry)) if command.gives_back().is_some_and(|to| entry.owner == to.owner) => {
                Reply::Done
            }
            (action @ (Action::Mark | Action::Release { .. }), held) if command.new_mark.is_some() => {
                let holder = holder(held.as_deref(), command);
                if let (Holder::Asker, Action::Release { keep, .. }) = (holder, action) {
                    state.release_key(command.key(), &command.owner, keep, now);
                }
                command.new_mark.map_or(Reply::Done, |mark| state.complete(command.key(), holder, mark, now))
            }
            // It has a new mark.
            (Action::Mark, _) => Reply::Done,
            (Action::Release { keep, .. }, Some(entry)) if command.releases(&entry.owner) => {
                if let Some(to) = command.gives_back() {
                    entry.owner = Arc::clone(&to.owner);
                    state.tell(command.key());
                } else {
                    state.release_key(command.key(), &command.owner, keep, now);
                }
                Reply::Done
            }
            (Action::Release { .. }, Some(entry)) if *entry.owner == kept(&command.owner) => Reply::Done,
            (Action::Adopt { .. } | Action::Extend { .. }, None) => Reply::Missing,
            (Action::Acquire { .. } | Action::Adopt { .. } | Action::Extend { .. } | Action::Release { .. }, held) => {
                let remaining = held.as_ref().map(|entry| entry.expires.saturating_duration_since(now));
                let owner = held.map(|entry| Arc::clone(&entry.owner));
                state.refused(command, command.key(), [command.key()], changes, now);
                let counter = command.fence.map(|_| state.fence(command.key(), now));
                let mark = state.told_mark(command, now).map(Box::new);
                Reply::NotOurs { owner, remaining, counter, mark }
            }
        }
    }
}

impl State {
    /// Carries out what is asked of more than one key; `None` if there is more to do, or all, as for any lock with its key.
    fn apply_of_kind(&mut self, command: &Command, changes: Option<&Changes>, now: Instant) -> Option<Reply> {
        match command.subject.kind()? {
            Kind::Permits { slots, which } => self.apply_to_permits(command, (slots, *which), changes, now),
            Kind::Reader(keys) => Some(self.apply_of_reader(command, keys, changes, now)),
            Kind::Writer(keys) => self.apply_of_writer(command, keys, changes, now),
            Kind::Several(keys) => Some(self.apply_of_several(command, keys, changes, now)),
        }
    }

    /// Releases a key for its owner, or keeps it for this long.
    pub(super) fn release_key(&mut self, key: &Arc<str>, owner: &str, keep: Duration, now: Instant) {
        if keep.is_zero() {
            self.entries.remove(key);
        } else {
            let entry = Entry { owner: kept(owner).into(), expires: now + keep };
            self.entries.insert(Arc::clone(key), entry);
        }
        self.tell(key);
    }

    /// The mark of a lock, as an acquire that asks for it is told.
    fn told_mark(&self, command: &Command, now: Instant) -> Option<ToldMark> {
        command.mark.map(|_| {
            let (stored, expires) = self.living_mark(command.key(), now).unzip();
            let left = expires.map(|expires| expires.saturating_duration_since(now));
            ToldMark { stored, left, age: self.age(now) }
        })
    }

    /// Completes a fire, as far as the node takes part in it.
    fn complete(&mut self, key: &Arc<str>, holder: Holder, new: NewMark, now: Instant) -> Reply {
        let stored = self.mark(key, now);
        match Marked::by(stored.map(|stored| stored.fire), holder, new.stored.fire) {
            Marked::Raised { completed } => {
                let mark = stored.filter(|stored| stored.fire == completed).unwrap_or(new.stored);
                self.marks.insert(Arc::clone(key), (mark, now + new.retention));
                Reply::Done
            }
            Marked::Covered => Reply::Covered,
            Marked::Refused => Reply::NOT_OURS,
        }
    }
}

/// Whose a key is, as a command sees it.
fn holder(held: Option<&Entry>, command: &Command) -> Holder {
    if held.is_some_and(|entry| entry.owner == command.owner) { Holder::Asker } else { Holder::Other }
}
