//! Locks of several names: what `several.lua` and those beside it do.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Entry, State, kept};
use crate::node::{Action, Changes, Command, Reply};
use crate::protocol::{Ballot, Counter, Holder, confirmation};
use crate::values::several::{Several, Waiting};

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

    /// Which of these somebody is waiting for who has precedence over this one, and until when.
    fn preferred<'a>(&self, several: &'a Several, waiting: Waiting, now: Instant) -> Option<(&'a Arc<str>, Instant)> {
        let time = waiting.gives_way_to();
        several.keys().iter().find_map(|key| {
            let has_precedence = |(other, until): &&(Waiting, Instant)| {
                other.number != waiting.number && *until > now && now.saturating_duration_since(other.since) > time
            };
            self.precedence.get(key)?.iter().find(has_precedence).map(|(_, until)| (key, *until))
        })
    }

    /// From now on, this one has precedence for so long over who waits for less long; nobody any more whose time is over.
    fn set_precedence(&mut self, several: &Several, waiting: Waiting, now: Instant, precedence: Duration) {
        let until = now + precedence;
        for key in several.keys() {
            let noted = self.precedence.entry(Arc::clone(key)).or_default();
            noted.retain(|(other, until)| other.number != waiting.number && *until > now);
            if until > now {
                noted.push((waiting, until));
            }
            if noted.is_empty() {
                self.precedence.remove(key);
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
                let waiting = several.waiting(now);
                let others = |key| self.live(key, now).filter(|entry| entry.owner != command.owner);
                let mut blocked = several.keys().iter().filter_map(|key| Some((key, others(key)?)));
                let blocked = blocked.next().map(|(key, first)| {
                    // Whoever waits for several tells by it whether anything has changed: not only who has the first of them.
                    let owners =
                        blocked.fold(first.owner.to_string(), |owners, (_, other)| owners + " " + &other.owner);
                    (key, Some(Arc::from(owners)), first.expires.saturating_duration_since(now))
                });
                let preferred = || {
                    let (key, until) = self.preferred(several, waiting?, now)?;
                    Some((key, None, until.saturating_duration_since(now)))
                };
                if let Some((key, owner, remaining)) = blocked.or_else(preferred) {
                    self.refused(command, key, several.keys(), changes, now);
                    if let Some(waiting) = waiting {
                        self.set_precedence(several, waiting, now, waiting.precedence);
                    }
                    let counter = command.fence.map(|_| self.fence_of_all(several, now));
                    return Reply::NotOurs { owner, remaining: Some(remaining), counter, mark: None };
                }
                if let Some(waiting) = waiting {
                    self.set_precedence(several, waiting, now, Duration::ZERO);
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
                        self.release_key(key, &command.owner, keep, now);
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

    /// Who waits for these since so many milliseconds, and was refused so often.
    fn waits(names: &[&str], number: u64, milliseconds: u64, refusals: u32) -> Several {
        let names = names.iter().map(|name| Name::parse((*name).to_owned()).unwrap());
        let since = crate::platform::clock::now().checked_sub(Duration::from_millis(milliseconds)).unwrap();
        let several = Several::new(&Keys::default(), names).unwrap().awaited(since, number);
        (0..refusals).for_each(|_| several.was_refused());
        several
    }

    fn acquire(server: &Server, several: Several, owner: &str) -> Reply {
        let acquire = Action::Acquire { ttl: Duration::from_secs(60), is_watched: false };
        server.apply(&Command::new(acquire, &Kind::Several(several).into(), &owner.into()), None)
    }

    fn release(server: &Server, names: &[&str], owner: &str) {
        _ = ask(server, names, owner, Action::Release { keep: Duration::ZERO, behind: None, is_noted: false });
    }

    #[test]
    fn who_was_refused_again_and_again_has_precedence_over_who_has_waited_for_less() {
        let is_granted = |reply| matches!(reply, Reply::Granted { .. });
        for (refusals, has_precedence) in [(0, false), (3, false), (4, true)] {
            let server = Server::default();
            assert!(is_granted(acquire(&server, waits(&["b"], 1, 0, 0), "1")));
            assert!(!is_granted(acquire(&server, waits(&["a", "b"], 2, 10_000, refusals), "2")));
            release(&server, &["b"], "1");
            assert_eq!(is_granted(acquire(&server, waits(&["a", "c"], 3, 20, 0), "3")), !has_precedence, "{refusals}");
            release(&server, &["a", "c"], "3");
            assert!(is_granted(acquire(&server, waits(&["c"], 4, 0, 0), "4")), "nobody waits for that");
            // Who does not wait, and who has waited for nearly as long.
            assert!(is_granted(ask(
                &server,
                &["a"],
                "5",
                Action::Acquire { ttl: Duration::from_secs(9), is_watched: false }
            )));
            release(&server, &["a"], "5");
            assert!(is_granted(acquire(&server, waits(&["a"], 6, 9_900, 0), "6")));
            release(&server, &["a"], "6");
            assert!(is_granted(acquire(&server, waits(&["a", "b"], 2, 10_000, refusals), "2")));
            release(&server, &["a", "b"], "2");
            assert!(is_granted(acquire(&server, waits(&["a", "b"], 7, 0, 0), "7")), "it has what it waited for");
            release(&server, &["a", "b"], "7");
            // Who has them, and only sets them again where a node lost one, keeps nobody from anything.
            assert!(is_granted(acquire(&server, waits(&["b"], 8, 0, 0), "8")));
            let held = waits(&["a", "b"], 9, 10_000, refusals);
            held.was_acquired();
            assert!(!is_granted(acquire(&server, held, "9")));
            assert!(is_granted(acquire(&server, waits(&["a", "d"], 10, 0, 0), "10")));
        }
    }

    #[test]
    fn whoever_waits_is_told_of_each_of_several_others() {
        let server = Server::default();
        let told = || match acquire(&server, waits(&["a", "b"], 1, 0, 0), "1") {
            Reply::NotOurs { owner: Some(owner), .. } => owner,
            other => panic!("{other:?}"),
        };
        _ = acquire(&server, waits(&["a"], 2, 0, 0), "2");
        assert_eq!(&*told(), "2");
        _ = acquire(&server, waits(&["b"], 3, 0, 0), "3");
        let before = told();
        release(&server, &["b"], "3");
        _ = acquire(&server, waits(&["b"], 4, 0, 0), "4");
        assert_ne!(before, told());
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
