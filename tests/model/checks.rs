//! Explores a model, and says what was found.

use std::fmt::Debug;
use std::hash::Hash;

use stateright::{Checker, HasDiscoveries, Model};

/// Explores every schedule.
pub(crate) fn check_holds<M>(world: M)
where
    M: Model<State: Clone + Debug + Hash + Send + Sync + PartialEq, Action: Clone + Debug + PartialEq>
        + Debug
        + Send
        + Sync
        + 'static,
{
    let told = format!("{world:?}");
    let checker = world.checker().threads(2).spawn_bfs().join();
    println!("{} states of {told}", checker.unique_state_count());
    checker.assert_properties();
}

/// Explores schedules until one is found that breaks one of these promises, and prints it, with what is `shown` of each state.
/// `told` is the rule that is broken.
pub(crate) fn check_breaks<M, S: Debug>(
    names: &[&'static str],
    told: &dyn Debug,
    world: M,
    shown: impl Fn(&M::State) -> S,
) where
    M: Model<State: Clone + Debug + Hash + Send + Sync + PartialEq, Action: Debug + PartialEq + Clone>
        + Send
        + Sync
        + 'static,
{
    let until = HasDiscoveries::AnyOf(names.iter().copied().collect());
    let checker = world.checker().threads(2).finish_when(until).spawn_bfs().join();
    println!("{} states without {told:?}", checker.unique_state_count());
    let found = names.iter().find_map(|name| checker.discovery(name));
    let steps = found.unwrap_or_else(|| panic!("{told:?} is not needed")).into_vec();
    for (step, (_, event)) in steps.iter().enumerate() {
        let Some(event) = event else { continue };
        println!("    {event:?}");
        // Nodes are sorted, so they change their places.
        if let Some((after, _)) = steps.get(step + 1) {
            println!("        {:?}", shown(after));
        }
    }
}
