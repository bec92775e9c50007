//! Locks that readers share: what `read.lua`, `write.lua` and those beside them do.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{State, WAITING, kept};
use crate::node::{Action, Changes, Command, Reply};
use crate::protocol::{Admission, Counter, Holder, Mode, Occupancy};
use crate::values::readers_writers::SharedKeys;

impl State {
    /// What the node has of a lock, without what is this owner's own.
    fn occupancy(&self, keys: &SharedKeys, owner: &str, now: Instant) -> Occupancy {
        let readers = self.readers.get(keys.readers());
        Occupancy {
            is_written: self.live(keys.writer(), now).is_some_and(|entry| *entry.owner != *owner),
            is_read: readers
                .is_some_and(|readers| readers.iter().any(|(other, until)| **other != *owner && *until > now)),
            is_intended: self.intents.get(keys.intent()).is_some_and(|(_, until)| *until > now),
        }
    }

    fn is_reader(&self, keys: &SharedKeys, owner: &str, now: Instant) -> bool {
        self.readers.get(keys.readers()).and_then(|readers| readers.get(owner)).is_some_and(|until| *until > now)
    }

    fn is_writer(&self, keys: &SharedKeys, owner: &str, now: Instant) -> bool {
        self.live(keys.writer(), now).is_some_and(|entry| *entry.owner == *owner)
    }

    /// Lets somebody be a reader until this moment at least, in the place of the writer if he was that.
    fn set_reader(&mut self, keys: &SharedKeys, owner: &Arc<str>, until: Instant, now: Instant) {
        let was_writer_until =
            self.live(keys.writer(), now).filter(|entry| entry.owner == *owner).map(|entry| entry.expires);
        let readers = self.readers.entry(Arc::clone(keys.readers())).or_default();
        readers.retain(|_, until| *until > now);
        let entry = readers.entry(Arc::clone(owner)).or_insert(until);
        *entry = until.max(*entry).max(was_writer_until.unwrap_or(until));
        self.tell(keys.readers());
        if was_writer_until.is_some() {
            self.entries.remove(keys.writer());
            self.tell(keys.writer());
        }
    }

    /// What a reader asks.
    pub(super) fn apply_of_reader(
        &mut self,
        command: &Command,
        keys: &SharedKeys,
        changes: Option<&Changes>,
        now: Instant,
    ) -> Reply {
        let owner = &command.owner;
        match command.action {
            Action::Acquire { ttl, .. } => {
                let there = self.occupancy(keys, owner, now);
                let counter = command.fence.map(|_| self.fence(keys.writer(), now));
                if there.admit(Mode::Read, command.asker) != Admission::Granted {
                    self.watch(command, keys.of_interest_to_readers(), changes);
                    let writer = self.live(keys.writer(), now);
                    let writer = writer.map(|entry| (Arc::clone(&entry.owner), entry.expires));
                    // A reader who is refused for nobody would take it for a vote that was split, and ask again.
                    let stands = writer.or_else(|| self.intents.get(keys.intent()).cloned());
                    let (owner, until) = stands.unzip();
                    let remaining = until.map(|until| until.saturating_duration_since(now));
                    return Reply::NotOurs { owner, remaining, counter, mark: None };
                }
                self.set_reader(keys, owner, now + ttl, now);
                let counter = command.fence.map(|proposal| {
                    let shared = self.fence(keys.writer(), now).share(proposal);
                    self.fences.extend(shared.number().map(|counter| (Arc::clone(keys.writer()), counter)));
                    shared
                });
                Reply::Granted { counter, is_wanted: false, mark: None }
            }
            Action::Extend { ttl, .. } => {
                if self.is_reader(keys, owner, now) || self.is_writer(keys, owner, now) {
                    self.set_reader(keys, owner, now + ttl, now);
                    return Reply::Done;
                }
                if self.live(keys.writer(), now).is_some() { Reply::NOT_OURS } else { Reply::Missing }
            }
            Action::Commit { token } => {
                if !self.is_reader(keys, owner, now) && !self.is_writer(keys, owner, now) {
                    return Reply::NOT_OURS;
                }
                let committed = self.fence(keys.writer(), now).commit(Holder::Asker, token);
                let stored = committed.and_then(Counter::number);
                self.fences.extend(stored.map(|counter| (Arc::clone(keys.writer()), counter)));
                Reply::Done
            }
            Action::Release { keep, .. } => self.release_reader(keys, owner, keep, now),
            // They are not offered.
            Action::Adopt { .. } | Action::Mark => Reply::NOT_OURS,
        }
    }

    fn release_reader(&mut self, keys: &SharedKeys, owner: &Arc<str>, keep: Duration, now: Instant) -> Reply {
        let was_writer = self.is_writer(keys, owner, now);
        if was_writer {
            self.entries.remove(keys.writer());
            self.tell(keys.writer());
        }
        let mut was_reader = false;
        if let Some(readers) = self.readers.get_mut(keys.readers()) {
            let kept: Arc<str> = kept(owner).into();
            was_reader = readers.contains_key(&kept);
            if readers.remove(owner).is_some() {
                was_reader = true;
                if !keep.is_zero() {
                    readers.insert(kept, now + keep);
                }
            }
            if readers.is_empty() {
                self.readers.remove(keys.readers());
            }
            self.tell(keys.readers());
        }
        if was_writer || was_reader { Reply::Done } else { Reply::NOT_OURS }
    }

    /// What a writer asks that is not as for any lock with his key, or what comes before that.
    pub(super) fn apply_of_writer(
        &mut self,
        command: &Command,
        keys: &SharedKeys,
        changes: Option<&Changes>,
        now: Instant,
    ) -> Option<Reply> {
        match command.action {
            Action::Acquire { .. } => {
                let there = self.occupancy(keys, &command.owner, now);
                // Whom another writer keeps out is refused as for any lock.
                if there.is_written || !there.is_read {
                    if there.is_written {
                        self.watch(command, [keys.readers()], changes);
                    }
                    return None;
                }
                let is_kept_out = there.admit(Mode::Write, command.asker) == Admission::RefusedByReaders;
                if let Some(process) = command.contender.as_ref().filter(|_| is_kept_out) {
                    self.intents.insert(Arc::clone(keys.intent()), (Arc::clone(process), now + WAITING));
                }
                self.refused(command, keys.writer(), keys.of_interest_to_writers(), changes, now);
                let readers = self.readers.get(keys.readers()).into_iter().flatten();
                let last = readers.max_by_key(|(_, until)| **until);
                Some(Reply::NotOurs {
                    owner: last.map(|(owner, _)| Arc::clone(owner)),
                    remaining: last.map(|(_, until)| until.saturating_duration_since(now)),
                    counter: command.fence.map(|_| self.fence(keys.writer(), now)),
                    mark: None,
                })
            }
            Action::Release { .. } => {
                if command.contender.is_none() && self.is_writer(keys, &command.owner, now) {
                    self.intents.remove(keys.intent());
                }
                None
            }
            Action::Adopt { .. } | Action::Commit { .. } | Action::Extend { .. } | Action::Mark => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::memory::Server;
    use crate::protocol::Asker;
    use crate::values::keys::Keys;
    use crate::values::name::Name;
    use crate::values::subject::Kind;

    const TTL: Duration = Duration::from_secs(60);

    struct Lock(Server, Arc<SharedKeys>);

    impl Lock {
        fn new() -> Self {
            let name = Name::parse("x".to_owned()).unwrap();
            Self(Server::default(), Arc::new(SharedKeys::new(&Keys::default(), &name)))
        }

        fn ask(&self, mode: Mode, owner: &str, action: Action, waits: bool) -> Reply {
            let kind = match mode {
                Mode::Read => Kind::Reader,
                Mode::Write => Kind::Writer,
            };
            let subject = kind(Arc::clone(&self.1)).into();
            let contender = waits.then(|| Arc::from("process"));
            self.0.apply(&Command::acquire(action, &subject, &owner.into(), contender, None, None), None)
        }

        fn acquire(&self, mode: Mode, owner: &str, waits: bool) -> bool {
            let reply = self.ask(mode, owner, Action::Acquire { ttl: TTL, is_watched: false }, waits);
            matches!(reply, Reply::Granted { .. })
        }

        fn release(&self, mode: Mode, owner: &str, waits: bool) -> Reply {
            self.ask(mode, owner, Action::Release { keep: Duration::ZERO, behind: None, is_noted: false }, waits)
        }

        fn extend(&self, mode: Mode, owner: &str) -> Reply {
            self.ask(mode, owner, Action::Extend { ttl: TTL, is_noted: false }, false)
        }
    }

    #[test]
    fn readers_share_it_and_writers_do_not() {
        let lock = Lock::new();
        assert!(lock.acquire(Mode::Read, "a", false) && lock.acquire(Mode::Read, "b", false));
        assert!(!lock.acquire(Mode::Write, "w", false));
        assert_eq!(lock.release(Mode::Read, "a", false), Reply::Done);
        assert!(!lock.acquire(Mode::Write, "w", false), "each reader counts by himself");
        assert_eq!(lock.release(Mode::Read, "b", false), Reply::Done);
        assert!(lock.acquire(Mode::Write, "w", false));
        assert!(!lock.acquire(Mode::Read, "a", false) && !lock.acquire(Mode::Write, "v", false));
        assert_eq!(lock.extend(Mode::Read, "a"), Reply::NOT_OURS);
        assert_eq!(lock.release(Mode::Write, "w", false), Reply::Done);
        assert_eq!(lock.extend(Mode::Read, "a"), Reply::Missing);
    }

    #[test]
    fn a_writer_who_waits_keeps_new_readers_out_until_he_has_had_it() {
        let lock = Lock::new();
        assert!(lock.acquire(Mode::Read, "a", false));
        assert!(!lock.acquire(Mode::Write, "w", true));
        let refused = lock.ask(Mode::Read, "b", Action::Acquire { ttl: TTL, is_watched: false }, false);
        let keeps_out = matches!(&refused, Reply::NotOurs { owner: Some(process), remaining: Some(_), .. } if **process == *"process");
        assert!(keeps_out, "{refused:?}");
        assert_eq!(lock.extend(Mode::Read, "a"), Reply::Done);
        let again = Command::set_again(TTL, &Kind::Reader(Arc::clone(&lock.1)).into(), &"b".into());
        assert_eq!(again.asker, Asker::Holds);
        assert!(matches!(lock.0.apply(&again, None), Reply::Granted { .. }), "he was a reader before");
        for reader in ["a", "b"] {
            assert_eq!(lock.release(Mode::Read, reader, false), Reply::Done);
        }
        assert!(lock.acquire(Mode::Write, "w", true));
        assert_eq!(lock.release(Mode::Write, "w", true), Reply::Done);
        assert!(!lock.acquire(Mode::Read, "b", false), "the writer goes on waiting");
        assert!(lock.acquire(Mode::Write, "w", true));
        assert_eq!(lock.release(Mode::Write, "w", false), Reply::Done);
        assert!(lock.acquire(Mode::Read, "b", false));
    }

    #[test]
    fn a_writer_becomes_a_reader_without_letting_go() {
        let lock = Lock::new();
        assert!(lock.acquire(Mode::Write, "w", false));
        assert_eq!(lock.extend(Mode::Read, "w"), Reply::Done);
        assert!(lock.acquire(Mode::Read, "a", false));
        assert!(!lock.acquire(Mode::Write, "v", false));
        assert_eq!(lock.extend(Mode::Write, "w"), Reply::Missing, "nor is he the writer again");
        assert_eq!(lock.release(Mode::Read, "w", false), Reply::Done);
        assert_eq!(lock.release(Mode::Read, "a", false), Reply::Done);
        assert!(lock.acquire(Mode::Write, "v", false));
    }
}
