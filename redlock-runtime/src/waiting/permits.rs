//! How many permits locks have, as other processes said.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::protocol::{OthersSay, SaidPermits};
use crate::shown::shown;
use crate::values::name::Name;
use crate::values::permits::Slots;

/// Locks of which others said that they have another number of permits. A std mutex: it is never held across an await.
#[derive(Debug, Default)]
pub(crate) struct OthersPermits(Mutex<HashMap<Arc<str>, Told>>);

/// What others said.
#[derive(Clone, Copy, Debug)]
struct Told {
    /// How many permits there are.
    permits: u8,
    /// How many were said here.
    said: u8,
    /// Until when it counts.
    until: Instant,
}

/// So many locks are remembered. Of more, each acquisition learns anew, and people are told as often.
const ROOM: usize = 1000;

impl OthersPermits {
    /// How many permits others say that the lock with this line has; zero if nobody said anything else than is said here.
    pub(crate) fn of(&self, line: &str, now: Instant) -> u8 {
        let told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.get(line).filter(|told| told.until > now).map_or(0, |told| told.permits)
    }

    /// Nodes told what somebody said before. It is remembered no longer than they do: until then, or until a majority knows of no
    /// greater number any more. The first time that it differs, people are told of it.
    pub(crate) fn note(&self, name: &Name, slots: &Slots, others: OthersSay, now: Instant) {
        let said = slots.said();
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = told.get(slots.line()).filter(|told| told.until > now);
        let greatest = others.greatest.map_or(0, |others| others.permits);
        if !others.is_majority && known.is_some_and(|known| known.permits > greatest) {
            return;
        }
        let Some(SaidPermits { permits, lives }) = others.greatest.filter(|others| others.permits != said) else {
            told.remove(slots.line());
            return;
        };
        if told.len() >= ROOM && !told.contains_key(slots.line()) {
            told.retain(|_, told| told.until > now);
        }
        let new = Told { permits, said, until: now + lives };
        let before = if told.len() < ROOM || told.contains_key(slots.line()) {
            told.insert(Arc::clone(slots.line()), new)
        } else {
            None
        };
        drop(told);
        let is_known =
            before.is_some_and(|before| (before.permits, before.said) == (permits, said) && before.until > now);
        if !is_known {
            tracing::warn!(
                lock = %shown(name.as_str()),
                here = said,
                elsewhere = permits,
                "two processes differ in how many permits this lock has; the greater number counts, so say the same in all"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use crate::values::keys::Keys;

    #[test]
    fn what_others_say_is_remembered_for_as_long_as_the_nodes_keep_it() {
        let now = crate::platform::clock::now();
        let (name, others) = (Name::parse("a".to_owned()).unwrap(), OthersPermits::default());
        let slots = Slots::new(&Keys::default(), &name, 2, |_| 0, |most| (0..most).collect());
        let lives = Duration::from_secs(60);
        let say = |permits: u8, is_majority, now| {
            let greatest = (permits > 0).then_some(SaidPermits { permits, lives });
            others.note(&name, &slots, OthersSay { greatest, is_majority }, now);
        };
        say(2, true, now);
        assert_eq!(others.of(slots.line(), now), 0, "they agree");
        say(5, false, now);
        assert_eq!(others.of(slots.line(), now), 5);
        assert_eq!(others.of("another", now), 0);
        assert_eq!(others.of(slots.line(), now + lives), 0);
        for (less, kept) in [(2, 2), (0, 0), (3, 3)] {
            say(5, true, now);
            say(less, false, now);
            assert_eq!(others.of(slots.line(), now), 5, "the others may know better");
            say(less, true, now);
            assert_eq!(others.of(slots.line(), now), if kept == slots.said() { 0 } else { kept });
        }
        say(5, true, now);
        say(2, false, now + lives);
        assert_eq!(others.of(slots.line(), now + lives), 0);
    }
}
