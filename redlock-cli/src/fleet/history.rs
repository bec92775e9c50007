//! What happened to locks while somebody looked.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// So many changes of one lock are kept.
const EVENTS: usize = 200;

/// Of so many locks. Names that are used once, such as those with a number in them, would else fill the memory of who looks for
/// days.
const LOCKS: usize = 20_000;

/// A change of one lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// When it was seen, as the time since 1970.
    pub(crate) at: Duration,
    pub(crate) change: Change,
    /// How many waited then.
    pub(crate) waiting: u64,
}

/// What changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Somebody holds it who did not.
    Acquired { holder: Option<Arc<str>>, token: Option<u64> },
    /// It was released, and is kept from others until its `min_hold` is over.
    Kept,
    /// No owner has a majority.
    Unsettled,
    /// Nobody holds it any more, after it was held for so long.
    Released { held_for: Duration },
}

/// The changes of all locks.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// With a number that grows with each change.
    of: HashMap<Arc<str>, (u64, VecDeque<Event>)>,
    changes: u64,
}

impl History {
    pub(crate) fn note(&mut self, name: &Arc<str>, event: Event) {
        self.changes += 1;
        let (changed, events) = self.of.entry(Arc::clone(name)).or_default();
        *changed = self.changes;
        if events.len() == EVENTS {
            events.pop_front();
        }
        events.push_back(event);
        if self.of.len() > LOCKS + LOCKS / 4 {
            let mut ages: Vec<_> = self.of.values().map(|(changed, _)| *changed).collect();
            let surplus = ages.len() - LOCKS;
            let (_, oldest, _) = ages.select_nth_unstable(surplus);
            let oldest = *oldest;
            self.of.retain(|_, (changed, _)| *changed >= oldest);
        }
    }

    /// Notes who has acquired this lock, if the latest change does not say it: owners say who they are a moment later.
    pub(crate) fn name_owner(&mut self, name: &str, holder: Option<&Arc<str>>, token: Option<u64>) {
        let Some((changed, events)) = self.of.get_mut(name) else { return };
        if let Some(Event { change: Change::Acquired { holder: told, token: told_token }, .. }) = events.back_mut()
            && (told.is_none() && holder.is_some() || told_token.is_none() && token.is_some())
        {
            *told = holder.cloned();
            *told_token = token;
            self.changes += 1;
            *changed = self.changes;
        }
    }

    /// The changes of this lock, the latest first.
    pub(crate) fn of(&self, name: &str) -> impl Iterator<Item = &Event> {
        self.of.get(name).into_iter().flat_map(|(_, events)| events.iter().rev())
    }

    /// A number that is another one behind each change of this lock.
    pub(crate) fn version(&self, name: &str) -> u64 {
        self.of.get(name).map_or(0, |(changed, _)| *changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_changes_are_kept() {
        let mut history = History::default();
        let event = |at| Event { at: Duration::from_secs(at), change: Change::Kept, waiting: 0 };
        for at in 0..300 {
            history.note(&Arc::from("a"), event(at));
        }
        assert_eq!(history.of("a").count(), EVENTS);
        assert_eq!(history.of("a").next(), Some(&event(299)));
        for number in 0..2 * LOCKS {
            history.note(&Arc::from(number.to_string()), event(1));
        }
        assert!(history.of.len() <= LOCKS + LOCKS / 4);
        assert_eq!((history.version("a"), history.of("a").count()), (0, 0), "it changed longest ago");
        assert_eq!(history.of(&(2 * LOCKS - 1).to_string()).count(), 1);
    }
}
