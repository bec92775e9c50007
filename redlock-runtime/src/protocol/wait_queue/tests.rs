//! Tests of the line of waiters.

use super::*;
use crate::protocol::{NodeObservation, NodeSet, OthersKey};

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

    fn check_poll(&mut self, number: u64, call: Call, step: WaiterStep<Holder>) {
        assert_eq!(self.poll(number), Polled { call, step }, "polled: {number}");
    }

    /// This waiter asks, and no other.
    fn check_asks(&mut self, number: u64, expect: Ask) {
        self.check_poll(number, NOBODY, WaiterStep::Ask(expect));
    }

    /// This waiter does not ask, and looks again in case that the first in line does not come.
    fn check_stands_behind(&mut self, number: u64) {
        self.check_poll(number, NOBODY, WaiterStep::WaitUntil(self.now + NEGLECTED, None));
    }

    /// This waiter waits for what it knows of the nodes; returns until when.
    fn waits(&mut self, number: u64) -> Instant {
        match self.poll(number) {
            Polled { call: NOBODY, step: WaiterStep::WaitUntil(moment, None) } if moment != self.now + NEGLECTED => {
                moment
            }
            other => panic!("{number} does not wait for the nodes: {other:?}"),
        }
    }

    /// This waiter waits for a holder in this process, and asks nothing meanwhile but by a whole slow poll.
    fn check_waits_for(&mut self, number: u64, holder: Holder) {
        match self.poll(number) {
            Polled { call: NOBODY, step: WaiterStep::WaitUntil(moment, Some(seen)) } => {
                assert_eq!(seen, holder);
                assert!(moment >= self.now + SLOW_POLL, "{number} asks for a lock that is known to be held");
            }
            other => panic!("{number} does not wait for the holder: {other:?}"),
        }
    }

    fn asks(&mut self, number: u64) -> Ask {
        match self.poll(number) {
            Polled { step: WaiterStep::Ask(ask), .. } => ask,
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
        self.hold_before(hold, holder, NOBODY);
    }

    /// Somebody who did not wait gets the lock, and this waiter is called.
    fn hold_before(&mut self, hold: u64, holder: Holder, call: Call) {
        let acquired = self.queue.acquired(hold, holder);
        assert_eq!(acquired, Acquired { replaced: None, call, reachability: Reachability::Unchanged });
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
    assert_eq!(polled, Polled { call: NOBODY, step: WaiterStep::Ask(PLAIN) });
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
        assert!(matches!(scene.poll(1).step, WaiterStep::WaitUntil(_, Some(_))));
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
    let behind = WaiterStep::WaitUntil(scene.now + NEGLECTED, None);
    scene.check_poll(3, Call::Waiter(2), behind.clone());
    scene.check_poll(1, NOBODY, behind.clone());
    scene.pass(NEGLECTED);
    scene.check_poll(3, Call::Waiter(3), WaiterStep::Ask(PLAIN));
    scene.check_leaves(3, Call::Waiter(1));
    scene.check_stands_behind(2);
}

#[test]
fn a_waiter_that_is_polled_in_time_keeps_its_place() {
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
    scene.check_poll(3, Call::Waiter(2), WaiterStep::WaitUntil(scene.now + NEGLECTED, None));
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
        scene.check_poll(2, Call::Waiter(1), WaiterStep::WaitUntil(scene.now + NEGLECTED, None));
    }
    scene.now = moment + NEGLECTED;
    let Polled { call: Call::Waiter(2), step: WaiterStep::Ask(_) } = scene.poll(2) else {
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
            scene.check_poll(6, NOBODY, WaiterStep::WaitUntil(scene.now + 3 * ROUND_TRIP, None));
            scene.pass(3 * ROUND_TRIP);
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
    scene.hold_before(HOLD, holder, Call::Waiter(1));
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
fn whoever_looked_at_the_clock_long_before_it_tells_of_a_change_calls_the_first_in_line_all_the_same() {
    for looked_before_the_pause in [true, false] {
        let mut scene = Scene::of(1);
        scene.refuse_watched(1);
        let before = scene.now;
        scene.now = scene.waits(1);
        scene.asks(1);
        // What a split vote leaves: a pause, in which nothing is asked whatever is believed.
        assert_eq!(scene.fail_with(1, Verdict::Split, 0), Reachability::Unchanged);
        let moment = if looked_before_the_pause { before } else { scene.now };
        scene.now = scene.waits(1);
        scene.waits(1);
        assert_eq!(scene.queue.changed(0, Some(0), moment), NOBODY);
        assert_eq!(scene.queue.changed(1, Some(0), moment), Call::Waiter(1), "{looked_before_the_pause}");
    }
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
    scene.hold_before(HOLD, holder, Call::Waiter(2));
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
    scene.check_poll(6, NOBODY, WaiterStep::WaitUntil(scene.now + 3 * ROUND_TRIP, None));
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
    for ask_order in [AskOrder::AllAtOnce, AskOrder::OneFirst { except: NodeSet::default() }] {
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
    let moments = (0..1000).map(|seed| scene.settings.poll_at(scene.now, seed).saturating_duration_since(scene.now));
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
    assert_eq!(queue.polled(1, now, &settings, || 1).step, WaiterStep::Ask(PLAIN), "the other permit may be free");
    assert_eq!(queue.acquired(HOLD + 1, OfPermit(0, ends)).replaced, None);
    let WaiterStep::WaitUntil(moment, Some(_)) = queue.polled(1, now, &settings, || 1).step else {
        panic!("both permits are known to be held")
    };
    assert!(moment >= now + SLOW_POLL);
    assert_eq!(queue.acquired(HOLD + 2, OfPermit(0, ends)).replaced, Some(OfPermit(0, ends)), "another has it now");
    assert_eq!(queue.let_go(HOLD + 1, || now, &settings), NOBODY, "it was lost before");
    assert_eq!(queue.let_go(HOLD, || now, &settings), Call::Waiter(1));
    assert_eq!(queue.polled(1, now, &settings, || 1).step, WaiterStep::Ask(PLAIN));
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
        let WaiterStep::Ask(_) = queue.polled(number, now, &settings, || 1).step else { panic!("{number} asks") };
        let holder = OfPermit(u8::from(number.is_multiple_of(2)), now + Duration::from_secs(30));
        let _ = queue.won(number, (HOLD + number, holder), true, ROUND_TRIP, now);
    };
    (1..=2).for_each(|number| wins(&mut queue, number));
    for number in 1..=4 {
        assert_eq!(queue.let_go(HOLD + number, || now, &settings), Call::Waiter(number + 2));
        wins(&mut queue, number + 2);
    }
    let back_until = now + 3 * ROUND_TRIP;
    for (number, call) in [(5, Call::Waiter(7)), (6, NOBODY)] {
        assert_eq!(queue.let_go(HOLD + number, || now, &settings), call);
        assert_eq!(queue.polled(7, now, &settings, || 1).step, WaiterStep::WaitUntil(back_until, None));
    }
    let WaiterStep::Ask(_) = queue.polled(7, back_until, &settings, || 1).step else { panic!("it may ask again") };
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
        let WaiterStep::Ask(_) = queue.polled(1, now, &settings, || 1).step else { panic!("it asks") };
        let failure = Failure { verdict: Verdict::Refused, seen: &seen, counter: 0, pause: INSTANT };
        assert_eq!(queue.failed(1, failure, now, &settings, || 1), Reachability::Unchanged);
    }
    assert_eq!(queue.changed(0, Some(0), now), NOBODY);
    assert_eq!(queue.changed(1, Some(1), now), NOBODY, "that is another permit");
    assert_eq!(queue.changed(2, Some(1), now), Call::Waiter(1));
    assert!(matches!(queue.polled(1, now, &settings, || 1).step, WaiterStep::Ask(Ask { is_watched: true, .. })));
}

#[test]
fn whoever_waits_for_the_nodes_is_called_when_somebody_here_gets_the_lock_and_so_hears_of_the_loss() {
    let mut scene = Scene::of(2);
    scene.refuse_watched(1);
    scene.waits(1);
    let holder = Holder { valid_until: scene.now + ROUND_TRIP, token: 0 };
    scene.hold_before(HOLD, holder, Call::Waiter(1));
    scene.check_waits_for(1, holder);
}

#[test]
fn whoever_waits_for_the_nodes_is_called_when_one_that_was_overtaken_gets_the_lock() {
    let mut scene = Scene::of(2);
    scene.check_asks(1, PLAIN);
    scene.pass(NEGLECTED + 2 * NODE_TIMEOUT);
    let Polled { call: Call::Waiter(2), step: WaiterStep::Ask(_) } = scene.poll(2) else { panic!("it overtakes") };
    scene.refuse(2);
    scene.asks(2);
    scene.refuse(2);
    scene.waits(2);
    let holder = scene.holder();
    let acquired = scene.queue.won(1, (HOLD, holder), false, ROUND_TRIP, scene.now);
    assert_eq!(acquired.call, Call::Waiter(2));
    scene.check_waits_for(2, holder);
}

#[test]
fn a_holder_that_lets_go_during_an_attempt_counts_as_later_than_the_answers() {
    let mut scene = Scene::of(1);
    let holder = scene.holder();
    scene.hold(HOLD, holder);
    scene.check_waits_for(1, holder);
    scene.pass(SLOW_POLL * 3 / 2);
    assert!(scene.asks(1).is_watched);
    scene.check_lets_go(HOLD, Call::Waiter(1));
    let held = OthersKey { owner: Some(7), expires: Some(holder.valid_until) };
    let seen = [0, 1, 2].map(|node| (node.into(), NodeObservation::Held(held)));
    let failure = Failure { verdict: Verdict::Refused, seen: &seen, counter: 0, pause: INSTANT };
    assert_eq!(scene.queue.failed(1, failure, scene.now, &scene.settings, || 1), Reachability::Unchanged);
    scene.asks(1);
}

#[test]
fn a_gap_in_the_reports_is_about_all_permits_also_while_nobody_waits() {
    let now = crate::platform::clock::now();
    let settings = WaitSettings::new(Quorum::of(3).unwrap(), NODE_TIMEOUT, SLOW_POLL);
    let mut queue = WaitQueue::<_, OfPermit>::new();
    assert_eq!(queue.acquired(HOLD, OfPermit(0, now + Duration::from_secs(30))).replaced, None);
    queue.joined(1, ForOneOfTwo);
    let key = OthersKey { owner: Some(7), expires: None };
    // The third does not answer.
    let seen = [(0, 0), (1, 0), (0, 1), (1, 1)].map(|(node, part)| (At { node, part }, NodeObservation::Held(key)));
    for _ in 0..2 {
        let WaiterStep::Ask(_) = queue.polled(1, now, &settings, || 1).step else { panic!("it asks") };
        let failure = Failure { verdict: Verdict::Refused, seen: &seen, counter: 0, pause: INSTANT };
        assert_eq!(queue.failed(1, failure, now, &settings, || 1), Reachability::Unchanged);
    }
    assert_eq!(queue.left(1, now).call, NOBODY);
    assert_eq!(queue.changed(0, None, now), NOBODY);
    assert_eq!(queue.changed(1, Some(1), now), NOBODY);
    queue.joined(2, ForOneOfTwo);
    let step = queue.polled(2, now, &settings, || 1).step;
    assert!(matches!(step, WaiterStep::Ask(_)), "the first node may have reported the same: {step:?}");
}
