//! The rules hold in every schedule, and none of them can be left out.

use stateright::{Checker, HasDiscoveries, Model};

use super::plan::{MarksTo, OnceAt, Repair, Rules, Time, Validity, World};

/// Attempts for these fires, on old nodes of which one may restart empty.
fn world(fires: &'static [u8]) -> World {
    World {
        fires,
        time: Time::Counted,
        ticks: 0,
        clocks: &[0],
        is_fleet_new: false,
        once_at: OnceAt::End,
        planted: None,
        losses: 0,
        restarts: 1,
        renews: false,
        rules: Rules::KEPT,
    }
}

/// Attempts for a fire that is due at the fourth tick, in a new fleet.
fn timed_world() -> World {
    World { time: Time::Due, ticks: 5, clocks: &[0, 1], is_fleet_new: true, ..world(&[4, 4]) }
}

/// Explores every schedule.
fn check_holds(world: World) {
    let told = format!("{world:?}");
    let checker = world.checker().threads(2).spawn_bfs().join();
    println!("{} states of {told}", checker.unique_state_count());
    for (name, path) in checker.discoveries() {
        if name.starts_with("no ") || name.ends_with("again") || name.ends_with("twice") {
            println!("{name}: {:#?}", path.into_actions());
        }
    }
    checker.assert_properties();
}

/// Explores schedules until one is found that breaks the promise, and prints it.
fn check_breaks(name: &'static str, world: World) {
    let rules = world.rules;
    let checker = world.checker().threads(2).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    println!("{} states of {rules:?}", checker.unique_state_count());
    let found = checker.discovery(name);
    let found = found.unwrap_or_else(|| panic!("{rules:?} is as good as the rules that are kept"));
    for event in found.into_actions() {
        println!("    {event:?}");
    }
}

const AGAIN: &str = "a completed fire does not run again";
const IN_DOUBT: &str = "no fire is in doubt for ever";

#[test]
fn a_completed_fire_does_not_run_again_for_three_attempts() {
    check_holds(World { renews: true, ..world(&[1, 1, 1]) });
}
