//! The rules hold in every schedule, and none of them can be left out.

use stateright::{Checker, HasDiscoveries, Model};

use super::explore::{MORE, SAME};
use super::plan::{Rule, World};

/// So many clients of two permits, and one answer that may be lost.
fn world(clients: usize) -> World {
    World { clients, permits: 2, losses: 1, restarts: 0, broken: None }
}

/// Explores every schedule.
fn check_holds(world: World) {
    let told = format!("{world:?}");
    let checker = world.checker().threads(2).spawn_bfs().join();
    println!("{} states of {told}", checker.unique_state_count());
    checker.assert_properties();
}

/// Explores schedules until one is found that breaks the promise, and prints it.
fn check_breaks(name: &'static str, world: World) {
    let told = world.broken.expect("one is broken");
    let checker = world.checker().threads(2).finish_when(HasDiscoveries::AnyOf([name].into())).spawn_bfs().join();
    println!("{} states without {told:?}", checker.unique_state_count());
    let found = checker.discovery(name);
    let found = found.unwrap_or_else(|| panic!("{told:?} is not needed"));
    let steps = found.into_vec();
    for (step, (_, event)) in steps.iter().enumerate() {
        let Some(event) = event else { continue };
        println!("    {event:?}");
        // Nodes are sorted, so they change their places.
        if let Some((after, _)) = steps.get(step + 1) {
            println!("        {:?} {:?}", after.nodes.map(|node| node.slots), after.clients);
        }
    }
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
