//! Tests of leases that pass from one holder of a process to the next.

use std::time::{Duration, Instant};

use super::tests::moment;
use super::*;
use crate::protocol::{LeaseNow, LeaseStanding};

const TTL: Duration = Duration::from_secs(30);
const NEEDS: Needs = Needs { ttl: TTL };
const ROUND_TRIP: Duration = Duration::from_millis(2);

/// Somebody who takes a lease from another holder, or does not.
#[derive(Debug)]
struct Wants(Option<Needs>);

impl Waiter for Wants {
    type Runtime = u8;

    fn runtime(&self) -> Option<u8> {
        Some(0)
    }

    fn places(&self) -> usize {
        1
    }

    fn needs(&self) -> Option<Needs> {
        self.0
    }
}

/// A holder of this token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Holder(u64, Instant);

impl LocalHolder for Holder {
    fn is_lost(&self, now: Instant) -> bool {
        now >= self.1
    }

    fn fencing_token(&self) -> u64 {
        self.0
    }

    fn part(&self) -> u8 {
        0
    }
}

struct Scene {
    queue: WaitQueue<Wants, Holder>,
    settings: WaitSettings,
    now: Instant,
}

/// The holders' numbers.
const HOLD: u64 = 100;

impl Scene {
    /// The waiters 1, 2, ... stand in line behind a holder.
    fn held_before(waiters: &[Option<Needs>]) -> Self {
        let quorum = Quorum::of(3).unwrap();
        let settings = WaitSettings::new(quorum, Duration::from_millis(200), Duration::from_secs(10));
        let settings = settings.with_tokens_reserved(true);
        let now = moment();
        let mut queue = WaitQueue::new();
        let _ = queue.acquired(HOLD, Holder(7, now + TTL));
        (1..).zip(waiters).for_each(|(number, needs)| queue.joined(number, Wants(*needs)));
        Self { queue, settings, now }
    }

    fn poll(&mut self, number: u64) -> Polled<Holder> {
        self.queue.polled(number, self.now, &self.settings, || 1)
    }

    /// The holder lets go, and may pass the lease on.
    fn offer(&mut self) -> Option<Call> {
        let offered = self.queue.offers(
            HOLD,
            || self.now,
            |_, needs, _| {
                assert_eq!(*needs, NEEDS);
                Passing::PassesOn
            },
        );
        offered.map(|offered| offered.call)
    }

    fn check_takes(&mut self, number: u64) {
        let now = self.now;
        let Polled { step: WaiterStep::Take(HOLD, Holder(7, _)), .. } = self.poll(number) else {
            panic!("{number}: {now:?}")
        };
    }

    fn take(&mut self, number: u64) -> Acquired<Holder> {
        self.check_takes(number);
        self.queue.took(number, HOLD, (HOLD + number, Holder(7 + number, self.now + TTL)), self.now)
    }
}

#[test]
fn the_first_in_line_takes_what_the_holder_passes_on_and_nobody_asks_meanwhile() {
    let mut scene = Scene::held_before(&[Some(NEEDS); 3]);
    assert_eq!(scene.offer(), Some(Call::Waiter(1)));
    assert!(matches!(scene.poll(2).step, WaiterStep::WaitUntil(..)));
    let acquired = scene.take(1);
    assert_eq!((acquired.replaced, acquired.call), (None, Call::Waiter(2)));
    assert!(matches!(scene.poll(2).step, WaiterStep::WaitUntil(_, Some(Holder(8, _)))));
    assert_eq!(scene.queue.local_holders().count(), 1);
}

#[test]
fn nothing_is_passed_on_to_whoever_wants_its_own_or_while_somebody_asks() {
    assert_eq!(Scene::held_before(&[None, Some(NEEDS)]).offer(), None);
    assert_eq!(Scene::held_before(&[]).offer(), None);
    let mut asking = Scene::held_before(&[Some(NEEDS)]);
    asking.now += Duration::from_secs(20);
    let _ = asking.poll(1);
    asking.now += Duration::from_secs(20);
    assert!(matches!(asking.poll(1).step, WaiterStep::Ask(_)));
    let _ = asking.queue.acquired(HOLD, Holder(7, asking.now + TTL));
    assert_eq!(asking.offer(), None);
    let mut scene = Scene::held_before(&[Some(NEEDS)]);
    assert_eq!(scene.queue.offers(HOLD, || scene.now, |_, _, _| Passing::IsReleased), None);
    assert_eq!(scene.queue.let_go(HOLD, || scene.now, &scene.settings), Call::Waiter(1));
}

#[test]
fn what_the_first_in_line_does_not_take_is_the_next_ones_and_nobodys_in_the_end() {
    let mut scene = Scene::held_before(&[Some(NEEDS); 2]);
    assert_eq!(scene.offer(), Some(Call::Waiter(1)));
    let left = scene.queue.left(1, scene.now);
    assert_eq!((left.call, left.untaken), (Call::Waiter(2), None));
    let left = scene.queue.left(2, scene.now);
    assert_eq!((left.call, left.untaken.map(|(hold, _)| hold)), (Call::Nobody, Some(HOLD)));
    let mut neglected = Scene::held_before(&[Some(NEEDS); 2]);
    assert_eq!(neglected.offer(), Some(Call::Waiter(1)));
    neglected.now += NEGLECTED;
    let polled = neglected.poll(2);
    assert!(
        matches!(polled, Polled { call: Call::Waiter(2), step: WaiterStep::Take(HOLD, _) }),
        "it overtakes: {polled:?}"
    );
}

#[test]
fn what_is_withdrawn_is_taken_by_nobody() {
    let mut scene = Scene::held_before(&[Some(NEEDS)]);
    assert_eq!(scene.offer(), Some(Call::Waiter(1)));
    assert_eq!(scene.queue.offered_since(), Some(scene.now));
    assert!(scene.queue.take_offered().is_some() && scene.queue.take_offered().is_none());
    assert!(matches!(scene.poll(1).step, WaiterStep::WaitUntil(..)), "it is being released");
    assert_eq!(scene.queue.let_go(HOLD, || scene.now, &scene.settings), Call::Waiter(1));
    assert!(matches!(scene.poll(1).step, WaiterStep::Ask(_)));
}

#[test]
fn a_lease_that_the_nodes_granted_to_others_on_the_way_is_lost() {
    let mut scene = Scene::held_before(&[Some(NEEDS)]);
    assert_eq!(scene.offer(), Some(Call::Waiter(1)));
    scene.check_takes(1);
    let other = Holder(50, scene.now + TTL);
    assert!(scene.queue.acquired(HOLD + 50, other).replaced.is_some());
    let mine = Holder(8, scene.now + TTL);
    assert_eq!(scene.queue.took(1, HOLD, (HOLD + 1, mine), scene.now).replaced, Some(mine));
    assert_eq!(scene.queue.local_holders().next(), Some(&other));
}

#[test]
fn tokens_are_reserved_for_those_who_wait_behind_and_it_is_asked_whether_others_do() {
    let check = |waiters: &[Option<Needs>], expect| {
        let mut scene = Scene::held_before(waiters);
        scene.queue.hand_overs.won(false, ROUND_TRIP);
        let _ = scene.queue.let_go(HOLD, || scene.now, &scene.settings);
        let WaiterStep::Ask(ask) = scene.poll(1).step else { panic!("it is free") };
        assert_eq!((ask.room, ask.notes_contention), (expect, expect > 0), "{waiters:?}");
    };
    check(&[Some(NEEDS); 2], 23);
    check(&[Some(NEEDS)], 0);
    check(&[Some(NEEDS), None], 0);
    check(&[None, Some(NEEDS)], 0);
}

#[test]
fn turns_count_as_hand_overs_for_another_process_that_waits() {
    let mut scene = Scene::held_before(&[Some(NEEDS); 8]);
    let _ = scene.queue.let_go(HOLD, || scene.now, &scene.settings);
    assert!(matches!(scene.poll(1).step, WaiterStep::Ask(_)));
    let _ = scene.queue.won(1, (HOLD, Holder(7, scene.now + TTL)), true, ROUND_TRIP, scene.now);
    let mut hold = HOLD;
    for number in 2..=6 {
        let passes = |_: Instant, _: &Needs, elsewhere| {
            assert_eq!(elsewhere, Elsewhere::SomebodyWaits);
            Passing::PassesOn
        };
        assert!(scene.queue.offers(hold, || scene.now, passes).is_some());
        assert!(matches!(scene.poll(number).step, WaiterStep::Take(..)));
        let next = HOLD + number;
        let _ = scene.queue.took(number, hold, (next, Holder(next, scene.now + TTL)), scene.now);
        hold = next;
    }
    let _ = scene.queue.let_go(hold, || scene.now, &scene.settings);
    let WaiterStep::WaitUntil(moment, None) = scene.poll(7).step else { panic!("it does not stand back") };
    assert_eq!(moment, scene.now + 3 * ROUND_TRIP);
    assert!(!scene.queue.is_deserted());
    let suits = LeaseNow { ttl: TTL, valid_until: scene.now + TTL, standing: LeaseStanding::IsFree, is_noted: false };
    assert_eq!(
        Turns::begin(scene.now, None).pass(scene.now, &suits, &NEEDS, Elsewhere::NobodyWaits),
        Passing::PassesOn
    );
}
