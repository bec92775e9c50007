use std::collections::VecDeque;

use crate::rules::{Rule, holds};

/// The waiters of a queue, first come first, each by its number.
#[derive(Debug)]
pub(super) struct Line<W>(VecDeque<(u64, W)>);

impl<W> Line<W> {
    pub(super) fn new() -> Self {
        Self(VecDeque::new())
    }

    /// A waiter goes to the end; its number is greater than all before.
    pub(super) fn join(&mut self, number: u64, waiter: W) {
        let position = if holds(Rule::FirstComeFirstServed) { self.0.len() } else { self.0.len().min(1) };
        self.0.insert(position, (number, waiter));
    }

    /// A waiter gives up its place.
    pub(super) fn leave(&mut self, number: u64) {
        if let Some(position) = self.position(number) {
            self.0.remove(position);
        }
        if self.0.is_empty() {
            // A lock is held for longer than it is waited for.
            self.0 = VecDeque::new();
        }
    }

    /// The first in line goes to the end.
    pub(super) fn overtake_first(&mut self) {
        if let Some(first) = self.0.pop_front() {
            self.0.push_back(first);
        }
    }

    pub(super) fn first(&self) -> Option<&(u64, W)> {
        self.0.front()
    }

    /// Whoever stands behind the first.
    pub(super) fn second(&self) -> Option<&W> {
        self.0.get(1).map(|(_, waiter)| waiter)
    }

    pub(super) fn is_first(&self, number: u64) -> bool {
        self.first().is_some_and(|(first, _)| *first == number)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn get(&self, number: u64) -> Option<&W> {
        match self.first()? {
            (first, waiter) if *first == number => Some(waiter),
            _ => self.position(number).and_then(|position| self.0.get(position)).map(|(_, waiter)| waiter),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &W> {
        self.0.iter().map(|(_, waiter)| waiter)
    }

    /// Waiters stand in the order of their numbers, but for those that were overtaken. Of thousands, looking at all would be
    /// too slow.
    fn position(&self, number: u64) -> Option<usize> {
        let sorted = self.0.binary_search_by_key(&number, |(number, _)| *number).ok();
        sorted.or_else(|| self.0.iter().position(|(place, _)| *place == number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line that so many joined, of whom these were overtaken and these have left.
    fn check(joined: u64, overtaken: usize, left: &[u64], expect: &[u64]) {
        let mut line = Line::new();
        (0..joined).for_each(|number| line.join(number, number));
        (0..overtaken).for_each(|_| line.overtake_first());
        for number in left {
            line.leave(*number);
        }
        assert_eq!(
            line.iter().copied().collect::<Vec<_>>(),
            expect,
            "{joined} joined, {overtaken} overtaken, {left:?} left"
        );
        assert_eq!(line.first().map(|(number, _)| number), expect.first());
        for number in 0..joined {
            assert_eq!(line.is_first(number), expect.first() == Some(&number));
            assert_eq!(line.get(number), expect.iter().find(|stays| **stays == number));
        }
    }

    #[test]
    fn waiters_stand_in_the_order_in_which_they_came() {
        check(0, 0, &[], &[]);
        check(3, 0, &[], &[0, 1, 2]);
    }

    #[test]
    fn an_overtaken_waiter_stands_at_the_end() {
        check(1, 1, &[], &[0]);
        check(3, 1, &[], &[1, 2, 0]);
        check(3, 2, &[], &[2, 0, 1]);
    }

    #[test]
    fn a_waiter_that_leaves_is_found_wherever_it_stands() {
        check(3, 0, &[1], &[0, 2]);
        check(3, 0, &[0, 2], &[1]);
        check(5, 2, &[0], &[2, 3, 4, 1]);
        check(5, 2, &[1, 4], &[2, 3, 0]);
        check(2, 0, &[0, 1, 7], &[]);
    }
}
