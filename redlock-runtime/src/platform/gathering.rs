//! From how many commands on those that a runtime's tasks send to one server in the same turn are gathered.

/// So many: with fewer, what is saved is no more than what it costs to gather them.
const CROWD: usize = 8;

/// So many are many.
pub(crate) fn crowd() -> usize {
    #[cfg(redlock_simulated)]
    if let Some(crowd) = crate::platform::simulated::world().and_then(|world| world.crowd()) {
        return crowd;
    }
    CROWD
}
