use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::keys::Keys;
use super::name::Name;
use super::slot::slot_of;
use crate::Error;

/// How many locks can be acquired at once, at most. A node is asked for all of them in one script, and the server does nothing else
/// meanwhile.
const MOST_NAMES: usize = 64;

/// Who was refused so often has precedence from then on. Sooner, those who want other sets would stand back for him often who could have
/// theirs before he is any nearer to his.
const REFUSALS: u32 = 4;

/// A waiter who has gone keeps others from nothing for longer than this part of the time for which he had waited, nor, if he did not get
/// his locks because somebody keeps one for hours, those of the others for longer at a time than [`MOST_PRECEDENCE`].
const PRECEDENCE: u32 = 4;

/// See [`PRECEDENCE`].
const MOST_PRECEDENCE: Duration = Duration::from_millis(250);

/// The least that there is: a round trip, and what others still do with it.
const LEAST_PRECEDENCE: Duration = Duration::from_millis(5);

/// Plain locks of several names, which one owner has all of or none.
#[derive(Debug)]
pub(crate) struct Several {
    /// Their keys, each once, in an order that is the same for everybody: by the slots of a cluster.
    keys: Box<[Arc<str>]>,
    /// What they stand in line for who want the same.
    line: Arc<str>,
    /// Who waits for them, and since when, if somebody does.
    waits: Option<Arc<Waits>>,
}

/// Somebody who waits for several locks.
///
/// Between those who want different sets there is no line, and whoever wants many would be overtaken again and again by those who want
/// few. So who was refused a few times leaves his number with each of the locks, for a part of the time for which he has waited by then,
/// and meanwhile none of them is granted, together with others, to who has waited for clearly less. That is fairness alone: what
/// safety needs is that a node grants a key that does not exist or none.
#[derive(Debug)]
struct Waits {
    since: Instant,
    number: u64,
    refusals: AtomicU32,
    /// Whether he has what he waited for: what is asked for from now on keeps that, and gives way to nobody.
    is_over: AtomicBool,
}

/// How somebody waits for several locks at a moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiting {
    /// What he is told from others by.
    pub(crate) number: u64,
    /// Since when.
    pub(crate) since: Instant,
    /// For how long by now.
    pub(crate) time: Duration,
    /// For how long he has precedence if he is refused now; zero: not at all.
    pub(crate) precedence: Duration,
}

impl Waiting {
    fn new(number: u64, since: Instant, refusals: u32, now: Instant) -> Self {
        let time = now.saturating_duration_since(since);
        let precedence = (time / PRECEDENCE).clamp(LEAST_PRECEDENCE, MOST_PRECEDENCE);
        Self { number, since, time, precedence: if refusals < REFUSALS { Duration::ZERO } else { precedence } }
    }

    /// How long another one has waited who has precedence over him. Not for a little longer than he: nodes are asked at different
    /// moments, and two who gave way to each other would both get nothing.
    pub(crate) fn gives_way_to(self) -> Duration {
        self.time + self.time / PRECEDENCE + LEAST_PRECEDENCE / 2
    }
}

/// The same for whoever waits for them.
impl PartialEq for Several {
    fn eq(&self, other: &Self) -> bool {
        self.line == other.line
    }
}

impl Eq for Several {}

impl Hash for Several {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.line.hash(state);
    }
}

impl Several {
    /// The locks of these names, of which some may be the same.
    ///
    /// # Errors
    ///
    /// No name, or too many.
    pub(crate) fn new(keys: &Keys, names: impl IntoIterator<Item = Name>) -> Result<Self, Error> {
        let keys: BTreeSet<_> = names
            .into_iter()
            .map(|name| {
                let key: Arc<str> = keys.lock(&name).into();
                (slot_of(&key), key)
            })
            .collect();
        match keys.len() {
            0 => Err(Error::Config { reason: "a lock of no names: name at least one".to_owned() }),
            count if count > MOST_NAMES => Err(Error::Config {
                reason: format!(
                    "a lock of {count} names at once: use {MOST_NAMES} at most, or one name for the whole of what they stand for"
                ),
            }),
            _ => Ok(Self::of(keys.into_iter().map(|(_, key)| key).collect(), None)),
        }
    }

    fn of(keys: Box<[Arc<str>]>, waits: Option<Arc<Waits>>) -> Self {
        // No key has a line break.
        Self { line: keys.join("\n").into(), keys, waits }
    }

    /// The same, which somebody waits for since then who is told from others by a number.
    pub(crate) fn awaited(self, since: Instant, number: u64) -> Self {
        let waits = Waits { since, number, refusals: AtomicU32::new(0), is_over: AtomicBool::new(false) };
        Self { waits: Some(Arc::new(waits)), ..self }
    }

    /// Whoever waits for them was refused.
    pub(crate) fn was_refused(&self) {
        if let Some(waits) = &self.waits {
            waits.refusals.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whoever waited for them has them.
    pub(crate) fn was_acquired(&self) {
        if let Some(waits) = &self.waits {
            waits.is_over.store(true, Ordering::Relaxed);
        }
    }

    /// Who waits for them, if somebody does.
    pub(crate) fn waiting(&self, now: Instant) -> Option<Waiting> {
        let Waits { since, number, refusals, is_over } = self.waits.as_deref()?;
        if is_over.load(Ordering::Relaxed) {
            return None;
        }
        Some(Waiting::new(*number, *since, refusals.load(Ordering::Relaxed), now))
    }

    /// What they stand in line for who want the same.
    pub(crate) fn line(&self) -> &Arc<str> {
        &self.line
    }

    /// The keys that a line is about.
    pub(crate) fn keys_of_line(line: &str) -> impl Iterator<Item = &str> + Clone {
        line.split('\n')
    }

    /// Their keys.
    pub(crate) fn keys(&self) -> &[Arc<str>] {
        &self.keys
    }

    /// Those that are in one slot of a cluster together, slot by slot; nothing if all are in one.
    pub(crate) fn by_slot(&self) -> Vec<Self> {
        let groups: Vec<_> = self.keys.chunk_by(|one, other| slot_of(one) == slot_of(other)).collect();
        let part = |keys: &[_]| Self::of(keys.into(), self.waits.clone());
        if groups.len() == 1 { Vec::new() } else { groups.into_iter().map(part).collect() }
    }
}

/// What people call a lock of these names: all of them, or as many as there is room for.
///
/// # Errors
///
/// A name that is none.
pub(crate) fn name_of_all(names: &[String]) -> Result<Name, Error> {
    let mut sorted: Vec<_> = names.iter().map(String::as_str).collect();
    sorted.sort_unstable();
    sorted.dedup();
    let Some((first, others)) = sorted.split_first() else {
        return Err(Error::Config { reason: "a lock of no names: name at least one".to_owned() });
    };
    Name::parse(sorted.join(" + ")).or_else(|_| {
        Name::parse((*first).to_owned())
            .and_then(|first| Name::parse(format!("{} + {} more", first.as_str(), others.len())).or(Ok(first)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn several(names: &[&str]) -> Result<Several, Error> {
        Several::new(&Keys::default(), names.iter().map(|name| Name::parse((*name).to_owned()).unwrap()))
    }

    #[test]
    fn names_are_taken_once_and_in_an_order_that_does_not_depend_on_who_names_them() {
        let one = several(&["a", "b", "c{x}", "a"]).unwrap();
        assert_eq!(one, several(&["c{x}", "b", "a", "b"]).unwrap());
        assert_eq!(one.keys().len(), 3);
        let slots: Vec<_> = one.keys().iter().map(|key| slot_of(key)).collect();
        assert!(slots.is_sorted(), "{slots:?}");
    }

    #[test]
    fn those_in_one_slot_of_a_cluster_are_asked_for_together() {
        assert!(several(&["{x}1", "{x}2"]).unwrap().by_slot().is_empty());
        let parts = several(&["{x}1", "{y}1", "{x}2"]).unwrap().by_slot();
        let mut sizes: Vec<_> = parts.iter().map(|part| part.keys().len()).collect();
        sizes.sort_unstable();
        assert_eq!(sizes, [1, 2]);
    }

    #[test]
    fn of_two_who_wait_one_at_most_gives_way_however_much_later_some_nodes_are_asked() {
        let since = crate::platform::clock::now();
        for waited in [0, 1, 5, 40, 1000, 60_000].map(Duration::from_millis) {
            let waiting = |refusals| Waiting::new(7, since, refusals, since + waited);
            let gives_way_to = |other: Duration| other > waiting(0).gives_way_to();
            assert!(gives_way_to(waited * 2 + LEAST_PRECEDENCE), "{waited:?}");
            for later in [Duration::ZERO, waited / 9, Duration::from_millis(1)] {
                assert!(!gives_way_to(waited + later), "{waited:?}, {later:?} later");
            }
            assert_eq!(waiting(REFUSALS - 1).precedence, Duration::ZERO);
            assert!((LEAST_PRECEDENCE..=MOST_PRECEDENCE).contains(&waiting(REFUSALS).precedence), "{waited:?}");
        }
    }

    #[test]
    fn no_names_and_too_many_are_refused() {
        assert!(several(&[]).is_err());
        let names: Vec<_> = (0..65).map(|name| name.to_string()).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let error = several(&names).unwrap_err().to_string();
        assert!(error.contains("65 names") && error.contains("64 at most"), "{error}");
        assert!(several(&names[..64]).is_ok());
    }
}
