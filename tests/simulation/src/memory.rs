//! Nodes in the memory of a process: one process, with several managers, each on a runtime of its own.
//!
//! What is a process elsewhere is a manager here. All go by one clock, and none is stopped or killed: the nodes would be, too.

use std::time::Duration;

use redlock_simulated::simulation::{Place, within};
use redlock_simulated::testing::MemoryNode;

use crate::life::NAMES;
use crate::plan::{Fault, MemoryFault, Plan, ProcessPlan, Weather, rate};
use crate::random::Random;
use crate::world::Universe;

impl Plan {
    /// Managers of one process, whose nodes are in its memory.
    pub(crate) fn draw_memory(random: &mut Random) -> Self {
        let weather = match random.index(100) {
            0..20 => Weather::Calm,
            20..30 => Weather::Crowded,
            _ => Weather::Rough,
        };
        let is_fine = weather != Weather::Rough;
        let managers = if weather == Weather::Crowded { 2 } else { random.pick(&[1, 2, 2, 3]) };
        let is_long = random.percent(40);
        let (node_count, names) = (random.pick(&[1, 3, 3, 3, 5]), random.pick(&[1, 1, 2]));
        // One clock, and one time of day.
        let (rate, skew) = (rate(random), random.millis(0, 50_000));
        let processes = (0..managers).map(|manager| {
            let drawn = ProcessPlan::draw(random, weather, manager, names, is_long);
            ProcessPlan { rate, skew, ..drawn }
        });
        let processes = processes.collect();
        let mut faults: Vec<_> = (0..if is_fine { 0 } else { random.index(10) })
            .map(|_| (random.millis(0, 1_200), Fault::draw_memory(random, node_count, managers)))
            .collect();
        faults.sort_by_key(|(moment, _)| *moment);
        Self {
            weather,
            nodes: Vec::new(),
            memory: node_count,
            is_cluster: false,
            twin: None,
            processes,
            fencing: random.percent(75),
            node_timeout: random.pick(&[20, 30, 50].map(Duration::from_millis)),
            longest_ttl: Duration::from_millis(if is_long { 300_000 } else { 1_500 }),
            errors: 0,
            reports: (0, 0),
            faults,
            script: None,
            permits: Vec::new(),
        }
    }
}

impl Fault {
    fn draw_memory(random: &mut Random, nodes: usize, managers: usize) -> Self {
        let (node, process, lasting) = (random.index(nodes), random.index(managers), random.millis(1, 300));
        let fault = match random.index(12) {
            0..2 => MemoryFault::Hangs,
            2..4 => MemoryFault::IsDown,
            4 => MemoryFault::Fails,
            5..7 => MemoryFault::FailsAfterwards,
            7..9 => MemoryFault::AnswersAfter(random.millis(1, 80)),
            9 => MemoryFault::Restarts,
            10 => return Self::EndRuntime { process },
            _ => return Self::Shutdown { process, bound: random.millis(50, 3_000) },
        };
        Self::Memory { node, fault, lasting }
    }
}

/// How nodes in memory are called.
pub(crate) fn name_of(node: usize) -> String {
    format!("node{node}")
}

impl Universe {
    /// Runs something as code of the process in whose memory the nodes are.
    fn in_memory<T>(run: impl FnOnce() -> T) -> T {
        within(Place { process: 0, runtime: Place::BACKGROUND }, run)
    }

    pub(crate) fn strike_memory(&self, node: usize, fault: MemoryFault, lasting: Duration) {
        let Some(server) = self.memory().get(node).cloned() else { return };
        match fault {
            MemoryFault::Hangs => server.hang(),
            MemoryFault::IsDown => server.go_down(),
            MemoryFault::Fails => server.fail("as planned"),
            MemoryFault::FailsAfterwards => server.fail_afterwards("as planned"),
            MemoryFault::AnswersAfter(delay) => server.answer_after(delay),
            // Once, and beside a majority of others.
            MemoryFault::Restarts if self.checker.has_restarts() || self.memory().len() < 3 => return,
            MemoryFault::Restarts => {
                self.checker.restarted();
                self.checker.meet("restarted");
                return Self::in_memory(|| server.restart_empty());
            }
        }
        self.later(lasting, move |_| Self::in_memory(|| server.recover()));
    }

    /// Which of the nodes in memory have the key of this owner.
    pub(crate) fn memory_that_keeps(&self, key: &str, owner: &str) -> usize {
        let keeps = |node: &&MemoryNode| Self::in_memory(|| node.owner_of(key)).is_some_and(|found| found == owner);
        self.memory().iter().filter(keeps).count()
    }

    /// The owners of keys that nodes in memory have.
    pub(crate) fn owners_in_memory(&self) -> Vec<(usize, String)> {
        let keys = NAMES.map(|name| format!("redlock:ConfigurableLock.{name}"));
        let of_node = |(number, node): (usize, &MemoryNode)| {
            let owners = keys.iter().filter_map(|key| Self::in_memory(|| node.owner_of(key)));
            owners.map(|owner| (number, owner)).collect::<Vec<_>>()
        };
        self.memory().iter().enumerate().flat_map(of_node).collect()
    }
}
