use std::time::{Duration, Instant};

use super::{LOSS_NOTICE, TokenBlock};
use crate::rules::{Rule, holds};

/// What passes on with a lease from one holder to the next within a process.
///
/// When a holder lets go and another task of its process is the first in line, the lease itself can be that task's: the keys on the
/// nodes stay as they are, under the same owner's value, and no node is asked. Such a *turn* takes as long as it takes to wake a task.
///
/// # Why that is safe
///
/// What a lease promises is that no other owner has a majority of the nodes before its validity is over. It does not matter to that
/// which task of its process relies on it, as long as it is one at a time. So a turn begins only when the one before is over: its
/// guard extends, repairs and releases nothing any more, and nothing that it asked for is under way
/// ([`LeaseStanding::IsBeingExtended`]): an extension that fails, or a key that is set again, is undone by the guard that asked for it.
/// And it begins only if the lease is still valid when it was taken from the line ([`Turns::take`]), however long that took: a task
/// may be woken late, and the process may have been stopped meanwhile. A holder that is asked to let go, and a lock that was given out
/// of hand, pass nothing on.
///
/// Neither does a holder beside whose keys the nodes have noted who it is ([`LeaseNow::is_noted`]). Turns have one owner's value in
/// common, so the note is what tells them apart for whoever looks from elsewhere, and takes the lock from the very holder that it saw;
/// and no note can be changed at the moment at which a turn begins without a word to the nodes, which is what an acquisition takes. A
/// holder is noted after it has had the lock for a while, beside which a round trip is short.
///
/// # Fencing tokens
///
/// Each turn has a token of its own, from the block that was reserved when the lease was acquired ([`TokenBlock`]). Two turns of a
/// lease begin one after the other, and so do their tokens. An acquisition of another owner has tokens beyond the block, or below it,
/// whatever the clocks say, by the argument of [`Fence`](super::Fence). That it has those beyond it if it comes *later* than a turn is
/// what the validity is for: a turn that began after another owner had the lock would have the smaller token.
///
/// # Others
///
/// Another process, or a Python program, hears nothing of turns. So a lease passes on for a bounded number of times
/// ([`MOST_TURNS`]) and for a bounded time ([`LONGEST`]), and for less of both where somebody else is known to wait
/// ([`MOST_TURNS_BESIDE_OTHERS`], [`MOST_TURNS_BESIDE_LATE`], [`LONGEST_BESIDE_OTHERS`]). Then it is released, and who is known to wait gets a chance before
/// this process asks again ([`wait_queue`](super::wait_queue)). A lease that nobody comes for is not kept for more than a moment
/// ([`TAKEN_WITHIN`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turns {
    /// When the lease was acquired from the nodes.
    since: Instant,
    /// How many have had it.
    taken: u32,
    /// The tokens that are left; `None` if fencing is switched off.
    tokens: Option<TokenBlock>,
}

/// A lease at the moment at which its holder lets go, or the next one takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseNow {
    /// How long its keys live without being renewed.
    pub ttl: Duration,
    /// Until when it counts as held.
    pub valid_until: Instant,
    /// Whether anything else stands in the way.
    pub standing: LeaseStanding,
    /// Whether it stands beside its keys who its holder is, or may.
    pub is_noted: bool,
}

/// What stands in the way of passing a lease on besides its validity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseStanding {
    /// Nothing.
    IsFree,
    /// It is lost.
    IsLost,
    /// Its holder was asked to let go.
    IsRecalled,
    /// An extension is under way.
    IsBeingExtended,
}

/// What the next holder asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// How long its keys are to live without being renewed, at most and, but for the time since the last renewal, at least.
    pub ttl: Duration,
}

/// Whether a lease passes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "what does not pass on is released"]
pub enum Passing {
    /// It is the next holder's.
    PassesOn,
    /// It is released, and the next in line asks the nodes.
    IsReleased,
}

/// Who waits for a lock besides those of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Elsewhere {
    /// Nobody, as far as is known.
    NobodyWaits,
    /// Another process.
    SomebodyWaits,
    /// Another process, which did not come in time when this one stood back for it.
    SomebodyCameTooLate,
}

/// So many have a lease one after another, before it is released.
// A release and an acquire for so many are little beside what passes them on; and the less there are, the sooner a process that began
// to wait meanwhile is seen.
pub const MOST_TURNS: u32 = 24;

/// So many if another process waits. That it does is seen when a lease is acquired, so that there may be a whole run before.
pub const MOST_TURNS_BESIDE_OTHERS: u32 = 12;

/// So many if it waits and had a chance, which it missed: then it has one more soon.
pub const MOST_TURNS_BESIDE_LATE: u32 = 5;

/// A lease is passed on for no longer than this.
pub const LONGEST: Duration = Duration::from_secs(1);

/// For no longer than this if another process waits.
pub const LONGEST_BESIDE_OTHERS: Duration = Duration::from_millis(50);

/// A lease that is passed on and that nobody has taken by then is released.
pub const TAKEN_WITHIN: Duration = Duration::from_millis(50);

impl Turns {
    /// A lease that was acquired then, with what is left of its tokens when its first holder has one.
    #[must_use]
    pub fn begin(since: Instant, tokens: Option<TokenBlock>) -> Self {
        Self { since, taken: 1, tokens }
    }

    /// Whether the lease of a holder that lets go passes on to the next in line.
    pub fn pass(&self, now: Instant, lease: &LeaseNow, next: &Needs, elsewhere: Elsewhere) -> Passing {
        let (most, longest) = match elsewhere {
            Elsewhere::NobodyWaits => (MOST_TURNS, LONGEST),
            Elsewhere::SomebodyWaits => (MOST_TURNS_BESIDE_OTHERS, LONGEST_BESIDE_OTHERS),
            Elsewhere::SomebodyCameTooLate => (MOST_TURNS_BESIDE_LATE, LONGEST_BESIDE_OTHERS),
        };
        let is_bounded = self.taken < most && now.saturating_duration_since(self.since) < longest;
        let has_token = self.tokens.is_none_or(|tokens| tokens.give().is_some());
        let passes = has_token && (is_bounded || !holds(Rule::TurnsAreBounded)) && lease.suits(now, next);
        if passes { Passing::PassesOn } else { Passing::IsReleased }
    }

    /// The turn of the next holder, which has taken the lease from the line: its fencing token, zero if fencing is switched off, and
    /// what passes on with the lease from there. `None` if the lease has not waited for it.
    #[must_use]
    pub fn take(self, now: Instant, lease: &LeaseNow, next: &Needs) -> Option<(u64, Self)> {
        if !lease.suits(now, next) && holds(Rule::TurnsAreValid) {
            return None;
        }
        let (token, tokens) = match self.tokens.map(TokenBlock::give) {
            None => (0, None),
            Some(given) => given.map(|(token, left)| (token, Some(left)))?,
        };
        Some((token, Self { taken: self.taken + 1, tokens, ..self }))
    }

    /// How many tokens an acquire reserves for those who wait behind it, if there are any, where the last one took so long: not so many
    /// that counters could outrun the clock, which they follow in microseconds. The first of a line does not know how long it takes, and
    /// mostly nobody is behind it.
    #[must_use]
    pub fn room(is_waited_for: bool, round_trip: Duration) -> u64 {
        let most = u64::from(MOST_TURNS) - 1;
        let bound = u64::try_from(round_trip.as_micros() / 2).unwrap_or(most).min(most);
        if is_waited_for { bound } else { 0 }
    }

    /// The greatest number up to which fencing counters were raised for this lease.
    #[must_use]
    pub fn last_token(&self) -> Option<u64> {
        self.tokens.map(TokenBlock::last)
    }
}

impl LeaseNow {
    /// Whether it can be the next holder's.
    fn suits(&self, now: Instant, next: &Needs) -> bool {
        let left = self.valid_until.saturating_duration_since(now);
        // One that is renewed when a third of its TTL is over has more than half of it left. One whose keys live for longer than was asked
        // for would outlive a holder that crashes.
        let is_long_enough = left > LOSS_NOTICE && left >= next.ttl / 2;
        let is_short_enough = self.ttl <= next.ttl && left <= next.ttl;
        self.standing == LeaseStanding::IsFree && is_long_enough && is_short_enough && !self.is_noted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(30);
    const NEEDS: Needs = Needs { ttl: TTL };

    fn now() -> Instant {
        crate::platform::clock::now() + Duration::from_secs(1_000)
    }

    fn lease(now: Instant) -> LeaseNow {
        let valid_until = now + TTL * 9 / 10;
        LeaseNow { ttl: TTL, valid_until, standing: LeaseStanding::IsFree, is_noted: false }
    }

    fn passes(turns: &Turns, now: Instant, elsewhere: Elsewhere) -> bool {
        turns.pass(now, &lease(now), &NEEDS, elsewhere) == Passing::PassesOn
    }

    /// How often a lease passes on whose holders have it for so long.
    fn passed(tokens: Option<TokenBlock>, hold: Duration, elsewhere: Elsewhere) -> u32 {
        let mut now = now();
        let mut turns = Turns::begin(now, tokens);
        let mut passed = 0;
        loop {
            now += hold;
            if !passes(&turns, now, elsewhere) {
                return passed;
            }
            passed += 1;
            turns = turns.take(now, &lease(now), &NEEDS).expect("it is valid").1;
        }
    }

    #[test]
    fn a_lease_passes_on_for_a_bounded_number_of_times_and_a_bounded_time() {
        let (ms, none) = (Duration::from_millis, Duration::ZERO);
        assert_eq!(passed(None, none, Elsewhere::NobodyWaits), MOST_TURNS - 1);
        assert_eq!(passed(None, none, Elsewhere::SomebodyWaits), MOST_TURNS_BESIDE_OTHERS - 1);
        assert_eq!(passed(None, none, Elsewhere::SomebodyCameTooLate), MOST_TURNS_BESIDE_LATE - 1);
        assert_eq!(passed(None, ms(100), Elsewhere::NobodyWaits), 9, "a second is over");
        assert_eq!(passed(None, ms(10), Elsewhere::SomebodyWaits), 4, "fifty milliseconds are over");
        assert_eq!(passed(None, ms(2_000), Elsewhere::NobodyWaits), 0);
    }

    #[test]
    fn each_turn_has_the_next_token_and_none_beyond_the_block() {
        let block = TokenBlock::ending_with(103, 3);
        let (first, left) = block.give().unwrap();
        assert_eq!((first, left.left()), (100, 3));
        assert_eq!(passed(Some(left), Duration::ZERO, Elsewhere::NobodyWaits), 3);
        let now = now();
        let mut turns = Turns::begin(now, Some(left));
        for expect in 101..=103 {
            let (token, next) = turns.take(now, &lease(now), &NEEDS).unwrap();
            assert_eq!((token, next.last_token()), (expect, Some(103)));
            turns = next;
        }
        assert_eq!(turns.take(now, &lease(now), &NEEDS), None);
        let alone = TokenBlock::ending_with(7, 0).give().unwrap().1;
        assert_eq!(passed(Some(alone), Duration::ZERO, Elsewhere::NobodyWaits), 0, "nothing was reserved");
    }

    #[test]
    fn a_lease_that_is_not_free_to_go_or_does_not_suit_does_not_pass_on() {
        let now = now();
        let turns = Turns::begin(now, None);
        let check = |what, change: &dyn Fn(&mut LeaseNow, &mut Needs)| {
            let (mut lease, mut needs) = (lease(now), NEEDS);
            change(&mut lease, &mut needs);
            assert_eq!(turns.pass(now, &lease, &needs, Elsewhere::NobodyWaits), Passing::IsReleased, "{what}");
            assert_eq!(turns.take(now, &lease, &needs), None, "{what}");
        };
        check("it is lost", &|lease, _| lease.standing = LeaseStanding::IsLost);
        check("a shutdown wants it", &|lease, _| lease.standing = LeaseStanding::IsRecalled);
        check("an extension is under way", &|lease, _| lease.standing = LeaseStanding::IsBeingExtended);
        check("its validity is over", &|lease, _| lease.valid_until = now);
        check("it is not renewed", &|lease, _| lease.valid_until = now + TTL * 2 / 5);
        check("it lives for longer than is wanted", &|_, needs| needs.ttl = TTL / 2);
        check("more is wanted", &|_, needs| needs.ttl = TTL * 2);
        check("it was extended for longer", &|lease, _| lease.valid_until = now + 2 * TTL);
        check("its keys live for longer than its max_hold", &|lease, _| lease.ttl = 10 * TTL);
        check("its holder is noted beside its keys", &|lease, _| lease.is_noted = true);
    }

    #[test]
    fn a_validity_that_ended_on_the_way_is_seen_when_the_lease_is_taken() {
        let now = now();
        let (turns, lease) = (Turns::begin(now, None), lease(now));
        assert_eq!(turns.pass(now, &lease, &NEEDS, Elsewhere::NobodyWaits), Passing::PassesOn);
        assert_eq!(turns.take(now + TTL, &lease, &NEEDS), None);
    }

    #[test]
    fn tokens_are_reserved_where_somebody_waits_and_no_faster_than_the_clock_goes() {
        let micros = Duration::from_micros;
        assert_eq!(Turns::room(false, micros(1_000)), 0);
        assert_eq!(Turns::room(true, micros(1_000)), 23);
        assert_eq!(Turns::room(true, micros(20)), 10);
        assert_eq!(Turns::room(true, micros(0)), 0);
    }
}
