//! What is due when, for a task with one timer that serves many.

use std::collections::BTreeMap;
use std::mem;
use std::time::Instant;

/// Entries by the moment at which they are due, and the moment for which the timer is set that serves them.
///
/// The timer is moved only for what is due before it: an entry that is taken out, as most are, costs it nothing.
#[derive(Debug)]
pub(crate) struct Schedule<T> {
    due: BTreeMap<Ticket, T>,
    /// The number of the last entry.
    last: u64,
    /// `None` if no timer runs.
    timer: Option<Instant>,
}

/// An entry: the moment, and a number that keeps equal moments apart.
pub(crate) type Ticket = (Instant, u64);

/// What an entry that was added means for the timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "an entry that is due before the timer's moment waits too long"]
pub(crate) enum Timer {
    /// It comes early enough.
    Suffices,
    /// It is to be set for this entry.
    IsLate,
}

impl<T> Default for Schedule<T> {
    fn default() -> Self {
        Self { due: BTreeMap::new(), last: 0, timer: None }
    }
}

impl<T> Schedule<T> {
    /// Adds an entry. If the timer is late for it, it counts as set for it from now on.
    pub(crate) fn add(&mut self, moment: Instant, entry: T) -> (Ticket, Timer) {
        self.last += 1;
        let ticket = (moment, self.last);
        self.due.insert(ticket, entry);
        if self.timer.is_some_and(|timer| timer <= moment) {
            return (ticket, Timer::Suffices);
        }
        self.timer = Some(moment);
        (ticket, Timer::IsLate)
    }

    pub(crate) fn get_mut(&mut self, ticket: Ticket) -> Option<&mut T> {
        self.due.get_mut(&ticket)
    }

    pub(crate) fn remove(&mut self, ticket: Ticket) -> Option<T> {
        self.due.remove(&ticket)
    }

    /// Takes out what is due, in the order in which it is. The timer is set for the next entry from now on, or for `at_latest`.
    pub(crate) fn take_due(&mut self, now: Instant, at_latest: Option<Instant>) -> impl Iterator<Item = T> + use<T> {
        let later = self.due.split_off(&(now, u64::MAX));
        let due = mem::replace(&mut self.due, later);
        let next = self.due.first_key_value().map(|((moment, _), _)| *moment);
        self.timer = next.into_iter().chain(at_latest).min();
        due.into_values()
    }

    /// Takes out everything; no timer runs any more.
    pub(crate) fn take_all(&mut self) -> impl Iterator<Item = T> + use<T> {
        self.timer = None;
        mem::take(&mut self.due).into_values()
    }

    /// For which moment the timer is set; `None` if none runs.
    pub(crate) fn timer(&self) -> Option<Instant> {
        self.timer
    }

    /// How many entries there are.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.due.len()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_due_is_taken_out_in_order_and_the_timer_is_moved_only_for_what_is_earlier() {
        let start = crate::platform::clock::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut schedule = Schedule::default();
        assert_eq!(schedule.add(at(5), "five").1, Timer::IsLate);
        assert_eq!(schedule.add(at(7), "seven").1, Timer::Suffices);
        let (three, timer) = schedule.add(at(3), "three");
        assert_eq!((timer, schedule.timer()), (Timer::IsLate, Some(at(3))));
        assert_eq!(schedule.add(at(5), "five again").1, Timer::Suffices);
        assert_eq!(schedule.remove(three), Some("three"));
        assert_eq!(schedule.timer(), Some(at(3)), "it is not moved for what is taken out");
        assert_eq!(schedule.take_due(at(5), None).collect::<Vec<_>>(), ["five", "five again"]);
        assert_eq!(schedule.timer(), Some(at(7)));
        assert_eq!(schedule.take_due(at(6), Some(at(6))).count(), 0);
        assert_eq!(schedule.timer(), Some(at(6)));
        assert_eq!(schedule.take_all().collect::<Vec<_>>(), ["seven"]);
        assert_eq!(schedule.timer(), None);
    }
}
