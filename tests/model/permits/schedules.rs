//! The rules hold in every schedule, and none of them can be left out.

use super::explore::{MORE, SAME};
use super::plan::{Rule, World};
use crate::checks::{self, check_holds};

/// So many clients of two permits, and one answer that may be lost.
fn world(clients: usize) -> World {
    World { clients, permits: 2, losses: 1, restarts: 0, broken: None }
}

/// Explores schedules until one is found that breaks the promise, and prints it.
fn check_breaks(name: &'static str, world: World) {
    let told = world.broken.expect("one is broken");
    checks::check_breaks(&[name], &told, world, |after| (after.nodes.map(|node| node.slots), after.clients));
}

#[test]
fn never_more_than_two_of_three_clients_have_one_of_two_permits() {
    check_holds(world(3));
}

#[test]
fn never_more_than_two_of_three_clients_have_one_of_two_permits_when_a_node_restarts_empty() {
    check_holds(World { losses: 0, restarts: 1, ..world(3) });
}

#[test]
fn a_node_must_not_count_whom_it_has_let_in() {
    check_breaks(MORE, World { broken: Some(Rule::OneSlotIsOneLock), ..world(3) });
}

#[test]
fn what_was_granted_to_the_first_question_must_not_count_for_the_second() {
    check_breaks(SAME, World { broken: Some(Rule::SecondQuestionCountsAlone), ..world(3) });
}

#[test]
fn a_node_that_restarted_must_abstain_while_a_permit_is_held() {
    check_breaks(SAME, World { restarts: 1, broken: Some(Rule::Abstention), ..world(3) });
}
