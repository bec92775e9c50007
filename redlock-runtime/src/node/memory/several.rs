//! Locks of several names: what `several.lua` and those beside it do.

use std::sync::Arc;
use std::time::Instant;

use super::{Entry, State, kept};
use crate::node::{Action, Changes, Command, Reply};
use crate::protocol::{Ballot, Counter, Holder, confirmation};
use crate::values::several::Several;

impl State {
    fn is_owners(&self, command: &Command, several: &Several, now: Instant) -> bool {
        several.keys().iter().all(|key| self.live(key, now).is_some_and(|entry| entry.owner == command.owner))
    }

    /// The counter of all of them.
    fn fence_of_all(&self, several: &Several, now: Instant) -> Counter {
        Counter::of_all(several.keys().iter().map(|key| self.fence(key, now)))
    }

    /// Raises the counters that are not forgotten, or all of them.
    fn raise(&mut self, several: &Several, counter: Counter, now: Instant) {
        for key in several.keys() {
            if self.fence(key, now) != Counter::Forgotten || counter != Counter::Forgotten {
                self.fences.extend(counter.number().map(|number| (Arc::clone(key), number)));
            }
        }
    }

    /// What is asked of several keys.
    pub(super) fn apply_of_several(
        &mut self,
        command: &Command,
        several: &Several,
        changes: Option<&Changes>,
        now: Instant,
    ) -> Reply {
        match command.action {
            Action::Acquire { ttl, .. } => {
                let blocked = several.keys().iter().find_map(|key| {
                    let entry = self.live(key, now).filter(|entry| entry.owner != command.owner)?;
                    Some((key, Arc::clone(&entry.owner), entry.expires.saturating_duration_since(now)))
                });
                if let Some((key, owner, remaining)) = blocked {
                    self.refused(command, key, several.keys(), changes, now);
                    let counter = command.fence.map(|_| self.fence_of_all(several, now));
                    return Reply::NotOurs { owner: Some(owner), remaining: Some(remaining), counter, mark: None };
                }
                for key in several.keys() {
                    let before = self.live(key, now).map_or(now, |entry| entry.expires);
                    let entry = Entry { owner: Arc::clone(&command.owner), expires: before.max(now + ttl) };
                    self.entries.insert(Arc::clone(key), entry);
                    self.tell(key);
                }
                let counter = command.fence.map(|proposal| {
                    let granted = self.fence_of_all(several, now).grant(proposal);
                    self.raise(several, granted, now);
                    granted
                });
                let wants = |process| several.keys().iter().any(|key| self.is_wanted(key, process, now));
                let is_wanted = command.contender.as_ref().is_some_and(wants);
                Reply::Granted { counter, is_wanted, mark: None }
            }
            Action::Commit { token } => {
                if !self.is_owners(command, several, now) {
                    return Reply::NOT_OURS;
                }
                let commit = |key: &Arc<str>| self.fence(key, now).commit(Holder::Asker, token);
                let committed: Vec<_> = several.keys().iter().filter_map(commit).collect();
                let stored = committed.iter().filter_map(|counter| counter.number());
                self.fences.extend(several.keys().iter().cloned().zip(stored));
                let is_confirmed = confirmation(token, Some(Counter::of_all(committed))) == Ballot::Granted;
                if is_confirmed { Reply::Done } else { Reply::NOT_OURS }
            }
            Action::Extend { ttl, .. } => {
                let live = || several.keys().iter().map(|key| self.live(key, now));
                if live().flatten().any(|entry| entry.owner != command.owner) {
                    return Reply::NOT_OURS;
                }
                if live().any(|entry| entry.is_none()) {
                    return Reply::Missing;
                }
                for key in several.keys() {
                    if let Some(entry) = self.entries.get_mut(key) {
                        entry.expires = entry.expires.max(now + ttl);
                    }
                    self.tell(key);
                }
                Reply::Done
            }
            Action::Release { keep, .. } => {
                let kept_as: Arc<str> = kept(&command.owner).into();
                let mut reply = Reply::NOT_OURS;
                for key in several.keys() {
                    let owner = self.live(key, now).map(|entry| Arc::clone(&entry.owner));
                    if owner.as_ref() == Some(&command.owner) {
                        if keep.is_zero() {
                            self.entries.remove(key);
                        } else {
                            let entry = Entry { owner: Arc::clone(&kept_as), expires: now + keep };
                            self.entries.insert(Arc::clone(key), entry);
                        }
                        self.tell(key);
                        reply = Reply::Done;
                    } else if owner.as_ref() == Some(&kept_as) {
                        reply = Reply::Done;
                    }
                }
                reply
            }
            // They are not offered.
            Action::Adopt { .. } | Action::Mark => Reply::NOT_OURS,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::node::memory::Server;
    use crate::values::keys::Keys;
    use crate::values::name::Name;
    use crate::values::subject::Kind;

    fn ask(server: &Server, names: &[&str], owner: &str, action: Action) -> Reply {
        let names = names.iter().map(|name| Name::parse((*name).to_owned()).unwrap());
        let subject = Kind::Several(Several::new(&Keys::default(), names).unwrap()).into();
        server.apply(&Command::new(action, &subject, &owner.into()), None)
    }

    #[test]
    fn all_are_granted_or_none() {
        let server = Server::default();
        let ttl = Duration::from_secs(60);
        let acquire = |names: &[&str], owner: &str| {
            matches!(ask(&server, names, owner, Action::Acquire { ttl, is_watched: false }), Reply::Granted { .. })
        };
        let extend = |names: &[&str], owner: &str| ask(&server, names, owner, Action::Extend { ttl, is_noted: false });
        let release = |names: &[&str], owner: &str| {
            ask(&server, names, owner, Action::Release { keep: Duration::ZERO, behind: None, is_noted: false })
        };
        assert!(acquire(&["a", "b"], "1"));
        assert!(!acquire(&["b", "c"], "2") && !acquire(&["a"], "2"));
        assert!(acquire(&["c"], "3"), "nothing stayed of what was refused");
        assert_eq!(extend(&["a", "b"], "1"), Reply::Done);
        assert_eq!(release(&["a"], "1"), Reply::Done);
        assert_eq!(extend(&["a", "b"], "1"), Reply::Missing);
        assert!(acquire(&["a"], "4"));
        assert_eq!(extend(&["a", "b"], "1"), Reply::NOT_OURS);
        assert_eq!(release(&["a", "b"], "1"), Reply::Done, "what is left of it");
        assert!(acquire(&["b"], "5") && !acquire(&["a"], "5"));
    }
}
