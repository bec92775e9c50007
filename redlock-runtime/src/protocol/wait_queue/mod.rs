//! Who asks the nodes for a lock, of those in a process who want it, when, and who is called.

mod actions;
mod hand_overs;
mod holders;
mod line;
#[cfg(test)]
mod passed_on;

use std::time::{Duration, Instant};

pub use self::actions::{Acquired, Ask, Call, Failure, Left, Offered, Polled, Reachability, Turn};

use self::hand_overs::{HandOvers, NextTurn};
use self::holders::Holders;
use self::line::Line;
use super::{AskOrder, At, AtSet, Backoff, Elsewhere, Needs, Passing, Quorum, Step, Turns, Verdict, WaitPlan};
use crate::rules::{Rule, holds};

/// A waiter that was called but is not polled for this long loses its turn.
const NEGLECTED: Duration = Duration::from_secs(1);

/// The line of those in a process who want a lock, and its holder in that process, if it has one.
///
/// The first in line asks the nodes; the others wait without asking. The local holder stands ahead of all: when it lets go the
/// first in line is called at once, and nobody asks the nodes for a lock that is known to be held. Of a lock with permits that is one
/// all of whose permits are held in this process.
///
/// A waiter that was called and is not polled, or asked and does not look at the answers, would keep the others from a lock that
/// is free: it is overtaken after a while.
///
/// A local holder that lets go may [pass its lease on](Self::offers): then it stays where it is, though it holds nothing any more, until
/// the first in line has taken the lease ([`Turn::Take`], [`Self::took`]), whoever that is when it is polled. Nobody asks the nodes
/// meanwhile. [`Turns`] decides whether it may.
///
/// Waiters and local holders have numbers, each greater than all before, also those of other queues: a number that was given up
/// must not stand for somebody else later.
#[derive(Debug)]
pub struct WaitQueue<W: Waiter, H> {
    /// The holder in this process: nothing is asked while it has the lock. Of a lock with permits, all of them.
    local_holders: Holders<H>,
    /// The waiters, first come first.
    line: Line<W>,
    /// What the first in line believes of the nodes; `None` if nothing was asked since the lock was last held here, or the
    /// first in line is asking.
    wait_plan: Option<Box<WaitPlan>>,
    /// The runtime on whose connections the nodes report changes to the wait plan; `None` if nothing was watched.
    reports_to: Option<W::Runtime>,
    /// The attempt that is under way, for which a waiter can be overtaken.
    attempt: Option<Attempt>,
    /// Where the nodes reported a change during the attempt: these count as later than its answers.
    changed: AtSet,
    /// When the first in line was called; `None` since it was polled.
    called: Option<Instant>,
    /// Whether it is another process's turn.
    hand_overs: HandOvers,
    /// Whether the only local holder has passed its lease on to the first in line, which has not taken it.
    is_offered: bool,
    /// Whether somebody takes back what is offered and not taken.
    is_watched: bool,
    /// The greatest fencing counter that a waiter heard of, or token that somebody in this process got: a node that missed a
    /// grant is to give the same number to the next owner as the others.
    counter: u64,
    /// Whether the last attempt failed because too few nodes could be reached, so that people are told once.
    is_unreachable: bool,
}

/// A waiter, as far as the queue has to know it.
pub trait Waiter {
    /// Tells runtimes apart.
    type Runtime: Copy + PartialEq;

    /// The runtime whose connections the waiter uses: where nodes report changes to it. `None`: none of its own.
    fn runtime(&self) -> Option<Self::Runtime>;

    /// How many can hold what it waits for at once, as far as it knows.
    fn places(&self) -> usize;

    /// What a lease has to be like that it takes from another holder of this process; `None` if it wants one of its own.
    fn needs(&self) -> Option<Needs> {
        None
    }
}

/// Somebody who holds the lock in this process, as far as the queue has to know it.
pub trait LocalHolder: Clone {
    /// Whether the lock is lost, or its validity is over.
    fn is_lost(&self, now: Instant) -> bool;

    /// The lock's fencing token; zero if it has none.
    fn fencing_token(&self) -> u64;

    /// Which of its keys it holds, if the lock has several.
    fn part(&self) -> u8;

    /// Whether others can hold the same beside it.
    fn is_shared(&self) -> bool {
        false
    }
}

/// What all queues of a manager have in common.
#[derive(Clone, Copy, Debug)]
pub struct WaitSettings {
    /// What a majority is.
    quorum: Quorum,
    /// A waiter that has asked and does not look at the answers for this long loses its turn.
    longest_attempt: Duration,
    /// How long after its last attempt a waiter asks again although no node reported a change.
    slow_poll: Duration,
    /// Whether fencing tokens are reserved for those who wait behind whoever acquires a lock.
    reserves_tokens: bool,
}

/// An attempt of the first in line.
#[derive(Debug)]
struct Attempt {
    /// Who makes it.
    number: u64,
    /// When it began.
    began: Instant,
    /// In which order the nodes are asked.
    ask_order: AskOrder,
    /// What was believed when it began; its result is added to that. `None`: nothing was asked before, and the nodes that refuse
    /// report no changes.
    wait_plan: Option<Box<WaitPlan>>,
}

impl WaitSettings {
    /// The settings of a manager of so many nodes, which answer within `node_timeout` or not at all.
    #[must_use]
    pub fn new(quorum: Quorum, node_timeout: Duration, slow_poll: Duration) -> Self {
        // The round itself, and giving back what was granted.
        Self { quorum, longest_attempt: NEGLECTED + 2 * node_timeout, slow_poll, reserves_tokens: false }
    }

    /// The same where fencing tokens are reserved for those who wait behind whoever acquires a lock.
    #[must_use]
    pub fn with_tokens_reserved(self, reserves_tokens: bool) -> Self {
        Self { reserves_tokens, ..self }
    }

    /// When the next slow poll is, after an attempt now.
    fn poll_at(&self, now: Instant, seed: u64) -> Instant {
        // From a half to the whole of it by jitter, after another half.
        let jittered = Backoff::new(self.slow_poll, self.slow_poll, seed).next().unwrap_or(self.slow_poll);
        now + self.slow_poll / 2 + jittered
    }
}

impl<W: Waiter, H: LocalHolder> WaitQueue<W, H> {
    /// A queue in which nobody is.
    #[must_use]
    pub fn new() -> Self {
        Self {
            local_holders: Holders::new(),
            line: Line::new(),
            wait_plan: None,
            reports_to: None,
            attempt: None,
            changed: AtSet::default(),
            called: None,
            hand_overs: HandOvers::default(),
            is_offered: false,
            is_watched: false,
            counter: 0,
            is_unreachable: false,
        }
    }

    /// Whether nobody is in it any more.
    #[must_use]
    pub fn is_deserted(&self) -> bool {
        self.local_holders.is_empty() && self.line.is_empty()
    }

    /// The waiter of this number.
    #[must_use]
    pub fn waiter(&self, number: u64) -> Option<&W> {
        self.line.get(number)
    }

    /// All waiters, first come first.
    pub fn waiters(&self) -> impl Iterator<Item = &W> {
        self.line.iter()
    }

    /// The holders in this process, as far as they were noted.
    pub fn local_holders(&self) -> impl Iterator<Item = &H> {
        self.local_holders.iter()
    }

    /// Somebody wants the lock.
    pub fn joined(&mut self, number: u64, waiter: W) {
        self.line.join(number, waiter);
    }

    /// A waiter gives up. The next one is called, whatever the first in line was doing.
    pub fn left(&mut self, number: u64, now: Instant) -> Left<H> {
        let was_first = self.leave_line(number);
        let call = if was_first && holds(Rule::NextIsCalled) { self.call_next(now) } else { Call::Nobody };
        let gives_up = self.line.is_empty() && std::mem::take(&mut self.is_unreachable);
        let untaken = if self.line.is_empty() { self.take_offered() } else { None };
        let reachability = if gives_up { Reachability::GivenUp } else { Reachability::Unchanged };
        Left { call, reachability, untaken }
    }

    /// A waiter that was called, or whose time to wait was over, is polled. A `seed` for jitter is drawn if a poll is put off.
    pub fn polled(
        &mut self,
        number: u64,
        now: Instant,
        settings: &WaitSettings,
        seed: impl FnOnce() -> u64,
    ) -> Polled<H> {
        let call = if self.line.is_first(number) { Call::Nobody } else { self.watch_first(now, settings) };
        if !self.line.is_first(number) {
            return Polled { call, turn: Turn::WaitUntil(now + NEGLECTED, None) };
        }
        self.called = None;
        if let Some((hold, holder)) = self.take_offered() {
            return Polled { call, turn: Turn::Take(hold, holder) };
        }
        self.forget_unheard(number, now, settings);
        let local_holder = self.valid_local_holder(now);
        if local_holder.is_some() && self.wait_plan.is_none() {
            self.wait_plan = Some(Box::new(WaitPlan::unknown(settings.quorum, settings.poll_at(now, seed()))));
        }
        let step = self.wait_plan.as_ref().map_or(Step::Ask(AskOrder::AllAtOnce), |wait_plan| wait_plan.next(now));
        let turn = match step {
            Step::WaitUntil(moment) => Turn::WaitUntil(moment, local_holder),
            Step::Ask(ask_order) => Turn::Ask(self.attempt(number, now, ask_order, settings)),
        };
        Polled { call, turn }
    }

    /// A waiter's attempt failed. A `seed` for jitter is drawn if a poll is put off.
    pub fn failed(
        &mut self,
        number: u64,
        failure: Failure<'_>,
        now: Instant,
        settings: &WaitSettings,
        seed: impl FnOnce() -> u64,
    ) -> Reachability {
        let Some(attempt) = self.attempt.take_if(|attempt| attempt.number == number) else {
            // It was overtaken: the waiter that asks now knows more.
            return Reachability::Unchanged;
        };
        let Attempt { ask_order, wait_plan, .. } = attempt;
        let Failure { verdict, seen, counter, pause } = failure;
        // Nothing reports a change of what was not watched: ask once more, at once.
        let is_told = wait_plan.is_some() || !holds(Rule::WatchBeforeAttempt);
        let mut wait_plan = wait_plan.unwrap_or_else(|| Box::new(WaitPlan::unknown(settings.quorum, now)));
        let poll_at = if is_told { settings.poll_at(now, seed()) } else { now };
        wait_plan.lost((verdict, ask_order), seen.iter().copied(), now, poll_at, pause);
        self.changed.iter().for_each(|at| wait_plan.changed(at));
        self.wait_plan = Some(wait_plan);
        self.counter = self.counter.max(counter);
        self.reports_to = self.line.get(number).and_then(Waiter::runtime);
        if self.local_holders.is_empty() {
            // Else what was refused may be what this process holds.
            self.hand_overs.interrupted();
        }
        if verdict != Verdict::Unreachable {
            self.reached()
        } else if std::mem::replace(&mut self.is_unreachable, true) {
            Reachability::StillTooFew
        } else {
            Reachability::TooFew
        }
    }

    /// A waiter's attempt was won, and took this long: it leaves the line, and is the holder of number `hold` from now on.
    pub fn won(
        &mut self,
        number: u64,
        (hold, holder): (u64, H),
        is_wanted_elsewhere: bool,
        round_trip: Duration,
        now: Instant,
    ) -> Acquired<H> {
        let acquired = self.acquired(hold, holder);
        self.hand_overs.won(is_wanted_elsewhere, round_trip);
        let call = if self.leave_line(number) { self.call_next(now) } else { Call::Nobody };
        Acquired { call, ..acquired }
    }

    /// A waiter has taken the lease of the local holder `before`: it leaves the line, and is the holder of number `hold` from now on;
    /// unless others were granted the lock meanwhile, and it is lost.
    pub fn took(&mut self, number: u64, before: u64, (hold, holder): (u64, H), now: Instant) -> Acquired<H> {
        let replaced = if self.local_holders.remove(before) {
            self.hand_overs.passed_on();
            self.local_holders.add(hold, holder)
        } else {
            Some(holder)
        };
        let call = if self.leave_line(number) { self.call_next(now) } else { Call::Nobody };
        Acquired { replaced, call, reachability: Reachability::Unchanged }
    }

    /// How many wait who hear of nothing and poll, as far as is known.
    pub fn polled_by_others(&mut self, polling: u64) {
        self.hand_overs.set_polling(polling);
    }

    /// Somebody in this process who did not wait has acquired the lock.
    pub fn acquired(&mut self, hold: u64, holder: H) -> Acquired<H> {
        self.counter = self.counter.max(holder.fencing_token());
        let replaced = self.local_holders.add(hold, holder);
        // What was offered is lost.
        self.is_offered = false;
        if self.is_held_here() {
            self.wait_plan = None;
        }
        Acquired { replaced, call: Call::Nobody, reachability: self.reached() }
    }

    /// The holder of this number lets go: its lease is offered to the first in line, which is called, if it `passes` on to that.
    #[must_use]
    pub fn offers(
        &mut self,
        hold: u64,
        now: impl FnOnce() -> Instant,
        passes: impl FnOnce(Instant, &Needs, Elsewhere) -> Passing,
    ) -> Option<Offered> {
        // What whoever asks at this moment is told would be about this very lease.
        let is_only =
            self.local_holders.len() == 1 && self.local_holders.first_numbered().is_some_and(|first| first.0 == hold);
        let is_simple = self.attempt.is_none() && is_only;
        let next = self.line.first().filter(|_| is_simple).and_then(|(_, waiter)| waiter.needs())?;
        // Hardly ever does anybody wait: then no clock is read.
        let now = now();
        match passes(now, &next, self.hand_overs.elsewhere()) {
            Passing::IsReleased => None,
            Passing::PassesOn => {
                self.is_offered = true;
                let is_unwatched = !std::mem::replace(&mut self.is_watched, true);
                Some(Offered { call: self.call_first(now), is_unwatched })
            }
        }
    }

    /// Since when the first in line has been called and does not come for what is offered, if anything is.
    #[must_use]
    pub fn offered_since(&self) -> Option<Instant> {
        self.called.filter(|_| self.is_offered)
    }

    /// Nothing is offered any more; returns what was, which is to be released.
    pub fn take_offered(&mut self) -> Option<(u64, H)> {
        let is_offered = std::mem::take(&mut self.is_offered);
        self.local_holders.first_numbered().filter(|_| is_offered).cloned()
    }

    /// Nobody takes back any more what is offered and not taken.
    pub fn unwatched(&mut self) {
        self.is_watched = false;
    }

    /// The holder's release is on its way on the connections of this runtime: if the first in line uses the same, its commands
    /// come after the release, and it may go ahead.
    pub fn hands_over(
        &mut self,
        hold: u64,
        runtime: impl FnOnce() -> Option<W::Runtime>,
        now: impl FnOnce() -> Instant,
        settings: &WaitSettings,
    ) -> Call {
        let follows = self.line.first().is_some_and(|(_, waiter)| waiter.runtime() == runtime());
        if follows { self.let_go(hold, now, settings) } else { Call::Nobody }
    }

    /// The holder of this number has let go, if it still was the holder: the lock is free as far as this process is concerned. The
    /// time is asked for if somebody waits.
    pub fn let_go(&mut self, hold: u64, now: impl FnOnce() -> Instant, settings: &WaitSettings) -> Call {
        if !self.local_holders.remove(hold) {
            return Call::Nobody;
        }
        self.reports_to = None;
        if self.line.is_empty() {
            self.wait_plan = None;
            self.hand_overs.interrupted();
            return Call::Nobody;
        }
        let now = now();
        // Of several who hold it another one may have let go a moment before.
        let is_another_turn = self.wait_plan.as_ref().is_some_and(|wait_plan| wait_plan.stands_back(now));
        if is_another_turn && holds(Rule::StandBack) {
            return Call::Nobody;
        }
        self.wait_plan = None;
        match self.hand_overs.let_go(now) {
            NextTurn::Ours => {}
            NextTurn::StandBack(pause) => {
                self.wait_plan = Some(Box::new(WaitPlan::stand_back(settings.quorum, now + pause)));
            }
        }
        if holds(Rule::ReleaseCalls) { self.call_first(now) } else { Call::Nobody }
    }

    /// A node reported a change of this key, or cannot have reported one of any for a while (`None`).
    pub fn changed(&mut self, node: usize, part: Option<u8>, now: Instant) -> Call {
        let parts = part.map_or_else(|| 0..self.parts(), |part| part..part.saturating_add(1));
        parts.clone().for_each(|part| self.changed.insert(At { node, part }));
        let Some(wait_plan) = &mut self.wait_plan else { return Call::Nobody };
        let before = wait_plan.next(now);
        parts.for_each(|part| wait_plan.changed(At { node, part }));
        // It may be time to ask, or be so earlier than the first in line thinks.
        if wait_plan.next(now) == before { Call::Nobody } else { self.call_first(now) }
    }

    /// How many keys the lock has, as far as the first in line knows.
    fn parts(&self) -> u8 {
        // Readers, of whom there may be any number, wait for the same.
        u8::try_from(self.places()).unwrap_or(1)
    }

    fn places(&self) -> usize {
        self.line.first().map_or(1, |(_, waiter)| waiter.places())
    }

    /// Whether nobody else can hold it while those of this process do.
    fn is_held_here(&self) -> bool {
        self.local_holders.len() >= self.places()
    }

    /// The first in line asks.
    fn attempt(&mut self, number: u64, now: Instant, ask_order: AskOrder, settings: &WaitSettings) -> Ask {
        // Without a plan nothing was lost so far: most locks are free, and the next in line follows a release.
        let wait_plan = self.wait_plan.take();
        let is_watched = wait_plan.is_some();
        let passes_on = |waiter: &W| waiter.needs().is_some();
        let is_waited_for = self.line.first().is_some_and(|(_, waiter)| passes_on(waiter))
            && self.line.second().is_some_and(passes_on)
            && settings.reserves_tokens;
        let room = Turns::room(is_waited_for, self.hand_overs.round_trip());
        // Whether others wait is to be known before the lease passes on.
        let is_last = self.hand_overs.is_last() || room > 0;
        let notes_contention = ask_order == AskOrder::AllAtOnce && (is_watched || is_last);
        self.changed.clear();
        self.attempt = Some(Attempt { number, began: now, ask_order, wait_plan });
        Ask { ask_order, is_watched, notes_contention, counter: self.counter, room }
    }

    /// A waiter's place is given up, and its attempt; says whether it was the first in line.
    fn leave_line(&mut self, number: u64) -> bool {
        let was_first = self.line.is_first(number);
        self.attempt.take_if(|attempt| attempt.number == number);
        self.line.leave(number);
        was_first
    }

    /// Calls the waiter that has become the first in line.
    fn call_next(&mut self, now: Instant) -> Call {
        self.called = None;
        self.call_first(now)
    }

    fn call_first(&mut self, now: Instant) -> Call {
        let Some((number, _)) = self.line.first() else { return Call::Nobody };
        self.called.get_or_insert(now);
        Call::Waiter(*number)
    }

    /// A first in line that was called and not polled, or asked and does not look at the answers, goes to the end.
    fn watch_first(&mut self, now: Instant, settings: &WaitSettings) -> Call {
        let is_over = |since: Instant, limit| now.saturating_duration_since(since) >= limit;
        let is_neglected = self.called.is_some_and(|since| is_over(since, NEGLECTED));
        let is_stuck = self.attempt.as_ref().is_some_and(|attempt| is_over(attempt.began, settings.longest_attempt));
        if is_neglected || is_stuck {
            self.attempt = None;
            self.line.overtake_first();
            self.call_next(now)
        } else if self.wait_plan.as_ref().is_some_and(|wait_plan| matches!(wait_plan.next(now), Step::Ask(_))) {
            // Its own timer should have told it.
            self.call_first(now)
        } else {
            Call::Nobody
        }
    }

    /// The first in line relies on nothing that is reported where it cannot hear it.
    fn forget_unheard(&mut self, first: u64, now: Instant, settings: &WaitSettings) {
        if self.reports_to.is_some() && self.reports_to != self.line.get(first).and_then(Waiter::runtime) {
            self.reports_to = None;
            self.wait_plan = self.wait_plan.as_ref().map(|_| Box::new(WaitPlan::unknown(settings.quorum, now)));
        }
    }

    /// A holder in this process, if those who are there leave nothing to others; one that has lost the lock is forgotten, and what
    /// was believed while it had the lock.
    fn valid_local_holder(&mut self, now: Instant) -> Option<H> {
        while self.local_holders.take_if(|(_, holder)| holder.is_lost(now)).is_some() {
            self.wait_plan = None;
        }
        self.local_holders.first().filter(|_| self.is_held_here()).cloned()
    }

    /// Enough nodes answered.
    fn reached(&mut self) -> Reachability {
        if std::mem::take(&mut self.is_unreachable) { Reachability::Enough } else { Reachability::Unchanged }
    }
}

impl<W: Waiter, H: LocalHolder> Default for WaitQueue<W, H> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{NodeObservation, OthersKey};

    /// Some moment.
    pub(super) fn moment() -> Instant {
        crate::platform::clock::now()
    }

    /// How long an attempt takes.
    const ROUND_TRIP: Duration = Duration::from_millis(2);
    const NODE_TIMEOUT: Duration = Duration::from_millis(200);
    const SLOW_POLL: Duration = Duration::from_secs(10);
    const INSTANT: Duration = Duration::from_millis(1);
    /// The numbers of holders, above those of waiters.
    const HOLD: u64 = 100;
    const NOBODY: Call = Call::Nobody;
    /// The first attempt of all.
    const PLAIN: Ask =
        Ask { ask_order: AskOrder::AllAtOnce, is_watched: false, notes_contention: false, counter: 0, room: 0 };

    /// On the runtime of this number.
    #[derive(Debug)]
    struct OnRuntime(u8);

    impl Waiter for OnRuntime {
        type Runtime = u8;

        fn runtime(&self) -> Option<u8> {
            Some(self.0)
        }

        fn places(&self) -> usize {
            1
        }
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Holder {
        valid_until: Instant,
        token: u64,
    }

    impl LocalHolder for Holder {
        fn is_lost(&self, now: Instant) -> bool {
            now >= self.valid_until
        }

        fn fencing_token(&self) -> u64 {
            self.token
        }

        fn part(&self) -> u8 {
            0
        }
    }

    /// A queue over three nodes, and the time.
    struct Scene {
        queue: WaitQueue<OnRuntime, Holder>,
        settings: WaitSettings,
        now: Instant,
    }

    impl Scene {
        /// The waiters 1, 2, ... stand in line.
        fn of(waiters: u64) -> Self {
            let settings = WaitSettings::new(Quorum::of(3).unwrap(), NODE_TIMEOUT, SLOW_POLL);
            let mut queue = WaitQueue::new();
            (1..=waiters).for_each(|number| queue.joined(number, OnRuntime(0)));
            Self { queue, settings, now: crate::platform::clock::now() }
        }

        fn pass(&mut self, time: Duration) {
            self.now += time;
        }

        fn poll(&mut self, number: u64) -> Polled<Holder> {
            self.queue.polled(number, self.now, &self.settings, || 1)
        }

        fn check_poll(&mut self, number: u64, call: Call, turn: Turn<Holder>) {
            assert_eq!(self.poll(number), Polled { call, turn }, "polled: {number}");
        }

        /// It is the turn of this waiter, and of no other.
        fn check_asks(&mut self, number: u64, expect: Ask) {
            self.check_poll(number, NOBODY, Turn::Ask(expect));
        }

        /// It is not the turn of this waiter, who looks again in case that the first in line does not come.
        fn check_stands_behind(&mut self, number: u64) {
            self.check_poll(number, NOBODY, Turn::WaitUntil(self.now + NEGLECTED, None));
        }

        /// This waiter waits for what it knows of the nodes; returns until when.
        fn waits(&mut self, number: u64) -> Instant {
            match self.poll(number) {
                Polled { call: NOBODY, turn: Turn::WaitUntil(moment, None) } if moment != self.now + NEGLECTED => {
                    moment
                }
                other => panic!("{number} does not wait for the nodes: {other:?}"),
            }
        }

        /// This waiter waits for a holder in this process, and asks nothing meanwhile but by a whole slow poll.
        fn check_waits_for(&mut self, number: u64, holder: Holder) {
            match self.poll(number) {
                Polled { call: NOBODY, turn: Turn::WaitUntil(moment, Some(seen)) } => {
                    assert_eq!(seen, holder);
                    assert!(moment >= self.now + SLOW_POLL, "{number} asks for a lock that is known to be held");
                }
                other => panic!("{number} does not wait for the holder: {other:?}"),
            }
        }

        fn asks(&mut self, number: u64) -> Ask {
            match self.poll(number) {
                Polled { turn: Turn::Ask(ask), .. } => ask,
                other => panic!("{number} does not ask: {other:?}"),
            }
        }

        /// All nodes have answered so.
        fn fail_with(&mut self, number: u64, verdict: Verdict, counter: u64) -> Reachability {
            let seen = [0, 1, 2].map(|node| (node.into(), NodeObservation::Unknown));
            let failure = Failure { verdict, seen: &seen, counter, pause: INSTANT };
            self.queue.failed(number, failure, self.now, &self.settings, || 1)
        }

        fn refuse(&mut self, number: u64) {
            assert_eq!(self.fail_with(number, Verdict::Refused, 0), Reachability::Unchanged);
        }

        /// This waiter was refused twice, so that nodes report changes to it.
        fn refuse_watched(&mut self, number: u64) {
            for is_watched in [false, true] {
                assert_eq!(self.asks(number).is_watched, is_watched);
                self.refuse(number);
            }
        }

        fn holder(&self) -> Holder {
            Holder { valid_until: self.now + Duration::from_secs(30), token: 0 }
        }

        /// This waiter asks, and acquires the lock.
        fn check_wins(&mut self, number: u64, is_wanted_elsewhere: bool, call: Call) {
            self.asks(number);
            let holder = self.holder();
            let hold = (HOLD + number, holder);
            let acquired = self.queue.won(number, hold, is_wanted_elsewhere, ROUND_TRIP, self.now);
            assert_eq!(acquired, Acquired { replaced: None, call, reachability: Reachability::Unchanged });
            assert_eq!(self.queue.local_holders().next(), Some(&holder));
        }

        fn hold(&mut self, hold: u64, holder: Holder) {
            let acquired = self.queue.acquired(hold, holder);
            let expect = Acquired { replaced: None, call: NOBODY, reachability: Reachability::Unchanged };
            assert_eq!(acquired, expect);
        }

        fn check_lets_go(&mut self, hold: u64, expect: Call) {
            assert_eq!(self.queue.let_go(hold, || self.now, &self.settings), expect);
        }

        fn check_leaves(&mut self, number: u64, call: Call) {
            let left = self.queue.left(number, self.now);
            assert_eq!(left, Left { call, reachability: Reachability::Unchanged, untaken: None }, "left: {number}");
        }

        fn check_changed(&mut self, node: usize, expect: Call) {
            assert_eq!(self.queue.changed(node, Some(0), self.now), expect, "changed: node {node}");
        }
    }

    #[test]
    fn waiters_get_the_lock_in_the_order_in_which_they_came() {
        let mut scene = Scene::of(3);
        for number in 1..=3 {
            (number + 1..=3).for_each(|behind| scene.check_stands_behind(behind));
            let next = if number < 3 { Call::Waiter(number + 1) } else { NOBODY };
            scene.check_wins(number, false, next);
            scene.check_lets_go(HOLD + number, next);
        }
        assert!(scene.queue.is_deserted());
    }

    #[test]
    fn an_acquire_that_nobody_contends_for_draws_no_seed() {
        let mut scene = Scene::of(1);
        let polled = scene.queue.polled(1, scene.now, &scene.settings, || panic!("drawn"));
        assert_eq!(polled, Polled { call: NOBODY, turn: Turn::Ask(PLAIN) });
    }

    #[test]
    fn when_the_first_leaves_the_next_is_called_whatever_the_first_was_doing() {
        let check = |state: &str, prepare: fn(&mut Scene)| {
            let mut scene = Scene::of(3);
            prepare(&mut scene);
            scene.pass(INSTANT);
            assert_eq!(scene.queue.left(1, scene.now).call, Call::Waiter(2), "{state}");
            scene.check_stands_behind(3);
            scene.pass(NEGLECTED.saturating_sub(INSTANT));
            scene.check_stands_behind(3);
            scene.pass(INSTANT);
            assert_eq!(scene.poll(3).call, Call::Waiter(3), "the second was called when the first left: {state}");
        };
        check("not polled yet", |_| ());
        check("asking", |scene| scene.check_asks(1, PLAIN));
        check("waiting for the nodes", |scene| {
            scene.refuse_watched(1);
            scene.waits(1);
        });
        check("called", |scene| {
            let holder = scene.holder();
            scene.hold(HOLD, holder);
            scene.check_lets_go(HOLD, Call::Waiter(1));
        });
        check("waiting for a local holder", |scene| {
            let holder = scene.holder();
            scene.hold(HOLD, holder);
            assert!(matches!(scene.poll(1).turn, Turn::WaitUntil(_, Some(_))));
        });
    }

    #[test]
    fn nobody_is_called_when_a_waiter_behind_the_first_leaves() {
        let mut scene = Scene::of(3);
        scene.check_leaves(2, NOBODY);
        scene.check_stands_behind(3);
        scene.check_leaves(1, Call::Waiter(3));
        scene.check_asks(3, PLAIN);
        scene.check_leaves(3, NOBODY);
        assert!(scene.queue.is_deserted());
    }

    #[test]
    fn the_attempt_of_a_waiter_that_left_is_over() {
        let mut scene = Scene::of(2);
        scene.check_asks(1, PLAIN);
        scene.check_leaves(1, Call::Waiter(2));
        assert_eq!(scene.fail_with(1, Verdict::Unreachable, 7), Reachability::Unchanged);
        scene.check_asks(2, PLAIN);
        assert_eq!(scene.fail_with(1, Verdict::Unreachable, 7), Reachability::Unchanged);
        scene.check_asks(2, PLAIN);
    }

    #[test]
    fn a_waiter_that_was_called_and_is_not_polled_goes_to_the_end() {
        let mut scene = Scene::of(3);
        let holder = scene.holder();
        scene.hold(HOLD, holder);
        scene.check_lets_go(HOLD, Call::Waiter(1));
        scene.pass(NEGLECTED.saturating_sub(INSTANT));
        scene.check_stands_behind(3);
        scene.pass(INSTANT);
        let behind = Turn::WaitUntil(scene.now + NEGLECTED, None);
        scene.check_poll(3, Call::Waiter(2), behind.clone());
        scene.check_poll(1, NOBODY, behind.clone());
        scene.pass(NEGLECTED);
        scene.check_poll(3, Call::Waiter(3), Turn::Ask(PLAIN));
        scene.check_leaves(3, Call::Waiter(1));
        scene.check_stands_behind(2);
    }

    #[test]
    fn a_waiter_that_is_polled_in_time_keeps_its_turn() {
        let mut scene = Scene::of(2);
        let holder = scene.holder();
        scene.hold(HOLD, holder);
        scene.check_lets_go(HOLD, Call::Waiter(1));
        scene.pass(NEGLECTED);
        scene.check_asks(1, PLAIN);
        scene.check_stands_behind(2);
    }

    #[test]
    fn a_waiter_that_asked_and_does_not_look_at_the_answers_goes_to_the_end() {
        let mut scene = Scene::of(3);
        scene.check_asks(1, PLAIN);
        scene.pass((NEGLECTED + 2 * NODE_TIMEOUT).saturating_sub(INSTANT));
        scene.check_stands_behind(3);
        scene.pass(INSTANT);
        scene.check_poll(3, Call::Waiter(2), Turn::WaitUntil(scene.now + NEGLECTED, None));
        scene.check_stands_behind(3);
        assert_eq!(scene.fail_with(1, Verdict::Unreachable, 7), Reachability::Unchanged, "its attempt is forgotten");
        scene.check_asks(2, PLAIN);
        assert_eq!(scene.fail_with(1, Verdict::Unreachable, 7), Reachability::Unchanged, "the second knows more");
        scene.check_stands_behind(1);
        scene.check_stands_behind(3);
        scene.refuse(2);
        scene.check_asks(2, Ask { is_watched: true, notes_contention: true, ..PLAIN });
    }

    #[test]
    fn a_first_in_line_whose_timer_is_late_is_called_by_those_behind_it() {
        let mut scene = Scene::of(2);
        scene.refuse_watched(1);
        let moment = scene.waits(1);
        scene.now = moment.checked_sub(INSTANT).unwrap();
        scene.check_stands_behind(2);
        scene.now = moment;
        for time in [Duration::ZERO, NEGLECTED / 2, NEGLECTED.saturating_sub(INSTANT)] {
            scene.now = moment + time;
            scene.check_poll(2, Call::Waiter(1), Turn::WaitUntil(scene.now + NEGLECTED, None));
        }
        scene.now = moment + NEGLECTED;
        let Polled { call: Call::Waiter(2), turn: Turn::Ask(_) } = scene.poll(2) else {
            panic!("the first was called more than once, but it is the first call that counts")
        };
    }

    #[test]
    fn a_process_stands_back_for_another_one_after_four_hand_overs() {
        for is_wanted_elsewhere in [true, false] {
            let mut scene = Scene::of(6);
            for number in 1..=5 {
                scene.check_wins(number, is_wanted_elsewhere, Call::Waiter(number + 1));
                scene.check_lets_go(HOLD + number, Call::Waiter(number + 1));
            }
            if is_wanted_elsewhere {
                scene.check_poll(6, NOBODY, Turn::WaitUntil(scene.now + 2 * ROUND_TRIP, None));
                scene.pass(2 * ROUND_TRIP);
            }
            assert_eq!(scene.asks(6).ask_order, AskOrder::AllAtOnce);
        }
    }

    #[test]
    fn hand_overs_are_counted_anew_after_a_refusal_and_after_a_release_for_which_nobody_waits() {
        for is_refused in [true, false] {
            let mut scene = Scene::of(0);
            for number in 1..=12 {
                scene.queue.joined(number, OnRuntime(0));
                if number % 4 == 0 && is_refused {
                    assert_eq!(scene.asks(number).ask_order, AskOrder::AllAtOnce);
                    scene.refuse(number);
                }
                scene.check_wins(number, true, NOBODY);
                if number % 4 == 0 && !is_refused {
                    scene.check_lets_go(HOLD + number, NOBODY);
                } else {
                    scene.queue.joined(number + 50, OnRuntime(0));
                    scene.check_lets_go(HOLD + number, Call::Waiter(number + 50));
                    scene.check_leaves(number + 50, NOBODY);
                }
            }
        }
    }

    #[test]
    fn the_first_in_line_waits_for_a_local_holder_until_that_has_lost_the_lock() {
        let mut scene = Scene::of(2);
        let holder = Holder { valid_until: scene.now + ROUND_TRIP, token: 0 };
        scene.hold(HOLD, holder);
        scene.check_waits_for(1, holder);
        scene.check_stands_behind(2);
        scene.now = holder.valid_until;
        scene.check_asks(1, PLAIN);
        assert_eq!(scene.queue.local_holders().next(), None);
    }

    #[test]
    fn a_holder_whose_lock_was_granted_to_another_is_told() {
        let mut scene = Scene::of(1);
        let (first, second) = (scene.holder(), Holder { token: 2, ..scene.holder() });
        scene.hold(HOLD, first);
        assert_eq!(scene.queue.acquired(HOLD + 1, second).replaced, Some(first));
        assert_eq!(scene.queue.local_holders().next(), Some(&second));
        scene.check_lets_go(HOLD, NOBODY);
        assert_eq!(scene.queue.local_holders().next(), Some(&second), "it was not its lock any more");
        scene.check_lets_go(HOLD + 1, Call::Waiter(1));
        scene.check_lets_go(HOLD + 1, NOBODY);
    }

    #[test]
    fn what_was_believed_is_forgotten_when_a_holder_comes_and_when_it_goes() {
        let mut scene = Scene::of(1);
        scene.refuse_watched(1);
        scene.pass(SLOW_POLL / 2);
        let holder = scene.holder();
        scene.hold(HOLD, holder);
        scene.check_waits_for(1, holder);
        scene.check_lets_go(HOLD, Call::Waiter(1));
        scene.check_asks(1, PLAIN);
    }

    #[test]
    fn a_lock_is_handed_over_before_its_release_is_confirmed_on_the_same_connections_only() {
        let mut scene = Scene::of(1);
        let holder = scene.holder();
        scene.hold(HOLD, holder);
        let mut hand_over = |runtime| scene.queue.hands_over(HOLD, || runtime, || scene.now, &scene.settings);
        assert_eq!(hand_over(Some(1)), NOBODY);
        assert_eq!(hand_over(None), NOBODY);
        assert_eq!(hand_over(Some(0)), Call::Waiter(1));
        assert_eq!(hand_over(Some(0)), NOBODY, "it was handed over");
        scene.check_lets_go(HOLD, NOBODY);
        let mut alone = Scene::of(0);
        alone.hold(HOLD, holder);
        assert_eq!(alone.queue.hands_over(HOLD, || Some(0), || alone.now, &alone.settings), NOBODY);
        assert_eq!(alone.queue.local_holders().next(), Some(&holder), "nobody follows");
    }

    #[test]
    fn the_first_in_line_is_called_when_a_majority_reported_a_change() {
        let mut scene = Scene::of(2);
        scene.check_changed(0, NOBODY);
        scene.refuse_watched(1);
        scene.waits(1);
        scene.check_changed(0, NOBODY);
        scene.check_changed(0, NOBODY);
        scene.check_changed(1, Call::Waiter(1));
        scene.check_asks(1, Ask { is_watched: true, notes_contention: true, ..PLAIN });
    }

    #[test]
    fn a_change_that_was_reported_during_an_attempt_counts_as_later_than_the_answers() {
        let mut scene = Scene::of(1);
        scene.refuse_watched(1);
        let moment = scene.waits(1);
        scene.now = moment;
        assert!(scene.asks(1).is_watched);
        scene.check_changed(2, NOBODY);
        scene.check_changed(0, NOBODY);
        scene.refuse(1);
        assert!(scene.asks(1).is_watched, "it asks at once");
        scene.refuse(1);
        scene.waits(1);
    }

    #[test]
    fn nothing_is_believed_of_nodes_that_report_to_another_runtime() {
        for (runtime, is_heard) in [(0, true), (1, false)] {
            let mut scene = Scene::of(1);
            scene.queue.joined(2, OnRuntime(runtime));
            scene.refuse_watched(1);
            scene.check_leaves(1, Call::Waiter(2));
            if is_heard {
                scene.waits(2);
            } else {
                scene.check_asks(2, Ask { is_watched: true, notes_contention: true, ..PLAIN });
            }
        }
    }

    #[test]
    fn a_waiter_on_another_runtime_waits_for_a_local_holder_as_any_other() {
        let mut scene = Scene::of(1);
        scene.queue.joined(2, OnRuntime(1));
        scene.refuse_watched(1);
        scene.check_leaves(1, Call::Waiter(2));
        let holder = scene.holder();
        scene.hold(HOLD, holder);
        (0..2).for_each(|_| scene.check_waits_for(2, holder));
    }

    #[test]
    fn a_waiter_on_another_runtime_stands_back_as_any_other() {
        let mut scene = Scene::of(5);
        scene.queue.joined(6, OnRuntime(1));
        scene.refuse_watched(1);
        scene.now = scene.waits(1);
        for number in 1..=5 {
            scene.check_wins(number, true, Call::Waiter(number + 1));
            scene.check_lets_go(HOLD + number, Call::Waiter(number + 1));
        }
        scene.check_poll(6, NOBODY, Turn::WaitUntil(scene.now + 2 * ROUND_TRIP, None));
    }

    #[test]
    fn a_waiter_that_was_refused_asks_once_more_watched_before_it_waits() {
        let mut scene = Scene::of(1);
        scene.check_asks(1, PLAIN);
        scene.refuse(1);
        scene.check_asks(1, Ask { is_watched: true, notes_contention: true, ..PLAIN });
        scene.refuse(1);
        let moment = scene.waits(1);
        assert!(moment >= scene.now + SLOW_POLL && moment <= scene.now + SLOW_POLL * 3 / 2);
    }

    #[test]
    fn the_last_before_another_process_notes_that_this_one_waits_and_none_that_asks_one_node_first_does() {
        let mut scene = Scene::of(6);
        for number in 1..=4 {
            assert!(!scene.asks(number).notes_contention, "{number}");
            scene.check_wins(number, false, Call::Waiter(number + 1));
            scene.check_lets_go(HOLD + number, Call::Waiter(number + 1));
        }
        scene.check_asks(5, Ask { notes_contention: true, ..PLAIN });
        let seen = [0, 1, 2].map(|node| (node.into(), NodeObservation::GivenBack));
        let failure = Failure { verdict: Verdict::Split, seen: &seen, counter: 0, pause: Duration::ZERO };
        for ask_order in [AskOrder::AllAtOnce, AskOrder::OneFirst] {
            let reachability = scene.queue.failed(5, failure, scene.now, &scene.settings, || 1);
            assert_eq!(reachability, Reachability::Unchanged);
            let notes_contention = ask_order == AskOrder::AllAtOnce;
            scene.check_asks(5, Ask { ask_order, is_watched: true, notes_contention, counter: 0, room: 0 });
        }
    }

    #[test]
    fn the_next_to_ask_knows_the_greatest_counter_of_all_before() {
        let check = |expect, prepare: fn(&mut Scene)| {
            let mut scene = Scene::of(2);
            prepare(&mut scene);
            scene.pass(SLOW_POLL * 2);
            assert_eq!(scene.asks(1).counter, expect);
        };
        let fail: fn(&mut Scene) = |scene| {
            scene.asks(1);
            assert_eq!(scene.fail_with(1, Verdict::Refused, 41), Reachability::Unchanged);
        };
        let hold: fn(&mut Scene) = |scene| {
            let holder = Holder { token: 42, ..scene.holder() };
            scene.hold(HOLD, holder);
            scene.check_lets_go(HOLD, Call::Waiter(1));
        };
        check(0, |_| ());
        check(41, fail);
        check(42, hold);
        check(41, |scene| {
            scene.asks(1);
            assert_eq!(scene.fail_with(1, Verdict::Refused, 41), Reachability::Unchanged);
            scene.asks(1);
            assert_eq!(scene.fail_with(1, Verdict::Refused, 7), Reachability::Unchanged);
        });
    }

    #[test]
    fn people_are_told_once_that_too_few_nodes_can_be_reached_and_once_that_this_is_over() {
        use Reachability::{Enough, GivenUp, StillTooFew, TooFew, Unchanged};
        use Verdict::{Refused, Split, Unreachable};
        let check = |verdicts: &[Verdict], expect: &[Reachability]| {
            let mut scene = Scene::of(1);
            let told = verdicts.iter().map(|verdict| {
                scene.pass(SLOW_POLL * 2);
                scene.asks(1);
                scene.fail_with(1, *verdict, 0)
            });
            assert_eq!(told.collect::<Vec<_>>(), expect, "{verdicts:?}");
            scene
        };
        check(&[Refused, Split], &[Unchanged, Unchanged]);
        check(&[Unreachable, Unreachable, Refused, Refused], &[TooFew, StillTooFew, Enough, Unchanged]);
        check(&[Unreachable, Split, Unreachable], &[TooFew, Enough, TooFew]);
        let mut acquired = check(&[Unreachable], &[TooFew]);
        let holder = acquired.holder();
        assert_eq!(acquired.queue.acquired(HOLD, holder).reachability, Enough);
        let mut left = check(&[Unreachable], &[TooFew]);
        left.queue.joined(2, OnRuntime(0));
        assert_eq!(left.queue.left(1, left.now).reachability, Unchanged, "another one goes on trying");
        assert_eq!(left.queue.left(2, left.now).reachability, GivenUp);
    }

    #[test]
    fn the_slow_poll_is_put_off_by_once_to_one_and_a_half_times_its_length() {
        let scene = Scene::of(0);
        let moments =
            (0..1000).map(|seed| scene.settings.poll_at(scene.now, seed).saturating_duration_since(scene.now));
        let (earliest, latest) = (moments.clone().min().unwrap(), moments.max().unwrap());
        assert!(earliest >= SLOW_POLL && earliest < SLOW_POLL * 11 / 10, "{earliest:?}");
        assert!(latest <= SLOW_POLL * 3 / 2 && latest > SLOW_POLL * 14 / 10, "{latest:?}");
    }

    /// Somebody who waits for one of two permits.
    #[derive(Debug)]
    struct ForOneOfTwo;

    impl Waiter for ForOneOfTwo {
        type Runtime = u8;

        fn runtime(&self) -> Option<u8> {
            Some(0)
        }

        fn places(&self) -> usize {
            2
        }
    }

    /// A holder of the permit of this number.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct OfPermit(u8, Instant);

    impl LocalHolder for OfPermit {
        fn is_lost(&self, now: Instant) -> bool {
            now >= self.1
        }

        fn fencing_token(&self) -> u64 {
            0
        }

        fn part(&self) -> u8 {
            self.0
        }
    }

    #[test]
    fn whoever_waits_for_a_permit_asks_until_all_are_held_here_and_when_one_is_let_go() {
        let now = crate::platform::clock::now();
        let settings = WaitSettings::new(Quorum::of(3).unwrap(), NODE_TIMEOUT, SLOW_POLL);
        let mut queue = WaitQueue::<_, OfPermit>::new();
        let ends = now + Duration::from_secs(30);
        queue.joined(1, ForOneOfTwo);
        assert_eq!(queue.acquired(HOLD, OfPermit(1, ends)).replaced, None);
        assert_eq!(queue.polled(1, now, &settings, || 1).turn, Turn::Ask(PLAIN), "the other permit may be free");
        assert_eq!(queue.acquired(HOLD + 1, OfPermit(0, ends)).replaced, None);
        let Turn::WaitUntil(moment, Some(_)) = queue.polled(1, now, &settings, || 1).turn else {
            panic!("both permits are known to be held")
        };
        assert!(moment >= now + SLOW_POLL);
        assert_eq!(queue.acquired(HOLD + 2, OfPermit(0, ends)).replaced, Some(OfPermit(0, ends)), "another has it now");
        assert_eq!(queue.let_go(HOLD + 1, || now, &settings), NOBODY, "it was lost before");
        assert_eq!(queue.let_go(HOLD, || now, &settings), Call::Waiter(1));
        assert_eq!(queue.polled(1, now, &settings, || 1).turn, Turn::Ask(PLAIN));
        assert_eq!(queue.let_go(HOLD + 2, || now, &settings), Call::Waiter(1));
        assert_eq!(queue.local_holders().count(), 0);
    }

    #[test]
    fn a_process_that_stands_back_goes_on_doing_so_when_it_lets_go_of_another_permit() {
        let now = crate::platform::clock::now();
        let settings = WaitSettings::new(Quorum::of(3).unwrap(), NODE_TIMEOUT, SLOW_POLL);
        let mut queue = WaitQueue::<_, OfPermit>::new();
        (1..=9).for_each(|number| queue.joined(number, ForOneOfTwo));
        let wins = |queue: &mut WaitQueue<_, OfPermit>, number: u64| {
            let Turn::Ask(_) = queue.polled(number, now, &settings, || 1).turn else { panic!("{number} asks") };
            let holder = OfPermit(u8::from(number.is_multiple_of(2)), now + Duration::from_secs(30));
            let _ = queue.won(number, (HOLD + number, holder), true, ROUND_TRIP, now);
        };
        (1..=2).for_each(|number| wins(&mut queue, number));
        for number in 1..=4 {
            assert_eq!(queue.let_go(HOLD + number, || now, &settings), Call::Waiter(number + 2));
            wins(&mut queue, number + 2);
        }
        let back_until = now + 2 * ROUND_TRIP;
        for (number, call) in [(5, Call::Waiter(7)), (6, NOBODY)] {
            assert_eq!(queue.let_go(HOLD + number, || now, &settings), call);
            assert_eq!(queue.polled(7, now, &settings, || 1).turn, Turn::WaitUntil(back_until, None));
        }
        let Turn::Ask(_) = queue.polled(7, back_until, &settings, || 1).turn else { panic!("its turn has come") };
    }

    #[test]
    fn whoever_waits_for_a_permit_is_called_by_a_change_of_any() {
        let now = crate::platform::clock::now();
        let settings = WaitSettings::new(Quorum::of(3).unwrap(), NODE_TIMEOUT, SLOW_POLL);
        let mut queue = WaitQueue::<_, OfPermit>::new();
        queue.joined(1, ForOneOfTwo);
        let key = OthersKey { owner: Some(7), expires: None };
        let seen: Vec<_> =
            (0..6).map(|at| (At { node: at % 3, part: u8::from(at > 2) }, NodeObservation::Held(key))).collect();
        for _ in 0..2 {
            let Turn::Ask(_) = queue.polled(1, now, &settings, || 1).turn else { panic!("it asks") };
            let failure = Failure { verdict: Verdict::Refused, seen: &seen, counter: 0, pause: INSTANT };
            assert_eq!(queue.failed(1, failure, now, &settings, || 1), Reachability::Unchanged);
        }
        assert_eq!(queue.changed(0, Some(0), now), NOBODY);
        assert_eq!(queue.changed(1, Some(1), now), NOBODY, "that is another permit");
        assert_eq!(queue.changed(2, Some(1), now), Call::Waiter(1));
        assert!(matches!(queue.polled(1, now, &settings, || 1).turn, Turn::Ask(Ask { is_watched: true, .. })));
    }
}
