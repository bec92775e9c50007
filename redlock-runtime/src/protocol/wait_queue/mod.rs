//! Who asks the nodes for a lock, of those in a process who want it, when, and who is called.

mod actions;
mod hand_overs;
mod holders;
mod line;
#[cfg(test)]
mod passed_on;

use std::time::{Duration, Instant};

pub use self::actions::{Acquired, Ask, Call, Failure, Left, Offered, Polled, Reachability, WaiterStep};

use self::hand_overs::{HandOvers, NextProcess};
use self::holders::Holders;
use self::line::Line;
use super::{AskOrder, At, AtSet, Backoff, Elsewhere, Needs, NodeSet, Passing, Quorum, Step, Turns, Verdict, WaitPlan};
use crate::rules::{Rule, holds};

/// A waiter that was called but is not polled for this long is overtaken.
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
/// the first in line has taken the lease ([`WaiterStep::Take`], [`Self::took`]), whoever that is when it is polled. Nobody asks the nodes
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
    /// Whether another process comes next.
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
    /// A waiter that has asked and does not look at the answers for this long is overtaken.
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
            return Polled { call, step: WaiterStep::WaitUntil(now + NEGLECTED, None) };
        }
        self.called = None;
        if let Some((hold, holder)) = self.take_offered() {
            return Polled { call, step: WaiterStep::Take(hold, holder) };
        }
        self.forget_unheard(number, now, settings);
        let local_holder = self.valid_local_holder(now);
        if local_holder.is_some() && self.wait_plan.is_none() {
            self.wait_plan = Some(Box::new(WaitPlan::unknown(settings.quorum, settings.poll_at(now, seed()))));
        }
        let step = self.wait_plan.as_mut().map_or(Step::Ask(AskOrder::AllAtOnce), |wait_plan| wait_plan.told(now));
        let step = match step {
            Step::WaitUntil(moment) => WaiterStep::WaitUntil(moment, local_holder),
            Step::Ask(ask_order) => WaiterStep::Ask(self.attempt(number, now, ask_order, settings)),
        };
        Polled { call, step }
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
        wait_plan.failed((verdict, ask_order), seen.iter().copied(), now, poll_at, pause);
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
        let call = if self.leave_line(number) { self.call_next(now) } else { acquired.call };
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

    /// Somebody in this process who did not wait has acquired the lock. A first in line that waits for the nodes is called: from now on it
    /// waits for this holder, of whose loss no node tells it.
    pub fn acquired(&mut self, hold: u64, holder: H) -> Acquired<H> {
        self.counter = self.counter.max(holder.fencing_token());
        let replaced = self.local_holders.add(hold, holder);
        // What was offered is lost.
        self.is_offered = false;
        let relied_on = if self.is_held_here() { self.wait_plan.take() } else { None };
        // It is not called to ask: nobody counts how long it takes.
        let call = self.line.first().filter(|_| relied_on.is_some());
        let call = call.map_or(Call::Nobody, |(number, _)| Call::Waiter(*number));
        Acquired { replaced, call, reachability: self.reached() }
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
        let Some((_, holder)) = self.local_holders.take_if(|(other, _)| *other == hold) else { return Call::Nobody };
        self.reports_to = None;
        if self.line.is_empty() {
            self.wait_plan = None;
            self.hand_overs.interrupted();
            return Call::Nobody;
        }
        let now = now();
        // Of several who hold it another one may have let go a moment before.
        let is_standing_back = self.wait_plan.as_ref().is_some_and(|wait_plan| wait_plan.stands_back(now));
        if is_standing_back && holds(Rule::StandBack) {
            return Call::Nobody;
        }
        self.wait_plan = None;
        match self.hand_overs.let_go(now) {
            // Whoever asks at this moment may be told of it: that counts as any change during an attempt. That a reader has gone lets in no
            // other reader.
            NextProcess::Ours if self.attempt.is_some() && !holder.is_shared() => {
                let all = NodeSet::first(settings.quorum.nodes());
                all.iter().for_each(|node| self.changed.insert(At { node, part: holder.part() }));
            }
            NextProcess::Ours => {}
            NextProcess::StandBack(pause) => {
                self.wait_plan = Some(Box::new(WaitPlan::stand_back(settings.quorum, now + pause)));
            }
        }
        if holds(Rule::ReleaseCalls) { self.call_first(now) } else { Call::Nobody }
    }

    /// A node reported a change of this key, or cannot have reported one of any for a while (`None`).
    pub fn changed(&mut self, node: usize, part: Option<u8>, now: Instant) -> Call {
        // While nobody waits, what is believed is kept for the next who comes.
        let believed = || self.wait_plan.as_ref().map_or(1, |wait_plan| wait_plan.parts());
        let parts = part.map_or_else(|| 0..self.parts().max(believed()), |part| part..part.saturating_add(1));
        parts.clone().for_each(|part| self.changed.insert(At { node, part }));
        let Some(wait_plan) = &mut self.wait_plan else { return Call::Nobody };
        let now = wait_plan.told_at().map_or(now, |told| told.max(now));
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
        // Without a plan nothing has failed so far: most locks are free, and the next in line follows a release.
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
mod tests;
