//! The rules hold in every schedule, and none of them can be left out.

use std::time::Duration;

use super::plan::{Commit, Forgetting, Room, Rules, World};
use crate::checks::{self, check_holds};
use redlock_runtime::protocol::FenceFallback;

/// Clients that each make this many attempts, on nodes of which one may restart empty.
fn world(clients: &'static [usize]) -> World {
    World {
        clients,
        rooms: &[0; 3],
        clocks: &[1],
        losses: 0,
        lost_round: false,
        restarts: true,
        doubt: FenceFallback::Refuse,
        rules: Rules::KEPT,
    }
}

/// Explores schedules until one is found that breaks the promise, and prints it.
fn check_breaks(rules: Rules) {
    check_breaks_where(rules, &[0; 3]);
}

/// The same where clients reserve so many tokens.
fn check_breaks_where(rules: Rules, rooms: &'static [u64]) {
    // Each rule has a schedule that needs it, with three attempts and one message that is late or lost.
    let world = World { rules, rooms, losses: 1, ..world(&[1, 1, 1]) };
    checks::check_breaks(&["tokens grow", "tokens are given once"], &rules, world, |after| {
        after.nodes.map(|node| (node.key, node.counter, node.restarted))
    });
}

#[test]
fn tokens_grow_for_two_clients_with_two_attempts_each_beside_a_lost_round() {
    check_holds(World { lost_round: true, ..world(&[2, 2]) });
}

#[test]
fn tokens_grow_for_three_clients_beside_a_lost_round() {
    check_holds(World { lost_round: true, ..world(&[1, 1, 1]) });
}

#[test]
fn tokens_grow_for_three_clients_when_a_message_is_late_or_lost() {
    check_holds(World { losses: 1, ..world(&[1, 1, 1]) });
}

#[test]
fn tokens_grow_when_every_message_may_be_late_or_lost() {
    check_holds(World { losses: u8::MAX, restarts: false, ..world(&[1, 1, 1]) });
}

#[test]
fn tokens_grow_when_clocks_decide_where_evidence_is_missing() {
    let max_clock_skew = Duration::from_micros(9);
    check_holds(World { clocks: &[1, 9], doubt: FenceFallback::TrustClocks { max_clock_skew }, ..world(&[1, 1, 1]) });
}

#[test]
fn tokens_of_blocks_grow_beside_those_who_reserve_none_and_a_lost_round() {
    check_holds(World { rooms: &[1, 1, 0], lost_round: true, ..world(&[1, 1, 1]) });
}

#[test]
fn tokens_of_blocks_grow_for_two_clients_with_two_attempts_each() {
    check_holds(World { rooms: &[2, 1], ..world(&[2, 2]) });
}

#[test]
fn tokens_of_blocks_grow_when_every_message_may_be_late_or_lost() {
    check_holds(World { rooms: &[2, 2, 2], losses: u8::MAX, restarts: false, ..world(&[1, 1, 1]) });
}

#[test]
fn tokens_of_blocks_grow_when_clocks_decide_where_evidence_is_missing() {
    let max_clock_skew = Duration::from_micros(9);
    let doubt = FenceFallback::TrustClocks { max_clock_skew };
    check_holds(World { rooms: &[1, 0], clocks: &[1, 9], doubt, ..world(&[1, 1]) });
}

#[test]
fn a_grant_must_raise_the_counter_by_the_room_of_a_block() {
    check_breaks_where(Rules { room: Room::NotByGrants, ..Rules::KEPT }, &[1, 1, 0]);
}

#[test]
fn a_token_that_is_committed_must_leave_the_room_of_a_block() {
    check_breaks_where(Rules { room: Room::NotByCommits, ..Rules::KEPT }, &[1, 1, 0]);
}

#[test]
fn a_token_that_is_not_confirmed_may_be_given_twice() {
    check_breaks(Rules { commit: Commit::Sent, ..Rules::KEPT });
}

#[test]
fn the_greatest_answer_without_a_commit_may_be_given_twice() {
    check_breaks(Rules { commit: Commit::None, ..Rules::KEPT });
}

#[test]
fn a_commit_must_compare_the_owner() {
    check_breaks(Rules { compares_owner: false, ..Rules::KEPT });
}

#[test]
fn a_greater_counter_does_not_confirm_a_token() {
    check_breaks(Rules { confirms_equal: false, ..Rules::KEPT });
}

#[test]
fn a_grant_must_not_create_a_counter_on_a_node_that_restarted_empty() {
    check_breaks(Rules { forgetting: Forgetting::Planted, ..Rules::KEPT });
}

#[test]
fn a_missing_counter_is_no_evidence_on_a_node_that_restarted_empty() {
    check_breaks(Rules { forgetting: Forgetting::Denied, ..Rules::KEPT });
}

#[test]
fn a_node_that_restarted_must_abstain_while_an_older_attempt_is_under_way() {
    check_breaks(Rules { abstains: false, ..Rules::KEPT });
}
