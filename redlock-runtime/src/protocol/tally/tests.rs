//! Tests of what comes of votes.

use std::sync::Arc;

use super::*;
use crate::protocol::{
    FenceFallback, Fire, FireQuestion, GrantedSlot, InDoubt, MARK_RETENTION, OnceTerms, Proposal, Role, ServerInfo,
    StoredMark, ToldMark,
};

const LONGEST_TTL: Duration = Duration::from_secs(300);
const GRANTED: Vote = Vote::Granted { counter: None, is_wanted: false, mark: None };

fn refused(owner: &str) -> Vote {
    Vote::Refused { owner: Some(owner.into()), remaining: None, counter: None, mark: None }
}

/// A node of this age in seconds, which is the server with this identity.
fn server(identity: &str, age: u64, role: Role) -> NodeStatus {
    let info = ServerInfo::new(now(), Duration::from_secs(age), LONGEST_TTL, identity.into(), role);
    NodeStatus::Introduced(Arc::new(info))
}

fn old(identity: &str) -> NodeStatus {
    server(identity, 9999, Role::Master)
}

fn now() -> Instant {
    crate::platform::clock::now()
}

fn tally(votes: &[Vote]) -> Tally {
    let mut tally = Tally::new(Quorum::of(3).unwrap(), None);
    for (node, vote) in votes.iter().enumerate() {
        tally.record(node, vote.clone(), now, || None);
    }
    tally
}

/// What comes of these votes of these nodes, and whose votes were struck for what.
fn check(votes: &[Vote], nodes: &[NodeStatus; 3], round: Voters, expect: Hearing, objections: &[(usize, Objection)]) {
    let mut tally = tally(votes);
    let hearing = tally.hearing(round, votes.len() == 3, || (nodes.to_vec(), now()));
    let kind =
        |objection| if let Objection::Young(_) = objection { Objection::Young(Duration::ZERO) } else { objection };
    let struck: Vec<_> = tally.take_objections().map(|(node, objection)| (node, kind(objection))).collect();
    assert_eq!((hearing, &*struck), (expect, objections), "{votes:?}, {nodes:?}, {round:?}");
}

#[test]
fn a_majority_of_nodes_that_may_vote_wins() {
    let nodes = [old("a"), old("b"), old("c")];
    check(&[GRANTED, GRANTED], &nodes, Voters::Acquisition, Hearing::IsOver(Verdict::Won), &[]);
    check(&[GRANTED], &nodes, Voters::Acquisition, Hearing::GoesOn, &[]);
    check(&[refused("x"), GRANTED, refused("x")], &nodes, Voters::Acquisition, Hearing::IsOver(Verdict::Refused), &[]);
    // The third may say what the error is about.
    check(&[Vote::Failed, Vote::Failed], &nodes, Voters::Acquisition, Hearing::GoesOn, &[]);
}

#[test]
fn the_votes_of_nodes_that_may_not_vote_are_struck() {
    let young = |identity| server(identity, 20, Role::Master);
    let replica = server("b", 9999, Role::Replica);
    let votes = [GRANTED, GRANTED, Vote::Failed];
    let unreachable = Hearing::IsOver(Verdict::Unreachable);
    let nodes = [old("a"), young("b"), old("c")];
    check(&votes, &nodes, Voters::Acquisition, unreachable, &[(1, Objection::Young(Duration::ZERO))]);
    // In an extension it counts again as soon as no attempt can have heard another server in its place.
    check(&votes, &nodes, Voters::Extension, Hearing::IsOver(Verdict::Won), &[]);
    check(&votes, &nodes, Voters::All, Hearing::IsOver(Verdict::Won), &[]);
    let starting = [old("a"), server("b", 2, Role::Master), old("c")];
    check(&votes, &starting, Voters::Extension, unreachable, &[(1, Objection::Young(Duration::ZERO))]);
    check(&votes, &[old("a"), replica, old("c")], Voters::Acquisition, unreachable, &[(1, Objection::Replica)]);
    let gone = [old("a"), NodeStatus::Unreachable, old("c")];
    check(&votes, &gone, Voters::Acquisition, unreachable, &[(1, Objection::ConnectionEnded)]);
    let twice = [old("a"), old("a"), old("c")];
    let objections = [(0, Objection::ConfiguredTwice(1)), (1, Objection::ConfiguredTwice(0))];
    check(&votes, &twice, Voters::Acquisition, unreachable, &objections);
    // A young node may still know that somebody else holds the lock.
    let refusals = [refused("x"), refused("x")];
    let nodes = [old("a"), young("b"), old("c")];
    check(&refusals, &nodes, Voters::Acquisition, Hearing::IsOver(Verdict::Refused), &[]);
}

#[test]
fn young_nodes_wait_for_one_that_may_be_older() {
    let young = |identity| server(identity, 20, Role::Master);
    let nodes = [young("a"), young("b"), NodeStatus::Connecting];
    check(&[GRANTED, GRANTED], &nodes, Voters::Acquisition, Hearing::GoesOnFor(Verdict::Won), &[]);
    check(
        &[GRANTED, GRANTED],
        &[young("a"), young("b"), NodeStatus::Unreachable],
        Voters::Acquisition,
        Hearing::IsOver(Verdict::Won),
        &[],
    );
    // Where the time that is over is the caller's, the older one might still have come.
    for (is_cut_short, expect) in [(false, Verdict::Won), (true, Verdict::Unreachable)] {
        let mut tally = tally(&[GRANTED, GRANTED]);
        let late = NodeSet::from_iter([2]);
        let verdict = tally.close(Voters::Acquisition, late, is_cut_short, || (nodes.to_vec(), now()));
        assert_eq!(verdict, Some(expect), "{is_cut_short}");
        let objections =
            if is_cut_short { vec![(0, Objection::PerhapsYoung), (1, Objection::PerhapsYoung)] } else { vec![] };
        assert_eq!(tally.take_objections().collect::<Vec<_>>(), objections);
    }
}

#[test]
fn a_refusal_says_that_somebody_holds_the_lock_only_if_one_owner_has_a_majority() {
    use Verdict::{Refused, Split, Unreachable};
    let check = |votes: &[Vote], expect: [Verdict; 3]| {
        let tally = tally(votes);
        let classified =
            [tally.classify_acquire(Refused), tally.classify_adoption(Refused), tally.classify_owner_op(Refused)];
        assert_eq!(classified, expect, "{votes:?}");
    };
    check(&[refused("x"), refused("x"), GRANTED], [Refused, Refused, Refused]);
    check(&[refused("x"), refused("y"), GRANTED], [Split, Split, Refused]);
    check(&[refused("x"), GRANTED, Vote::Failed], [Split, Split, Unreachable]);
    check(&[Vote::Missing, Vote::Missing, GRANTED], [Split, Refused, Refused]);
}

#[test]
fn a_node_whose_counter_can_be_none_has_no_vote() {
    let quorum = Quorum::of(3).unwrap();
    let fallback = FenceFallback::TrustClocks { max_clock_skew: Duration::from_secs(60) };
    let proposal = Proposal::new(Duration::from_secs(1), 0, quorum, fallback);
    let mut tally = Tally::new(quorum, Some(Fence::propose(quorum, proposal, fallback)));
    let granted = |number| Vote::Granted { counter: Some(Counter::Known(number)), is_wanted: true, mark: None };
    tally.record(0, granted(u64::MAX), now, || None);
    tally.record(1, granted(7), now, || None);
    assert_eq!(tally.granted().iter().collect::<Vec<_>>(), [1]);
    let objections: Vec<_> = tally.take_objections().collect();
    assert_eq!(objections, [(0, Objection::NoCounter(NoCounter::TooGreat(u64::MAX)))]);
    assert_eq!((tally.greatest_counter(), tally.is_wanted()), (7, true));
}

/// What a node tells that grants this of two permits.
fn slot(granted: u8) -> Vote {
    let granted = Some(GrantedSlot { slot: granted, counter: None, is_wanted: false });
    Vote::Slots(Box::new(ToldSlots { granted, held: vec![None, None], counters: Vec::new(), permits: None }))
}

#[test]
fn of_permits_the_one_is_counted_that_most_of_the_nodes_granted_which_have_a_vote() {
    let quorum = Quorum::of(3).unwrap();
    let check = |granted: [u8; 3], nodes: [NodeStatus; 3], slot_won: Option<u8>| {
        let mut tally = Tally::new(quorum, None).for_slots(Some([1, 0].into()));
        granted.iter().enumerate().for_each(|(node, granted)| tally.record(node, slot(*granted), now, || None));
        let hearing = tally.hearing(Voters::Acquisition, true, || (nodes.to_vec(), now()));
        let won = (hearing == Hearing::IsOver(Verdict::Won)).then(|| tally.slot()).flatten();
        assert_eq!(won, slot_won, "{granted:?}");
    };
    let old = || ["a", "b", "c"].map(old);
    check([0, 0, 1], old(), Some(0));
    check([1, 0, 1], old(), Some(1));
    let young = || server("b", 1, Role::Master);
    // Its grant does not count, whichever permit it is of.
    check([0, 0, 1], [self::old("a"), young(), self::old("c")], None);
    check([1, 0, 1], [self::old("a"), young(), self::old("c")], Some(1));
}

#[test]
fn of_permits_nobody_waits_long_for_a_vote_that_another_round_does_without() {
    let quorum = Quorum::of(3).unwrap();
    let looked = || (["a", "b", "c"].map(old).to_vec(), now());
    let brief = Hearing::GoesOnBriefly(Verdict::Refused);
    let slots = |granted: u8, taken: &[u8]| {
        let key = OthersKey { owner: None, expires: None };
        let held = (0..3).map(|slot| taken.contains(&slot).then_some(key)).collect();
        let granted = Some(GrantedSlot { slot: granted, counter: None, is_wanted: false });
        Vote::Slots(Box::new(ToldSlots { granted, held, counters: Vec::new(), permits: None }))
    };
    let check = |votes: [Vote; 2], expect| {
        let mut tally = Tally::new(quorum, None).for_slots(Some([0, 1, 2].into()));
        votes.into_iter().enumerate().for_each(|(node, vote)| tally.record(node, vote, now, || None));
        assert_eq!(tally.hearing(Voters::Acquisition, false, looked), expect);
        assert_eq!(tally.classify_acquire(Verdict::Refused), Verdict::Split);
    };
    check([slots(0, &[1]), slots(1, &[0])], brief);
    check([slots(0, &[1, 2]), slots(1, &[0, 2])], Hearing::GoesOn);
    check([slots(0, &[]), Vote::Failed], Hearing::GoesOn);

    for order in [&[0, 1][..], &[0]] {
        let mut narrowed = Tally::new(quorum, None).for_slots(Some(order.into()));
        narrowed.record(0, slots(0, &[]), now, || None);
        narrowed.ask_alone(0);
        assert_eq!(narrowed.hearing(Voters::Acquisition, false, looked), Hearing::GoesOn);
        narrowed.record(1, refused("somebody"), now, || None);
        let expect = if order.len() > 1 { brief } else { Hearing::GoesOn };
        assert_eq!(narrowed.hearing(Voters::Acquisition, false, looked), expect);
    }
}

#[test]
fn the_token_of_a_permit_rests_on_the_counters_of_those_who_did_not_grant_it_as_well() {
    use Counter::{Forgotten, Known};
    let quorum = Quorum::of(3).unwrap();
    let fenced = || {
        let proposal = Proposal::new(Duration::from_micros(10), 0, quorum, FenceFallback::Refuse);
        let fence = Fence::propose(quorum, proposal, FenceFallback::Refuse);
        Tally::new(quorum, Some(fence)).for_slots(Some([0, 1].into()))
    };
    let slots = |slot, counter, counters: &[Option<Counter>]| {
        let granted = Some(GrantedSlot { slot, counter: Some(counter), is_wanted: false });
        Vote::Slots(Box::new(ToldSlots { granted, held: vec![None; 2], counters: counters.into(), permits: None }))
    };
    let check = |astray: Vote, expect| {
        let mut tally = fenced();
        tally.record(0, slots(0, Known(12), &[]), now, || None);
        tally.record(1, slots(0, Forgotten, &[]), now, || None);
        tally.record(2, astray, now, || None);
        assert_eq!((tally.slot(), tally.fencing(Listening::IsOver)), (Some(0), Some(expect)));
    };
    check(slots(1, Known(90), &[Some(Known(40)), Some(Known(80))]), Fencing::Commit(41));
    check(slots(1, Known(90), &[Some(Known(u64::MAX)), None]), Fencing::Refused);
    check(slots(1, Known(90), &[]), Fencing::Refused);

    let mut narrowed = fenced();
    narrowed.record(1, slots(0, Forgotten, &[]), now, || None);
    narrowed.ask_alone(0);
    let counter = Some(Known(40));
    narrowed.record(2, Vote::Refused { owner: None, remaining: None, counter, mark: None }, now, || None);
    narrowed.record(0, Vote::Granted { counter: Some(Known(12)), is_wanted: false, mark: None }, now, || None);
    assert_eq!(narrowed.fencing(Listening::IsOver), Some(Fencing::Commit(41)));
}

#[test]
fn of_permits_a_node_that_is_asked_behind_the_first_says_no_more_than_whether_it_granted_the_same() {
    let mut tally = Tally::new(Quorum::of(3).unwrap(), None).for_slots(Some([0, 1].into()));
    tally.record(1, slot(1), now, || None);
    assert_eq!(tally.slot(), Some(1));
    tally.ask_alone(1);
    tally.record(0, refused("somebody"), now, || None);
    tally.record(2, GRANTED, now, || None);
    let nodes = [old("a"), old("b"), old("c")];
    assert_eq!(tally.hearing(Voters::Acquisition, true, || (nodes.to_vec(), now())), Hearing::IsOver(Verdict::Won));
    assert_eq!((tally.slot(), tally.granted().iter().collect::<Vec<_>>()), (Some(1), vec![1, 2]));
    let held = |(at, seen): (At, NodeObservation)| matches!(seen, NodeObservation::Held(_)).then_some(at);
    assert_eq!(tally.observations(0).filter_map(held).collect::<Vec<_>>(), [At { node: 0, part: 1 }]);
}

#[test]
fn of_permits_a_grant_counts_for_the_slot_that_was_asked_for_also_if_the_first_node_has_no_vote_any_more() {
    let mut tally = Tally::new(Quorum::of(3).unwrap(), None).for_slots(Some([0, 1].into()));
    tally.record(1, slot(1), now, || None);
    tally.ask_alone(1);
    tally.record(0, refused("somebody"), now, || None);
    let nodes = [old("a"), server("b", 1, Role::Master), old("c")];
    assert_eq!(tally.close(Voters::Acquisition, NodeSet::default(), false, || (nodes.to_vec(), now())), None);
    tally.record(2, GRANTED, now, || None);
    let hearing = tally.hearing(Voters::Acquisition, true, || (nodes.to_vec(), now()));
    assert_eq!(hearing, Hearing::IsOver(Verdict::Refused), "one of three has granted it, and one has no vote");
    assert_eq!((tally.slot(), tally.granted().iter().collect::<Vec<_>>()), (Some(1), vec![2]));
}

#[test]
fn of_permits_whoever_tells_nothing_of_the_slots_has_voted() {
    let mut tally = Tally::new(Quorum::of(3).unwrap(), None).for_slots(Some([0, 1].into()));
    let nodes = [old("a"), old("b"), old("c")];
    tally.record(0, Vote::Missing, now, || None);
    tally.record(1, GRANTED, now, || None);
    tally.record(2, slot(1), now, || None);
    assert!(matches!(
        tally.hearing(Voters::Acquisition, true, || (nodes.to_vec(), now())),
        Hearing::IsOver(Verdict::Refused | Verdict::Unreachable)
    ));
}

/// Two nodes that do not remember tokens grant, and have no mark of the fire; the third has.
#[test]
fn a_mark_that_is_heard_while_the_round_goes_on_counts() {
    let quorum = Quorum::of(3).unwrap();
    let terms =
        OnceTerms { retention: MARK_RETENTION, max_clock_skew: Duration::from_secs(60), in_doubt: InDoubt::Refuse };
    let question = FireQuestion { fire: Fire::counted(7).unwrap(), terms, clock: (now(), MARK_RETENTION) };
    let proposal = Proposal::new(Duration::from_secs(1 << 30), 0, quorum, FenceFallback::Refuse);
    let fence = Fence::propose(quorum, proposal, FenceFallback::Refuse);
    let mut tally = Tally::new(quorum, Some(fence)).for_fire(Some(Arc::new(question)));
    let nodes = || ([old("a"), old("b"), old("c")].to_vec(), now());
    let mut hear = |node, fire: Option<u64>| {
        let stored = fire.map(|fire| StoredMark { fire, token: 1 });
        let told = ToldMark { stored, left: Some(MARK_RETENTION / 2), age: MARK_RETENTION };
        let counter = Some(Counter::Forgotten);
        tally.record(node, Vote::Granted { counter, is_wanted: false, mark: Some(Box::new(told)) }, now, || None);
        let hearing = tally.hearing(Voters::Acquisition, node == 2, nodes);
        (hearing, tally.fire(Listening::GoesOn, nodes), tally.fire(Listening::IsOver, nodes))
    };
    let _ = hear(0, None);
    let (hearing, _, decision) = hear(1, None);
    assert_eq!((hearing, decision), (Hearing::GoesOn, Some(OnceDecision::Run)), "for its token");
    let (_, _, decision) = hear(2, Some(7));
    assert_eq!(decision, Some(OnceDecision::Spread { greatest: 7 }));
}
