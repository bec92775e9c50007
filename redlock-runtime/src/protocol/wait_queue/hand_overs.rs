use std::time::{Duration, Instant};

use crate::protocol::Elsewhere;
use crate::rules::{Rule, holds};

/// A lock passes from hand to hand within a process this often before another process may have it.
pub(super) const HAND_OVERS: u32 = 4;

/// How long a process stands back then, in round trips: half of one until the other is told, one to ask a node first, and one for the others.
const STAND_BACK: u32 = 3;

/// For those who hear of nothing and try again and again, a process stands back for as long as they pause between two tries.
// Source: `retry_delay` of pottery's Redlock, 200 ms, of which each pause is a random part;
// https://github.com/brainix/pottery/blob/master/pottery/redlock.py
const POLL_PAUSE: Duration = Duration::from_millis(200);

/// As often as this it does, from the end of one time to the beginning of the next: so that they get their chance every second.
const BETWEEN_POLLS: Duration = Duration::from_millis(700);

/// If nobody took the lock so often, and as many are counted as before, these may be what a process left that was killed: from then on
/// twice as long passes each time, until something changes.
const PATIENCE: u32 = 3;

/// How often that time is doubled.
const MOST_DOUBLINGS: u32 = 6;

/// Which process comes next when a holder in this process lets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a process that never stands back keeps a lock from the others"]
pub(super) enum NextProcess {
    /// This one: its first in line is called.
    Ours,
    /// Another one: the first in line asks nothing for this long.
    StandBack(Duration),
}

/// How often in a row a lock was handed on within this process.
#[derive(Debug, Default)]
pub(super) struct HandOvers {
    /// Counted since another process had the lock, or nobody waited for it.
    in_a_row: u32,
    /// Whether another process was seen to wait: for nobody else this process stands back for nothing.
    is_wanted_elsewhere: bool,
    /// How long the last attempt took that was won, in microseconds, by which another process has time to ask; zero before the first.
    round_trip_micros: u32,
    /// Whether this process stood back and no other one had the lock since.
    has_stood_back: bool,
    /// Those who wait, hear of nothing and poll. Boxed, because most locks have none.
    polls: Option<Box<Polls>>,
}

/// Those who wait, hear of nothing and poll.
#[derive(Debug, Default)]
struct Polls {
    /// How many, as they are counted.
    count: u64,
    /// How often this process stood back for them in vain, as far as is known.
    in_vain: u32,
    /// When this process will have stood back for them, or did.
    stood_back: Option<Instant>,
}

impl HandOvers {
    /// An attempt was won, and took this long.
    pub(super) fn won(&mut self, is_wanted_elsewhere: bool, round_trip: Duration) {
        self.round_trip_micros = u32::try_from(round_trip.as_micros()).unwrap_or(u32::MAX);
        self.is_wanted_elsewhere |= is_wanted_elsewhere;
    }

    /// How many wait who hear of nothing and poll, as they are counted.
    pub(super) fn set_polling(&mut self, polling: u64) {
        if polling > 0 || self.polls.is_some() {
            let polls = self.polls.get_or_insert_default();
            if std::mem::replace(&mut polls.count, polling) != polling {
                polls.in_vain = 0;
            }
        }
    }

    /// The lease passes from one holder of this process to another.
    pub(super) fn passed_on(&mut self) {
        self.in_a_row = self.in_a_row.saturating_add(1);
    }

    /// Who waits besides those of this process, as far as is known.
    pub(super) fn elsewhere(&self) -> Elsewhere {
        match self.is_wanted_elsewhere {
            true if self.has_stood_back => Elsewhere::SomebodyCameTooLate,
            true => Elsewhere::SomebodyWaits,
            false if self.polls.as_ref().is_some_and(|polls| polls.count > 0) => Elsewhere::SomebodyWaits,
            false => Elsewhere::NobodyWaits,
        }
    }

    /// How long the last attempt took that was won; nothing before the first.
    pub(super) fn round_trip(&self) -> Duration {
        Duration::from_micros(self.round_trip_micros.into())
    }

    /// The lock was another process's, or is let go while nobody of this process waits for it.
    pub(super) fn interrupted(&mut self) {
        self.in_a_row = 0;
        self.has_stood_back = false;
        self.polls.iter_mut().for_each(|polls| polls.in_vain = 0);
    }

    /// The holder in this process lets go while others of this process wait.
    pub(super) fn let_go(&mut self, now: Instant) -> NextProcess {
        self.in_a_row = self.in_a_row.saturating_add(1);
        if self.polls.as_mut().is_some_and(|polls| polls.stand_back(now)) && holds(Rule::StandBack) {
            self.in_a_row = 0;
            self.is_wanted_elsewhere = false;
            return NextProcess::StandBack(POLL_PAUSE);
        }
        if self.in_a_row > HAND_OVERS && self.is_wanted_elsewhere && holds(Rule::StandBack) {
            self.in_a_row = 0;
            self.is_wanted_elsewhere = false;
            self.has_stood_back = true;
            return NextProcess::StandBack(STAND_BACK * self.round_trip());
        }
        NextProcess::Ours
    }

    /// Whether whoever acquires the lock now is the last of this process before another one may have it, if one waits.
    pub(super) fn is_last(&self) -> bool {
        self.in_a_row >= HAND_OVERS
    }
}

impl Polls {
    /// Whether this process stands back for them from now on.
    fn stand_back(&mut self, now: Instant) -> bool {
        let between = BETWEEN_POLLS * 2_u32.pow(self.in_vain.saturating_sub(PATIENCE).min(MOST_DOUBLINGS));
        let is_due = self.count > 0 && self.stood_back.is_none_or(|since| now >= since + between);
        if is_due {
            self.stood_back = Some(now + POLL_PAUSE);
            self.in_vain = self.in_vain.saturating_add(1);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUND_TRIP: Duration = Duration::from_millis(3);

    fn now() -> Instant {
        crate::platform::clock::now()
    }

    /// Which process comes next after each of so many hand-overs in a row.
    fn check(is_wanted_elsewhere: bool, expect: &[NextProcess]) {
        let mut hand_overs = HandOvers::default();
        for (position, expect) in expect.iter().enumerate() {
            hand_overs.won(is_wanted_elsewhere, ROUND_TRIP);
            assert_eq!(hand_overs.let_go(now()), *expect, "hand-over {position}");
        }
    }

    #[test]
    fn another_process_that_waits_may_have_the_lock_after_four_hand_overs() {
        let [ours, stand_back] = [NextProcess::Ours, NextProcess::StandBack(STAND_BACK * ROUND_TRIP)];
        check(true, &[ours, ours, ours, ours, stand_back, ours, ours, ours, ours, stand_back]);
    }

    #[test]
    fn a_process_stands_back_for_nobody_unless_another_one_waits() {
        check(false, &[NextProcess::Ours; 12]);
    }

    #[test]
    fn a_process_that_was_seen_to_wait_once_is_remembered_until_it_had_its_chance() {
        let mut hand_overs = HandOvers::default();
        hand_overs.won(true, ROUND_TRIP);
        hand_overs.won(false, ROUND_TRIP);
        (0..HAND_OVERS).for_each(|_| assert_eq!(hand_overs.let_go(now()), NextProcess::Ours));
        assert_eq!(hand_overs.let_go(now()), NextProcess::StandBack(STAND_BACK * ROUND_TRIP));
        (0..=HAND_OVERS).for_each(|_| assert_eq!(hand_overs.let_go(now()), NextProcess::Ours));
    }

    #[test]
    fn hand_overs_are_counted_in_a_row() {
        let mut hand_overs = HandOvers::default();
        hand_overs.won(true, ROUND_TRIP);
        for _ in 0..3 {
            (0..HAND_OVERS).for_each(|_| assert_eq!(hand_overs.let_go(now()), NextProcess::Ours));
            hand_overs.interrupted();
        }
    }

    #[test]
    fn the_last_before_another_process_is_known_before_it_has_the_lock() {
        let mut hand_overs = HandOvers::default();
        hand_overs.won(true, ROUND_TRIP);
        for handed_over in 0..HAND_OVERS {
            assert!(!hand_overs.is_last(), "{handed_over}");
            assert_eq!(hand_overs.let_go(now()), NextProcess::Ours);
        }
        assert!(hand_overs.is_last());
        assert_eq!(hand_overs.let_go(now()), NextProcess::StandBack(STAND_BACK * ROUND_TRIP));
        assert!(!hand_overs.is_last(), "it stood back");
    }

    #[test]
    fn another_process_that_comes_too_late_is_known_until_it_had_the_lock() {
        let mut hand_overs = HandOvers::default();
        hand_overs.won(true, ROUND_TRIP);
        assert_eq!(hand_overs.elsewhere(), Elsewhere::SomebodyWaits);
        (0..HAND_OVERS).for_each(|_| hand_overs.passed_on());
        assert_eq!(hand_overs.let_go(now()), NextProcess::StandBack(STAND_BACK * ROUND_TRIP));
        assert_eq!(hand_overs.elsewhere(), Elsewhere::NobodyWaits);
        hand_overs.won(true, ROUND_TRIP);
        assert_eq!(hand_overs.elsewhere(), Elsewhere::SomebodyCameTooLate);
        hand_overs.interrupted();
        assert_eq!(hand_overs.elsewhere(), Elsewhere::SomebodyWaits);
    }

    #[test]
    fn those_who_poll_get_the_time_between_two_polls_every_second() {
        let (mut hand_overs, began) = (HandOvers::default(), now());
        let stands_back = |hand_overs: &mut HandOvers, from: u64, to: u64| {
            let is_so = |milliseconds: &u64| {
                hand_overs.let_go(began + Duration::from_millis(*milliseconds)) == NextProcess::StandBack(POLL_PAUSE)
            };
            (from..to).filter(is_so).collect::<Vec<_>>()
        };
        hand_overs.set_polling(2);
        assert_eq!(hand_overs.elsewhere(), Elsewhere::SomebodyWaits);
        assert_eq!(stands_back(&mut hand_overs, 0, 3_000), [0, 900, 1_800, 2_700]);
        // They do not come, and are as many as before.
        hand_overs.set_polling(2);
        assert_eq!(stands_back(&mut hand_overs, 3_000, 10_000), [4_300, 7_300]);
        // Another one waits.
        hand_overs.set_polling(3);
        assert_eq!(stands_back(&mut hand_overs, 10_000, 11_000), [10_000, 10_900]);
        hand_overs.set_polling(0);
        assert_eq!(stands_back(&mut hand_overs, 20_000, 23_000), [0_u64; 0]);
    }
}
