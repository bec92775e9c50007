use std::time::Duration;

use crate::protocol::Elsewhere;
use crate::rules::{Rule, holds};

/// A lock passes from hand to hand within a process this often before another process gets its turn.
pub(super) const HAND_OVERS: u32 = 4;

/// How long a process stands back then, in round trips.
const STAND_BACK: u32 = 2;

/// Whose turn follows when a holder in this process lets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a process that never stands back keeps a lock from the others"]
pub(super) enum NextTurn {
    /// That of the first in line of this process.
    Ours,
    /// That of another process: the first in line asks nothing for this long.
    StandBack(Duration),
}

/// How often in a row a lock was handed on within this process.
#[derive(Debug, Default)]
pub(super) struct HandOvers {
    /// Counted since another process had the lock, or nobody waited for it.
    in_a_row: u32,
    /// Whether another process was seen to wait: for nobody else this process stands back for nothing.
    is_wanted_elsewhere: bool,
    /// How long the last attempt took that was won, by which another process has time to ask; `None` before the first.
    round_trip: Option<Duration>,
}

impl HandOvers {
    /// An attempt was won, and took this long.
    pub(super) fn won(&mut self, is_wanted_elsewhere: bool, round_trip: Duration) {
        self.round_trip = Some(round_trip);
        self.is_wanted_elsewhere |= is_wanted_elsewhere;
    }

    /// The lease passes from one holder of this process to another.
    pub(super) fn passed_on(&mut self) {
        self.in_a_row += 1;
    }

    /// Who waits besides those of this process, as far as is known.
    pub(super) fn elsewhere(&self) -> Elsewhere {
        if self.is_wanted_elsewhere { Elsewhere::SomebodyWaits } else { Elsewhere::NobodyWaits }
    }

    /// How long the last attempt took that was won.
    pub(super) fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    /// The lock was another process's, or is let go while nobody of this process waits for it.
    pub(super) fn interrupted(&mut self) {
        self.in_a_row = 0;
    }

    /// The holder in this process lets go while others of this process wait.
    pub(super) fn let_go(&mut self) -> NextTurn {
        self.in_a_row += 1;
        if self.in_a_row > HAND_OVERS && self.is_wanted_elsewhere && holds(Rule::StandBack) {
            self.in_a_row = 0;
            self.is_wanted_elsewhere = false;
            return NextTurn::StandBack(STAND_BACK * self.round_trip.unwrap_or_default());
        }
        NextTurn::Ours
    }

    /// Whether whoever acquires the lock now is the last of this process before another one gets its turn, if one waits.
    pub(super) fn is_last(&self) -> bool {
        self.in_a_row >= HAND_OVERS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUND_TRIP: Duration = Duration::from_millis(3);

    /// Whose turn follows after each of so many hand-overs in a row.
    fn check(is_wanted_elsewhere: bool, expect: &[NextTurn]) {
        let mut hand_overs = HandOvers::default();
        for (position, expect) in expect.iter().enumerate() {
            hand_overs.won(is_wanted_elsewhere, ROUND_TRIP);
            assert_eq!(hand_overs.let_go(), *expect, "hand-over {position}");
        }
    }

    #[test]
    fn another_process_that_waits_gets_its_turn_after_four_hand_overs() {
        let [ours, stand_back] = [NextTurn::Ours, NextTurn::StandBack(2 * ROUND_TRIP)];
        check(true, &[ours, ours, ours, ours, stand_back, ours, ours, ours, ours, stand_back]);
    }

    #[test]
    fn a_process_stands_back_for_nobody_unless_another_one_waits() {
        check(false, &[NextTurn::Ours; 12]);
    }

    #[test]
    fn a_process_that_was_seen_to_wait_once_is_remembered_until_it_had_its_turn() {
        let mut hand_overs = HandOvers::default();
        hand_overs.won(true, ROUND_TRIP);
        hand_overs.won(false, ROUND_TRIP);
        (0..HAND_OVERS).for_each(|_| assert_eq!(hand_overs.let_go(), NextTurn::Ours));
        assert_eq!(hand_overs.let_go(), NextTurn::StandBack(2 * ROUND_TRIP));
        (0..=HAND_OVERS).for_each(|_| assert_eq!(hand_overs.let_go(), NextTurn::Ours));
    }

    #[test]
    fn hand_overs_are_counted_in_a_row() {
        let mut hand_overs = HandOvers::default();
        hand_overs.won(true, ROUND_TRIP);
        for _ in 0..3 {
            (0..HAND_OVERS).for_each(|_| assert_eq!(hand_overs.let_go(), NextTurn::Ours));
            hand_overs.interrupted();
        }
    }

    #[test]
    fn the_last_before_another_process_is_known_before_it_has_the_lock() {
        let mut hand_overs = HandOvers::default();
        hand_overs.won(true, ROUND_TRIP);
        for handed_over in 0..HAND_OVERS {
            assert!(!hand_overs.is_last(), "{handed_over}");
            assert_eq!(hand_overs.let_go(), NextTurn::Ours);
        }
        assert!(hand_overs.is_last());
        assert_eq!(hand_overs.let_go(), NextTurn::StandBack(2 * ROUND_TRIP));
        assert!(!hand_overs.is_last(), "it stood back");
    }
}
