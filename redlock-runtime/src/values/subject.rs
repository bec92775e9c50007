use std::borrow::Cow;
use std::slice;
use std::sync::Arc;

use super::keys::Keys;
use super::permits::Slots;

/// What a lock is about, as the nodes see it: the keys that an owner's value stands under, and what a node has to find there to
/// grant them.
///
/// It is the only place that knows how many keys a lock has. A request [is made](crate::lock) with one; from there to the node's
/// script it is passed on as it is, and whoever is on the way asks it for no more than
///
/// - [`key`](Self::key): the key that stands for the whole, by which a cluster finds the server, and people find the lock;
/// - [`keys`](Self::keys): all of them, for whoever is told of changes;
/// - [`line`](Self::line): the same for all who keep one another waiting, and [`places`](Self::places), how many of them do not.
///
/// # A new kind
///
/// All keys of a subject are in one slot of a cluster ([`slot::key_beside`](super::slot::key_beside)). A kind is a variant here and,
/// with it, what a node does for each [`Action`](crate::node::Action): an arm in `node::redis::commands::locks` with its script, one
/// in `node::memory`, and one in `node::custom`, or an error of the request as for [permits](crate::node::Voter::grants_permits),
/// because the nodes of users cannot. One owner's value stands for the whole of a subject, so a release is sent to a node once,
/// whatever its acquire may have left there: its script looks at all keys. How votes are counted where a grant is more than yes or
/// no is decided in `protocol`. Leases, renewals, repairs, release rounds and the lines of waiters need no change.
///
/// Cloning takes no allocation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Subject {
    /// One key: a node grants it if it does not exist.
    Key(Arc<str>),
    /// Permits. In an Arc of its own, because every held lock has a subject, and most have no permits.
    Permits(Arc<Permits>),
}

/// Permits that are asked for, held or released.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Permits {
    /// All slots of the lock.
    slots: Arc<Slots>,
    /// Which of them is meant.
    which: Which,
}

/// Which slots of a lock with permits are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Which {
    /// Any one of them: a node grants the first that does not exist, in the order in which they are wanted.
    Any,
    /// This one: a lock like any other, with that slot's key; but its release looks at all slots, because nobody knows which ones the
    /// nodes have granted that answered late.
    One(u8),
    /// All but this one: what is left of asking for any, and to be released.
    AllBut(u8),
}

impl Subject {
    /// Any permit of a lock.
    pub(crate) fn any_permit(slots: Slots) -> Self {
        Self::Permits(Arc::new(Permits { slots: Arc::new(slots), which: Which::Any }))
    }

    /// The key that stands for the whole; of a permit, the one of its slot.
    pub(crate) fn key(&self) -> &Arc<str> {
        match self {
            Self::Key(key) => key,
            Self::Permits(permits) => match permits.which {
                Which::Any | Which::AllBut(_) => permits.slots.line(),
                Which::One(slot) => permits.slots.key(slot),
            },
        }
    }

    /// Every key by whose change somebody may get what he waits for.
    pub(crate) fn keys(&self) -> slice::Iter<'_, Arc<str>> {
        match self {
            Self::Key(key) => slice::from_ref(key).iter(),
            Self::Permits(permits) => permits.slots.keys().iter(),
        }
    }

    /// What they stand in line for who keep one another waiting.
    pub(crate) fn line(&self) -> &Arc<str> {
        match self {
            Self::Key(key) => key,
            Self::Permits(permits) => permits.slots.line(),
        }
    }

    /// How many of a line can hold it at once.
    pub(crate) fn places(&self) -> u8 {
        self.permits().map_or(1, |(slots, _)| slots.count())
    }

    /// Which of its [keys](Self::keys) is held.
    pub(crate) fn part(&self) -> u8 {
        match self.permits() {
            Some((_, Which::One(slot))) => slot,
            _ => 0,
        }
    }

    /// The slots, and which are meant, if it is about permits.
    pub(crate) fn permits(&self) -> Option<(&Slots, Which)> {
        match self {
            Self::Key(_) => None,
            Self::Permits(permits) => Some((&permits.slots, permits.which)),
        }
    }

    /// The same about these permits.
    pub(crate) fn about(&self, which: Which) -> Self {
        match self {
            Self::Key(key) => Self::Key(Arc::clone(key)),
            Self::Permits(permits) => Self::Permits(Arc::new(Permits { slots: Arc::clone(&permits.slots), which })),
        }
    }

    /// The [line](Self::line) that a change of this key is news for, and which of its keys it is.
    pub(crate) fn news_of(key: &str) -> (Cow<'_, str>, u8) {
        match Keys::slot_of_permit(key) {
            Some((slot, beside)) => (Keys::permits_beside(beside).into(), slot),
            None => (key.into(), 0),
        }
    }
}

impl From<Arc<str>> for Subject {
    fn from(key: Arc<str>) -> Self {
        Self::Key(key)
    }
}

impl From<&Arc<str>> for Subject {
    fn from(key: &Arc<str>) -> Self {
        Self::Key(Arc::clone(key))
    }
}

#[cfg(test)]
impl From<&str> for Subject {
    fn from(key: &str) -> Self {
        Self::Key(Arc::from(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_no_larger_than_its_key() {
        assert_eq!(size_of::<Subject>(), size_of::<Arc<str>>());
    }
    use crate::values::name::Name;
    use crate::values::slot::slot_of;

    #[test]
    fn the_keys_of_a_lock_with_permits_are_in_one_slot_and_lead_to_its_line() {
        for name in ["x", "in{voi}ce:7", "{}", "a:3", "a}b{c}"] {
            let name = Name::parse(name.to_owned()).unwrap();
            let keys = Keys::default();
            let slots = Slots::new(&keys, &name, 3, |_| 12, |most| (0..most).collect());
            for (slot, key) in slots.keys().iter().enumerate() {
                assert_eq!(slot_of(key), slot_of(&keys.lock(&name)), "{key}");
                let (line, part) = Subject::news_of(key);
                assert_eq!((&*line, usize::from(part)), (&**slots.line(), slot));
                assert_eq!(keys.name_of_permit(key), Some((name.clone(), part)));
                assert_eq!(keys.name_of(key), None);
            }
            assert_eq!(keys.name_of_permit(slots.line()), None);
            assert_eq!(Subject::news_of(&keys.lock(&name)), (keys.lock(&name).into(), 0));
        }
    }
}
