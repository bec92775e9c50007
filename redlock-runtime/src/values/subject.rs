use std::borrow::Cow;
use std::slice;
use std::sync::Arc;

use super::keys::Keys;
use super::permits::Slots;
use super::readers_writers::SharedKeys;
use super::several::Several;

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
/// All keys of a subject are in one slot of a cluster ([`slot::key_beside`](super::slot::key_beside)), or a cluster is asked slot by slot
/// ([`Several::by_slot`]). A kind is a variant of [`Kind`] and,
/// with it, what a node does for each [`Action`](crate::node::Action): an arm in `node::redis::commands::locks` with its script, one
/// in `node::memory`, and one in `node::custom`, or an error of the request as for [permits](crate::node::Voter::grants_permits),
/// because the nodes of users cannot. One owner's value stands for the whole of a subject, so a release is sent to a node once,
/// whatever its acquire may have left there: its script looks at all keys. How votes are counted where a grant is more than yes or
/// no is decided in `protocol`. Leases, renewals, repairs, release rounds and the lines of waiters need no change. ARCHITECTURE.md lists
/// the files, also of those who look at it.
///
/// Cloning takes no allocation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Subject {
    /// One key: a node grants it if it does not exist.
    Key(Arc<str>),
    /// What is more than that. In an Arc of its own, because every held lock has a subject, and most are no more than a key.
    Kind(Arc<Kind>),
}

/// What a lock is about that is more than one key.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// Permits that are asked for, held or released.
    Permits {
        /// All slots of the lock.
        slots: Arc<Slots>,
        /// Which of them is meant.
        which: Which,
    },
    /// A lock that readers share, by a reader: a node grants it beside other readers.
    Reader(Arc<SharedKeys>),
    /// The same by a writer: a node grants it where nobody is.
    Writer(Arc<SharedKeys>),
    /// Several keys: a node grants all of them, if none exists, or none.
    Several(Several),
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
        Kind::Permits { slots: Arc::new(slots), which: Which::Any }.into()
    }

    /// What it is more than one key.
    pub(crate) fn kind(&self) -> Option<&Kind> {
        match self {
            Self::Key(_) => None,
            Self::Kind(kind) => Some(kind),
        }
    }

    /// The text from which follows which node is asked first once a race was lost: equal for whoever can be in each other's way. Sets of
    /// names overlap in any way, so all sets begin at the same node: whoever waited for another one than those who overtake him would not
    /// learn that a majority had become free.
    pub(crate) fn decides_who_is_first(&self) -> &str {
        match self.kind() {
            Some(Kind::Several(_)) => "",
            _ => self.key(),
        }
    }

    /// The key that stands for the whole; of a permit, the one of its slot.
    pub(crate) fn key(&self) -> &Arc<str> {
        match self {
            Self::Key(key) => key,
            Self::Kind(kind) => match &**kind {
                Kind::Permits { slots, which: Which::Any | Which::AllBut(_) } => slots.line(),
                Kind::Permits { slots, which: Which::One(slot) } => slots.key(*slot),
                Kind::Reader(keys) | Kind::Writer(keys) => keys.writer(),
                Kind::Several(several) => &several.keys()[0],
            },
        }
    }

    /// Every key by whose change somebody may get what he waits for.
    pub(crate) fn keys(&self) -> slice::Iter<'_, Arc<str>> {
        let keys = match self {
            Self::Key(key) => slice::from_ref(key),
            Self::Kind(kind) => match &**kind {
                Kind::Permits { slots, .. } => slots.keys(),
                Kind::Reader(keys) => keys.of_interest_to_readers(),
                Kind::Writer(keys) => keys.of_interest_to_writers(),
                Kind::Several(several) => several.keys(),
            },
        };
        keys.iter()
    }

    /// What they stand in line for who keep one another waiting.
    pub(crate) fn line(&self) -> &Arc<str> {
        match self {
            Self::Key(key) => key,
            Self::Kind(kind) => match &**kind {
                Kind::Permits { slots, .. } => slots.line(),
                Kind::Reader(keys) => keys.readers(),
                Kind::Writer(keys) => keys.writer(),
                Kind::Several(several) => several.line(),
            },
        }
    }

    /// How many of a line can hold it at once.
    pub(crate) fn places(&self) -> u8 {
        match self.kind() {
            None | Some(Kind::Writer(_) | Kind::Several(_)) => 1,
            Some(Kind::Reader(_)) => u8::MAX,
            Some(Kind::Permits { slots, .. }) => slots.count(),
        }
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
        match self.kind() {
            Some(Kind::Permits { slots, which }) => Some((slots, *which)),
            _ => None,
        }
    }

    /// The same about these permits.
    pub(crate) fn about(&self, which: Which) -> Self {
        match self.kind() {
            Some(Kind::Permits { slots, .. }) => Kind::Permits { slots: Arc::clone(slots), which }.into(),
            _ => self.clone(),
        }
    }

    /// Of a writer, the same as a reader.
    pub(crate) fn downgraded(&self) -> Self {
        match self.kind() {
            Some(Kind::Writer(keys)) => Kind::Reader(Arc::clone(keys)).into(),
            _ => self.clone(),
        }
    }

    /// The keys under which the owner's value stands.
    pub(crate) fn own_keys(&self) -> slice::Iter<'_, Arc<str>> {
        let keys = match self {
            Self::Key(key) => slice::from_ref(key),
            Self::Kind(kind) => match &**kind {
                Kind::Permits { slots, which: Which::One(slot) } => slice::from_ref(slots.key(*slot)),
                Kind::Permits { .. } => &[],
                Kind::Reader(keys) => slice::from_ref(keys.readers()),
                Kind::Writer(keys) => slice::from_ref(keys.writer()),
                Kind::Several(several) => several.keys(),
            },
        };
        keys.iter()
    }

    /// Whether the owner's value stands under this key.
    pub(crate) fn stands_under(&self, key: &str) -> bool {
        self.own_keys().any(|own| **own == *key)
    }

    /// Whether its owner's label can be noted beside its key. Readers are many, and so are several keys.
    pub(crate) fn has_label(&self) -> bool {
        !matches!(self.kind(), Some(Kind::Reader(_) | Kind::Several(_)))
    }

    /// Whether those who hold it leave it to as many others of this line as like.
    pub(crate) fn is_shared(&self) -> bool {
        matches!(self.kind(), Some(Kind::Reader(_)))
    }

    /// Whether somebody who holds this keeps everybody who wants the other from it, for as long as a permit is not all of them. Readers
    /// do so with readers, too, while a writer waits.
    pub(crate) fn keeps_from(&self, other: &Self) -> bool {
        let is_plain = |subject: &Self| matches!(subject.kind(), None | Some(Kind::Several(_)));
        if is_plain(self) && is_plain(other) {
            return self.keys().any(|key| other.keys().any(|others| key == others));
        }
        match (self.kind(), other.kind()) {
            (Some(Kind::Reader(keys) | Kind::Writer(keys)), Some(Kind::Reader(others) | Kind::Writer(others))) => {
                keys == others
            }
            _ => self.line() == other.line(),
        }
    }

    /// The [lines](Self::line) that a change of this key is news for, and which of their keys it is; but for those of several names.
    pub(crate) fn news_of(key: &str) -> impl Iterator<Item = (Cow<'_, str>, u8)> {
        let (line, part) = match Keys::slot_of_permit(key) {
            Some((slot, beside)) => (Keys::permits_beside(beside).into(), slot),
            None => (key.into(), 0),
        };
        let shared = SharedKeys::line_beside(key).map(|line| (line.into(), 0));
        std::iter::once((line, part)).chain(shared)
    }
}

impl From<Arc<str>> for Subject {
    fn from(key: Arc<str>) -> Self {
        Self::Key(key)
    }
}

impl From<Kind> for Subject {
    fn from(kind: Kind) -> Self {
        Self::Kind(Arc::new(kind))
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
    use crate::values::name::Name;
    use crate::values::slot::slot_of;

    #[test]
    fn a_subject_is_no_larger_than_its_key() {
        assert_eq!(size_of::<Subject>(), size_of::<Arc<str>>());
    }

    #[test]
    fn those_who_may_be_in_each_other_s_way_ask_the_same_node_first() {
        let set = |names: &[&str]| {
            let names = names.iter().map(|name| Name::parse((*name).to_owned()).unwrap());
            Subject::from(Kind::Several(Several::new(&Keys::default(), names).unwrap()))
        };
        let (one, other) = (set(&["a"]), set(&["a", "b"]));
        assert_ne!(one.key(), other.key());
        assert_eq!(one.decides_who_is_first(), other.decides_who_is_first());
        assert_eq!(Subject::from("a").decides_who_is_first(), "a");
    }

    #[test]
    fn the_keys_of_a_lock_with_permits_are_in_one_slot_and_lead_to_its_line() {
        for name in ["x", "in{voi}ce:7", "{}", "a:3", "a}b{c}"] {
            let name = Name::parse(name.to_owned()).unwrap();
            let keys = Keys::default();
            let slots = Slots::new(&keys, &name, 3, |_| 12, |most| (0..most).collect());
            for (slot, key) in slots.keys().iter().enumerate() {
                assert_eq!(slot_of(key), slot_of(&keys.lock(&name)), "{key}");
                let (line, part) = Subject::news_of(key).next().unwrap();
                assert_eq!((&*line, usize::from(part)), (&**slots.line(), slot));
                assert_eq!(keys.name_of_permit(key), Some((name.clone(), part)));
                assert_eq!(keys.name_of(key), None);
            }
            assert_eq!(keys.name_of_permit(slots.line()), None);
            let plain = keys.lock(&name);
            assert!(Subject::news_of(&plain).eq([(Cow::Borrowed(&*plain), 0)]));
        }
    }

    #[test]
    fn a_change_of_any_key_of_a_shared_lock_leads_to_the_lines_of_those_whom_it_lets_in() {
        for name in ["x", "in{voi}ce:7", "{}", "a}b{c}"] {
            let (keys, name) = (Keys::default(), Name::parse(name.to_owned()).unwrap());
            let shared = Arc::new(SharedKeys::new(&keys, &name));
            let [reader, writer] = [Kind::Reader(Arc::clone(&shared)), Kind::Writer(shared)].map(Subject::from);
            for subject in [&reader, &writer] {
                for key in subject.keys() {
                    assert_eq!(slot_of(key), slot_of(&keys.lock(&name)), "{key}");
                    assert!(
                        Subject::news_of(key).any(|(line, part)| (&*line, part) == (&**subject.line(), 0)),
                        "{key}"
                    );
                    assert_eq!(keys.name_of(key), None);
                }
            }
            assert!(
                reader.keeps_from(&writer)
                    && writer.keeps_from(&reader)
                    && !reader.keeps_from(&(&*keys.lock(&name)).into())
            );
        }
    }

    #[test]
    fn several_names_keep_from_each_of_them() {
        let keys = Keys::default();
        let name = |name: &str| Name::parse(name.to_owned()).unwrap();
        let several = |names: &[&str]| {
            Subject::from(Kind::Several(Several::new(&keys, names.iter().map(|other| name(other))).unwrap()))
        };
        let plain = Subject::Key(keys.lock(&name("b")).into());
        assert!(several(&["a", "b"]).keeps_from(&plain) && plain.keeps_from(&several(&["b", "c"])));
        assert!(several(&["a", "b"]).keeps_from(&several(&["b", "c"])) && !several(&["a", "c"]).keeps_from(&plain));
        assert_eq!(several(&["b"]).line(), plain.line(), "one name is a plain lock");
    }
}
