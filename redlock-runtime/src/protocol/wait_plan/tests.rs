//! Tests of what the first in line believes.

use super::*;

const POLL: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(5);
const ONE_FIRST: AskOrder = AskOrder::OneFirst { except: NodeSet::first(0) };

fn held(milliseconds: u64, now: Instant) -> NodeObservation {
    held_by(1, Some(now + Duration::from_millis(milliseconds)))
}

fn held_by(owner: u64, expires: Option<Instant>) -> NodeObservation {
    NodeObservation::Held(OthersKey { owner: Some(owner), expires })
}

/// How often it asks in the last of so many seconds in which each answer is followed by reports of all nodes.
fn asks_per_second(seconds: u64, tell: impl Fn(Instant, u64) -> NodeObservation) -> u64 {
    let began = crate::platform::clock::now();
    let end = began + Duration::from_secs(seconds);
    let (mut wait_plan, mut now, mut asks, mut number) = (refused(began), began, 0, 0);
    while now < end {
        (0..3).for_each(|node| wait_plan.changed(node));
        match wait_plan.next(now) {
            Step::WaitUntil(moment) => now = moment,
            Step::Ask(ask_order) => {
                now += Duration::from_millis(1);
                number += 1;
                asks += u64::from(now + Duration::from_secs(1) > end);
                let asked = if ask_order == AskOrder::AllAtOnce { 3 } else { 1 };
                let seen = (0..asked).map(|node| (node, tell(now, number)));
                wait_plan.failed((Verdict::Refused, ask_order), seen, now, now + POLL, PAUSE);
            }
        }
    }
    asks
}

#[test]
fn reports_in_vain_are_believed_less_and_less_until_the_slow_poll_is_left() {
    let began = crate::platform::clock::now();
    let expires = began + Duration::from_secs(600);
    assert!(asks_per_second(5, |_, _| held_by(1, Some(expires))) <= 2);
    // What is left is told in milliseconds, after a while.
    let jittered = |_: Instant, number: u64| held_by(1, Some(expires + Duration::from_millis(number % 7)));
    assert!(asks_per_second(5, jittered) <= 2);
    assert!(asks_per_second(5, |_, _| held_by(1, None)) <= 2, "a key that never expires");
}

#[test]
fn reports_of_what_has_changed_are_believed_at_once_however_many() {
    let renewed = |now: Instant, number: u64| held_by(1, Some(now + Duration::from_secs(30 + number)));
    assert!(asks_per_second(5, renewed) >= 900, "renewed each time");
    assert!(asks_per_second(5, |now, number| held_by(number, Some(now + POLL))) >= 900, "another owner each time");
}

#[test]
fn a_change_that_comes_true_ends_the_distrust() {
    let now = crate::platform::clock::now();
    let mut wait_plan = refused(now);
    let lose = |wait_plan: &mut WaitPlan, owner| {
        (0..3).for_each(|node| wait_plan.changed(node));
        let seen = (0..3).map(|node| (node, held_by(owner, None)));
        wait_plan.failed((Verdict::Refused, AskOrder::AllAtOnce), seen, now, now + POLL, PAUSE);
    };
    (0..6).for_each(|_| lose(&mut wait_plan, 1));
    (0..3).for_each(|node| wait_plan.changed(node));
    assert!(matches!(wait_plan.next(now), Step::WaitUntil(moment) if moment > now + Duration::from_millis(100)));
    lose(&mut wait_plan, 2);
    (0..3).for_each(|node| wait_plan.changed(node));
    assert!(matches!(wait_plan.next(now), Step::Ask(_)));
}

/// The plan of somebody who has just been refused by all of three nodes.
fn refused(now: Instant) -> WaitPlan {
    let mut wait_plan = WaitPlan::unknown(Quorum::of(3).unwrap(), now);
    assert_eq!(wait_plan.next(now), Step::Ask(AskOrder::AllAtOnce));
    let seen = (0..3).map(|node| (node, held(30_000, now)));
    wait_plan.failed((Verdict::Refused, AskOrder::AllAtOnce), seen, now, now + POLL, PAUSE);
    wait_plan
}

#[test]
fn it_asks_when_a_majority_reported_a_change_and_not_before() {
    let now = crate::platform::clock::now();
    let mut wait_plan = refused(now);
    assert_eq!(wait_plan.next(now), Step::WaitUntil(now + POLL));
    wait_plan.changed(2);
    assert_eq!(wait_plan.next(now), Step::WaitUntil(now + POLL));
    wait_plan.changed(0);
    assert_eq!(wait_plan.next(now), Step::Ask(AskOrder::AllAtOnce));
}

#[test]
fn it_asks_when_the_key_has_expired_on_a_majority() {
    let now = crate::platform::clock::now();
    let mut wait_plan = refused(now);
    let seen = [(0, held(300, now)), (1, held(100, now)), (2, held_by(1, None))];
    wait_plan.failed((Verdict::Refused, AskOrder::AllAtOnce), seen, now, now + POLL, PAUSE);
    let later = now + Duration::from_millis(300);
    assert_eq!(wait_plan.next(now), Step::WaitUntil(later));
    assert_eq!(wait_plan.next(later), Step::Ask(AskOrder::AllAtOnce));
}

#[test]
fn without_news_it_polls() {
    let now = crate::platform::clock::now();
    assert_eq!(refused(now).next(now + POLL), Step::Ask(AskOrder::AllAtOnce));
}

#[test]
fn behind_a_lost_race_it_asks_one_node_first_and_waits_for_that_one() {
    let now = crate::platform::clock::now();
    let later = now + Duration::from_secs(30);
    let mut wait_plan = refused(now);
    (0..3).for_each(|node| wait_plan.changed(node));
    let seen = (0..3).map(|node| (node, held_by(2, Some(later))));
    wait_plan.failed((Verdict::Refused, AskOrder::AllAtOnce), seen, now, now + POLL, PAUSE);
    (0..3).for_each(|node| wait_plan.changed(node));
    assert_eq!(wait_plan.next(now), Step::Ask(ONE_FIRST));
    wait_plan.failed((Verdict::Refused, ONE_FIRST), [(1, held_by(3, Some(later)))], now, now + POLL, PAUSE);
    let until = now + POLL / WaitsFor::PART;
    assert_eq!(wait_plan.next(now), Step::WaitUntil(until), "the others' changes are old news");
    wait_plan.changed(0);
    assert_eq!(wait_plan.next(now), Step::WaitUntil(until));
    wait_plan.changed(1);
    assert_eq!(wait_plan.next(now), Step::Ask(ONE_FIRST));
}

/// The plan of somebody who was refused by the second node when it was asked first, after the others reported changes; and until when
/// that one is waited for.
fn waits_for_the_second(now: Instant) -> (WaitPlan, Instant) {
    let mut wait_plan = refused(now);
    (0..3).for_each(|node| wait_plan.changed(node));
    let seen = [0, 2].map(|node| (node, held_by(6, None)));
    wait_plan.failed((Verdict::Split, AskOrder::AllAtOnce), seen, now, now + POLL, Duration::ZERO);
    (0..3).for_each(|node| wait_plan.changed(node));
    refuse_first(&mut wait_plan, now)
}

/// It asks the second node first, which refuses; and until when that one is waited for.
fn refuse_first(wait_plan: &mut WaitPlan, now: Instant) -> (WaitPlan, Instant) {
    assert_eq!(wait_plan.next(now), Step::Ask(ONE_FIRST));
    let seen = [(1, held_by(7, Some(now + Duration::from_secs(30))))];
    wait_plan.failed((Verdict::Refused, ONE_FIRST), seen, now, now + POLL, PAUSE);
    let Step::WaitUntil(until) = wait_plan.next(now) else { panic!("{wait_plan:?}") };
    (wait_plan.clone(), until)
}

#[test]
fn a_node_that_has_another_key_than_a_majority_is_not_asked_first_before_it_reports_a_change() {
    let now = crate::platform::clock::now();
    let (mut wait_plan, until) = waits_for_the_second(now);
    assert!(until < now + POLL / 10, "{:?}", until - now);
    assert_eq!(wait_plan.next(until), Step::Ask(AskOrder::AllAtOnce));
    let seen = [(0, 8), (1, 7), (2, 8)].map(|(node, owner)| (node, held_by(owner, None)));
    wait_plan.failed((Verdict::Refused, AskOrder::AllAtOnce), seen, until, until + POLL, PAUSE);
    for node in [0, 2] {
        wait_plan.changed(node);
    }
    let mut except = NodeSet::default();
    except.insert(1);
    assert_eq!(wait_plan.next(until), Step::Ask(AskOrder::OneFirst { except }));
    wait_plan.changed(1);
    assert_eq!(wait_plan.next(until), Step::Ask(ONE_FIRST));
}

#[test]
fn a_node_that_told_the_truth_is_waited_for_longer_and_longer() {
    let mut now = crate::platform::clock::now();
    let (mut wait_plan, mut until) = waits_for_the_second(now);
    let mut patience = Vec::new();
    for _ in 0..6 {
        patience.push(((until - now) * WaitsFor::PART).as_millis() / POLL.as_millis());
        now = until;
        assert_eq!(wait_plan.next(now), Step::Ask(AskOrder::AllAtOnce));
        // Not all have answered when a majority has refused.
        let owner = 10 + patience.len() as u64;
        let seen = [0, 1].map(|node| (node, held_by(owner, None)));
        wait_plan.failed((Verdict::Refused, AskOrder::AllAtOnce), seen, now, now + POLL, PAUSE);
        (0..3).for_each(|node| wait_plan.changed(node));
        (wait_plan, until) = refuse_first(&mut wait_plan, now);
    }
    assert_eq!(patience, [1, 2, 4, 8, 16, 16]);
}

#[test]
fn a_split_vote_is_tried_again_after_a_pause_one_node_first() {
    let now = crate::platform::clock::now();
    let mut wait_plan = refused(now);
    let seen = [(0, NodeObservation::GivenBack), (1, held(30_000, now)), (2, held(30_000, now))];
    wait_plan.failed((Verdict::Split, AskOrder::AllAtOnce), seen, now, now + POLL, PAUSE);
    wait_plan.changed(1);
    assert_eq!(wait_plan.next(now), Step::WaitUntil(now + PAUSE));
    assert_eq!(wait_plan.next(now + PAUSE), Step::Ask(ONE_FIRST));
}

#[test]
fn nodes_that_cannot_be_reached_are_asked_again_after_a_pause_whatever_is_believed() {
    let now = crate::platform::clock::now();
    let mut wait_plan = refused(now);
    let seen = (0..3).map(|node| (node, NodeObservation::Unknown));
    wait_plan.failed((Verdict::Unreachable, AskOrder::AllAtOnce), seen, now, now + POLL, PAUSE);
    (0..3).for_each(|node| wait_plan.changed(node));
    assert_eq!(wait_plan.next(now), Step::WaitUntil(now + PAUSE));
    assert_eq!(wait_plan.next(now + PAUSE), Step::Ask(AskOrder::AllAtOnce));
}

#[test]
fn who_stands_back_asks_nothing_before_its_time() {
    let now = crate::platform::clock::now();
    let mut wait_plan = WaitPlan::stand_back(Quorum::of(3).unwrap(), now + PAUSE);
    (0..3).for_each(|node| wait_plan.changed(node));
    assert_eq!(wait_plan.next(now), Step::WaitUntil(now + PAUSE));
    assert_eq!(wait_plan.next(now + PAUSE), Step::Ask(AskOrder::AllAtOnce));
}

#[test]
fn of_several_keys_it_asks_when_a_majority_reported_a_change_of_the_same_one() {
    let now = crate::platform::clock::now();
    let at = |node, part| At { node, part };
    let mut wait_plan = refused(now);
    let seen = (0..6).map(|key| (at(key % 3, u8::from(key > 2)), held(30_000 + key as u64, now)));
    wait_plan.failed((Verdict::Refused, AskOrder::AllAtOnce), seen, now, now + POLL, PAUSE);
    wait_plan.changed(at(0, 0));
    wait_plan.changed(at(1, 1));
    assert_eq!(wait_plan.next(now), Step::WaitUntil(now + POLL));
    wait_plan.changed(at(2, 1));
    assert_eq!(wait_plan.next(now), Step::Ask(AskOrder::AllAtOnce));
}

#[test]
fn of_several_keys_it_asks_when_the_first_has_expired_on_a_majority() {
    let now = crate::platform::clock::now();
    let mut wait_plan = refused(now);
    let expiries = [(0, 0, 100), (1, 0, 500), (2, 0, 500), (0, 1, 300), (1, 1, 300), (2, 1, 900)];
    let seen = expiries.map(|(node, part, expires)| (At { node, part }, held(expires, now)));
    wait_plan.failed((Verdict::Refused, AskOrder::AllAtOnce), seen, now, now + POLL, PAUSE);
    assert_eq!(wait_plan.next(now), Step::WaitUntil(now + Duration::from_millis(300)));
}

#[test]
fn who_has_not_answered_when_the_vote_is_split_is_believed_to_be_free() {
    let now = crate::platform::clock::now();
    let mut wait_plan = refused(now);
    let seen = [(0, held_by(8, None)), (1, held_by(9, None))];
    wait_plan.failed((Verdict::Split, AskOrder::AllAtOnce), seen, now, now + POLL, Duration::ZERO);
    assert_eq!(wait_plan.next(now), Step::WaitUntil(now + POLL));
    wait_plan.changed(1);
    assert_eq!(wait_plan.next(now), Step::Ask(ONE_FIRST));
}

#[test]
fn none_is_waited_for_if_the_one_that_was_asked_first_granted_it() {
    let now = crate::platform::clock::now();
    let (mut wait_plan, _) = waits_for_the_second(now);
    wait_plan.changed(1);
    assert_eq!(wait_plan.next(now), Step::Ask(ONE_FIRST));
    let seen = [(1, NodeObservation::GivenBack), (0, held_by(8, None)), (2, held_by(9, None))];
    wait_plan.failed((Verdict::Split, ONE_FIRST), seen, now, now + POLL, Duration::ZERO);
    assert_eq!(wait_plan.next(now), Step::WaitUntil(now + POLL));
    wait_plan.changed(2);
    assert_eq!(wait_plan.next(now), Step::Ask(ONE_FIRST));
}

#[test]
fn a_node_that_has_another_key_free_is_not_waited_for() {
    let now = crate::platform::clock::now();
    let mut wait_plan = refused(now);
    let seen = [(At { node: 1, part: 0 }, held(30_000, now)), (At { node: 1, part: 1 }, NodeObservation::GivenBack)];
    wait_plan.failed((Verdict::Split, ONE_FIRST), seen, now, now + POLL, PAUSE);
    wait_plan.changed(At { node: 0, part: 0 });
    wait_plan.changed(At { node: 2, part: 0 });
    assert_eq!(wait_plan.next(now + PAUSE), Step::Ask(AskOrder::AllAtOnce));
}

/// A plan of somebody who asks one of five nodes first.
fn one_of_five_first(now: Instant) -> WaitPlan {
    let mut wait_plan = WaitPlan::unknown(Quorum::of(5).unwrap(), now);
    for owner in 1..3 {
        let seen = (0..5).map(|node| (node, held_by(owner, None)));
        wait_plan.failed((Verdict::Refused, AskOrder::AllAtOnce), seen, now, now + POLL, PAUSE);
        (0..5).for_each(|node| wait_plan.changed(node));
    }
    assert_eq!(wait_plan.next(now), Step::Ask(ONE_FIRST));
    wait_plan
}

#[test]
fn none_is_waited_for_if_the_one_that_was_asked_first_does_not_answer() {
    let now = crate::platform::clock::now();
    let mut wait_plan = one_of_five_first(now);
    let others = [1, 2, 3].map(|node| (node, held_by(8, None)));
    let seen = [(0, NodeObservation::Unknown)].into_iter().chain(others);
    wait_plan.failed((Verdict::Refused, ONE_FIRST), seen, now, now + POLL, PAUSE);
    wait_plan.changed(4);
    wait_plan.changed(3);
    assert_eq!(wait_plan.next(now), Step::WaitUntil(now + POLL));
    wait_plan.changed(2);
    assert_eq!(wait_plan.next(now), Step::Ask(ONE_FIRST), "a majority has reported");
}

#[test]
fn what_is_believed_to_be_free_is_so_after_another_report_however_many_were_in_vain() {
    let now = crate::platform::clock::now();
    let mut wait_plan = refused(now);
    for _ in 0..6 {
        (0..3).for_each(|node| wait_plan.changed(node));
        let seen = (0..3).map(|node| (node, held_by(1, None)));
        wait_plan.failed((Verdict::Refused, AskOrder::AllAtOnce), seen, now, now + POLL, PAUSE);
    }
    // The third has not answered, and grants it late.
    let seen = [(0, held_by(8, None)), (1, held_by(9, None))];
    wait_plan.failed((Verdict::Split, AskOrder::AllAtOnce), seen, now, now + POLL, Duration::ZERO);
    wait_plan.changed(2);
    wait_plan.changed(1);
    assert!(matches!(wait_plan.next(now), Step::Ask(_)), "{:?}", wait_plan.next(now));
}
