//! Tests of fencing tokens.

use super::Counter::{Forgotten, Known, Unused};
use super::*;

const CLOCKS: FenceFallback = FenceFallback::TrustClocks { max_clock_skew: Duration::from_micros(50) };

fn quorum(nodes: usize) -> Quorum {
    Quorum::of(nodes).unwrap()
}

fn proposal(nodes: usize, fallback: FenceFallback) -> Proposal {
    Proposal::new(Duration::from_micros(10), 0, quorum(nodes), fallback)
}

/// What follows when the first `voters` of the nodes granted, and the others refused.
fn check(told: &[Option<Counter>], voters: usize, listening: Listening, expect: Fencing) {
    let (quorum, proposal) = (quorum(told.len()), proposal(told.len(), CLOCKS));
    let mut fence = Fence::propose(quorum, proposal, CLOCKS);
    for (node, counter) in told.iter().enumerate() {
        if let Some(counter) = counter {
            fence.merge(node, *counter);
        }
    }
    assert_eq!(fence.decide(NodeSet::first(voters), listening), expect, "{told:?}");
}

#[test]
fn a_majority_that_agrees_needs_no_second_round() {
    check(&[Some(Known(7))], 1, Listening::IsOver, Fencing::Agreed(7));
    check(&[Some(Known(7)), Some(Known(7)), None], 2, Listening::GoesOn, Fencing::Agreed(7));
    check(&[Some(Known(6)), Some(Known(7)), Some(Known(7))], 3, Listening::IsOver, Fencing::Agreed(7));
    check(&[Some(Known(7)), Some(Known(7)), Some(Known(90))], 2, Listening::IsOver, Fencing::Agreed(7));
}

#[test]
fn the_greatest_answer_is_committed_if_no_majority_gave_it() {
    check(&[Some(Known(11)), Some(Known(12)), None], 2, Listening::GoesOn, Fencing::Commit(12));
    check(&[Some(Known(11)), Some(Known(11)), Some(Known(12))], 3, Listening::IsOver, Fencing::Commit(12));
}

#[test]
fn those_who_refused_are_evidence_where_those_who_granted_forgot() {
    check(&[Some(Known(11)), Some(Forgotten), Some(Known(30))], 2, Listening::GoesOn, Fencing::Commit(31));
    check(&[Some(Known(11)), Some(Forgotten), Some(Unused)], 2, Listening::GoesOn, Fencing::Commit(11));
    check(&[Some(Known(11)), Some(Forgotten), None], 2, Listening::GoesOn, Fencing::Listen);
}

#[test]
fn without_evidence_clocks_decide_or_nobody_does() {
    let told = [Some(Known(30)), Some(Forgotten), Some(Forgotten)];
    check(&told, 3, Listening::IsOver, Fencing::Commit(130));
    let mut fence = Fence::propose(quorum(3), proposal(3, FenceFallback::Refuse), FenceFallback::Refuse);
    for node in 0..3 {
        fence.merge(node, Forgotten);
    }
    assert_eq!(fence.decide(NodeSet::first(3), Listening::IsOver), Fencing::Refused);
}

#[test]
fn whoever_takes_a_lock_over_commits_more_than_any_node_tells() {
    for nodes in [1, 3] {
        let mut fence = Fence::take_over(quorum(nodes), proposal(nodes, CLOCKS), CLOCKS);
        fence.merge(0, Known(30));
        let told = fence.decide(NodeSet::first(1), Listening::IsOver);
        assert_eq!(told, if nodes == 1 { Fencing::Commit(31) } else { Fencing::Commit(131) }, "twice the skew besides");
    }
    let mut fence = Fence::take_over(quorum(3), proposal(3, CLOCKS), CLOCKS);
    (0..3).for_each(|node| fence.merge(node, Known(30)));
    assert_eq!(fence.decide(NodeSet::first(3), Listening::IsOver), Fencing::Commit(31), "30 is the token of another");
}

#[test]
fn one_node_never_needs_a_second_round() {
    for counter in [Known(30), Unused, Forgotten] {
        let proposal = proposal(1, CLOCKS);
        let mut fence = Fence::propose(quorum(1), proposal, CLOCKS);
        fence.merge(0, counter.grant(proposal));
        let expect = counter.grant(proposal).number().unwrap();
        assert_eq!(fence.decide(NodeSet::first(1), Listening::IsOver), Fencing::Agreed(expect));
    }
    assert_eq!(Forgotten.grant(proposal(1, CLOCKS)), Known(110), "the clock alone, and twice the skew");
    assert_eq!(Forgotten.grant(proposal(1, FenceFallback::Refuse)), Forgotten);
}

#[test]
fn a_grant_raises_the_counter_and_creates_none_where_one_was_forgotten() {
    let proposal = proposal(3, CLOCKS);
    assert_eq!(Known(3).grant(proposal), Known(10));
    assert_eq!(Known(10).grant(proposal), Known(11));
    assert_eq!(Unused.grant(proposal), Known(10));
    assert_eq!(Forgotten.grant(proposal), Forgotten);
}

#[test]
fn a_commit_raises_the_counter_only_for_the_owner() {
    assert_eq!(Known(3).commit(Holder::Asker, 9), Some(Known(9)));
    assert_eq!(Known(12).commit(Holder::Asker, 9), Some(Known(12)));
    assert_eq!(Forgotten.commit(Holder::Asker, 9), Some(Known(9)));
    assert_eq!(Known(3).commit(Holder::Other, 9), None);
}

#[test]
fn only_a_counter_that_is_the_token_confirms_it() {
    assert_eq!(confirmation(9, Some(Known(9))), Ballot::Granted);
    assert_eq!(confirmation(9, Some(Known(12))), Ballot::Refused);
    assert_eq!(confirmation(9, None), Ballot::Refused);
}

#[test]
fn a_missing_counter_is_evidence_only_on_a_node_older_than_the_retention() {
    assert_eq!(Counter::read(Some(3), Duration::ZERO, RETENTION), Known(3));
    assert_eq!(Counter::read(None, RETENTION, RETENTION), Unused);
    assert_eq!(Counter::read(None, RETENTION / 2, RETENTION), Forgotten);
}

#[test]
fn an_expiry_is_moved_when_a_quarter_of_the_retention_begins_or_has_passed() {
    let (quarter, far) = (micros(RETENTION / 4), micros(FAR_AHEAD));
    let moves = |before, after, least, remaining| Counter::moves_expiry(before, after, least, remaining, RETENTION);
    assert!(moves(7 * quarter - 1, 7 * quarter, 7 * quarter, RETENTION), "another quarter begins");
    assert!(!moves(7 * quarter, 8 * quarter - 1, 8 * quarter - 1, Duration::ZERO), "the same quarter");
    let first = 7 * quarter + far;
    let early = RETENTION / 4 * 3;
    let due = early.saturating_sub(Duration::from_nanos(1));
    assert!(moves(first, first + 1, first - far, due), "far ahead");
    assert!(!moves(first, first + 1, first - far, early), "far ahead, and moved lately");
    assert!(!moves(first, first + 1, first - far + 1, due), "not as far");
    assert!(!moves(first, first + 1, u64::MAX, due), "behind what was proposed");
}

#[test]
fn what_was_seen_is_surpassed_and_a_mad_clock_leaves_room_to_count() {
    let mut fence = Fence::propose(quorum(3), proposal(3, CLOCKS), CLOCKS);
    fence.merge(2, Known(400));
    fence.merge(2, Known(900));
    fence.merge(1, Unused);
    assert_eq!(fence.seen(), 400, "a node's first answer stands");
    assert_eq!(Proposal::new(Duration::from_micros(10), 400, quorum(3), CLOCKS).least(), 401);
    assert_eq!(Proposal::new(Duration::MAX, 0, quorum(3), CLOCKS).least(), LATEST);
    let ahead = micros(FAR_AHEAD) + 10;
    assert_eq!(Proposal::new(Duration::from_micros(10), ahead - 1, quorum(3), CLOCKS).least(), ahead);
    assert_eq!(Proposal::new(Duration::from_micros(10), ahead, quorum(3), CLOCKS).least(), 10);
    let proposal = Proposal::new(Duration::from_micros(10), ahead, quorum(1), CLOCKS);
    assert_eq!(Forgotten.grant(proposal), Known(ahead + 101), "a node that forgets does not make it forgotten");
    assert_eq!(Proposal::new(Duration::ZERO, 0, quorum(3), CLOCKS).least(), 1);
}

#[test]
fn what_no_counting_can_have_come_to_is_no_counter() {
    let day = micros(RETENTION);
    let clock = Duration::from_micros(10);
    let believe = |number| Proposal::new(clock, 0, quorum(3), CLOCKS).believe(number, || None);
    // Every clock may be behind another by twice the skew.
    assert_eq!(believe(10 + day + 100), Ok(()));
    assert_eq!(believe(10 + day + 101), Err(NoCounter::Ahead(10 + day + 101)));
    for number in [1 << 52, (1 << 53) + 1, u64::MAX] {
        assert_eq!(believe(number), Err(NoCounter::TooGreat(number)), "{number}");
    }
    let refusing = Proposal::new(clock, 0, quorum(3), FenceFallback::Refuse);
    assert_eq!(refusing.believe(11 + day, || None), Err(NoCounter::Ahead(11 + day)));
    let told = |number, node| Proposal::new(clock, 0, quorum(3), CLOCKS).believe(number, || Some(node));
    let node = Duration::from_secs(1_000_000);
    assert_eq!(told(micros(node) + day + 100, node), Ok(()), "this clock may be the one that is wrong");
    assert!(told(micros(node) + day + 101, node).is_err());
    assert!(told(1 << 52, Duration::MAX).is_err());
}

#[test]
fn counters_of_what_is_not_granted_are_asked_for_where_a_node_may_have_forgotten_some() {
    let asks_all = |ages: &[Option<Duration>]| proposal(3, CLOCKS).for_any_of_several(ages.iter().copied()).asks_all();
    assert!(!proposal(3, CLOCKS).asks_all() && !asks_all(&[Some(RETENTION), Some(Duration::MAX)]));
    assert!(asks_all(&[Some(RETENTION), Some(RETENTION / 2)]) && asks_all(&[Some(RETENTION), None]));
}

#[test]
fn what_is_stored_is_read_as_a_number_or_as_none() {
    for (stored, expect) in [
        ("17", Ok(Some(17))),
        ("0", Ok(None)),
        ("-5", Ok(None)),
        ("18446744073709551615", Ok(Some(u64::MAX))),
        ("18446744073709551616", Ok(Some(u64::MAX))),
        (&"9".repeat(100), Ok(Some(u64::MAX))),
        ("", Err(NoCounter::Text)),
        ("x", Err(NoCounter::Text)),
        ("1e3", Err(NoCounter::Text)),
    ] {
        assert_eq!(Counter::parse(stored), expect, "{stored}");
    }
}

#[test]
fn no_number_overflows() {
    for fallback in [CLOCKS, FenceFallback::TrustClocks { max_clock_skew: Duration::MAX }, FenceFallback::Refuse] {
        for nodes in [1, 3] {
            let proposal = Proposal::new(Duration::MAX, u64::MAX, quorum(nodes), fallback);
            assert_eq!(Known(u64::MAX).grant(proposal), Known(u64::MAX));
            assert!(proposal.believe(u64::MAX, || Some(Duration::MAX)).is_err());
            let mut fence = Fence::propose(quorum(nodes), proposal, fallback);
            fence.merge(0, Known(u64::MAX));
            let _ = fence.decide(NodeSet::default(), Listening::IsOver);
        }
    }
}

#[test]
fn a_clock_far_ahead_of_all_nodes_is_not_believed() {
    let [now, later, far] = [0, 11, 13].map(|hours| Duration::from_secs(1_000_000 + hours * 3600));
    assert_eq!(plausible(far, []), far, "nobody knows better");
    assert_eq!(plausible(later, [now]), later);
    assert_eq!(plausible(far, [now]), now + RETENTION / 2);
    assert_eq!(plausible(far, [now, later]), far, "one of them agrees");
    assert_eq!(plausible(now, [far]), now, "behind, it proposes nothing that is wrong for others");
}
