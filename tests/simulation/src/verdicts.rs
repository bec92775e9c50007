//! A round's verdict is plain majority arithmetic, for every sequence of votes, and it never changes.

use proptest::prelude::*;
use redlock_simulated::protocol::{Ballot, Quorum, Round, Verdict};

const BALLOTS: [Ballot; 3] = [Ballot::Granted, Ballot::Refused, Ballot::Failed];

/// What a majority of `nodes` says to these first votes, by counting every way in which the missing ones could still
/// turn out: a verdict is due once all of them agree on it.
fn expected(nodes: usize, votes: &[Ballot]) -> Option<Verdict> {
    let count = |wanted| votes.iter().filter(|vote| **vote == wanted).count();
    let [granted, refused, failed] = BALLOTS.map(count);
    let missing = nodes - votes.len();
    let mut outcomes = (0..=missing).flat_map(|more_granted| {
        (0..=missing - more_granted).map(move |more_refused| {
            let more_failed = missing - more_granted - more_refused;
            final_verdict(nodes, granted + more_granted, refused + more_refused, failed + more_failed)
        })
    });
    let first = outcomes.next()?;
    outcomes.all(|outcome| outcome == first).then_some(first)
}

fn final_verdict(nodes: usize, granted: usize, refused: usize, failed: usize) -> Verdict {
    assert_eq!(granted + refused + failed, nodes);
    if 2 * granted > nodes {
        Verdict::Won
    } else if 2 * (granted + refused) > nodes {
        Verdict::Refused
    } else {
        Verdict::Unreachable
    }
}

/// Feeds the votes in this order and compares after each.
fn check(nodes: usize, order: &[usize], votes: &[Ballot]) {
    let quorum = Quorum::of(nodes).expect("1 to 7 nodes");
    let mut round = Round::new(quorum);
    let mut last = round.verdict();
    assert_eq!(last, None, "nobody has voted");
    for heard in 1..=votes.len() {
        round.record(order[heard - 1], votes[heard - 1]);
        let verdict = round.verdict();
        assert_eq!(verdict, expected(nodes, &votes[..heard]), "{nodes} nodes, {:?}", &votes[..heard]);
        assert!(last.is_none() || last == verdict, "{last:?} became {verdict:?}");
        last = verdict;
        // A second vote of the same node is none.
        for again in BALLOTS {
            round.record(order[heard - 1], again);
        }
        assert_eq!(round.verdict(), verdict, "a node voted twice");
    }
    assert!(votes.len() < nodes || last.is_some(), "all have voted, and there is no verdict");
}

/// All sequences of `length` ballots.
fn sequences(length: usize) -> impl Iterator<Item = Vec<Ballot>> {
    let length = u32::try_from(length).expect("short");
    let count = 3_usize.pow(length);
    (0..count).map(move |number| (0..length).map(|place| BALLOTS[number / 3_usize.pow(place) % 3]).collect())
}

/// All orders in which `nodes` nodes can answer.
fn orders(nodes: usize) -> Vec<Vec<usize>> {
    if nodes == 0 {
        return vec![Vec::new()];
    }
    let longer = |order: Vec<usize>| {
        (0..nodes).map(move |place| {
            let mut longer = order.clone();
            longer.insert(place, nodes - 1);
            longer
        })
    };
    orders(nodes - 1).into_iter().flat_map(longer).collect()
}

#[test]
fn every_verdict_of_up_to_five_nodes_in_every_order_is_the_majority() {
    for nodes in 1..=5 {
        for order in orders(nodes) {
            for votes in sequences(nodes) {
                check(nodes, &order, &votes);
            }
        }
    }
}

#[test]
fn every_verdict_of_six_and_seven_nodes_is_the_majority() {
    for nodes in 6..=7 {
        let order: Vec<usize> = (0..nodes).collect();
        for votes in sequences(nodes) {
            check(nodes, &order, &votes);
        }
    }
}

fn any_votes() -> impl Strategy<Value = (usize, Vec<usize>, Vec<Ballot>)> {
    (1..=7_usize).prop_flat_map(|nodes| {
        let order = Just((0..nodes).collect::<Vec<_>>()).prop_shuffle();
        let votes = prop::collection::vec(prop::sample::select(BALLOTS.to_vec()), 0..=nodes);
        (Just(nodes), order, votes)
    })
}

proptest! {
    #[test]
    fn any_votes_of_up_to_seven_nodes_in_any_order_are_counted_as_a_majority((nodes, order, votes) in any_votes()) {
        check(nodes, &order, &votes);
    }
}
