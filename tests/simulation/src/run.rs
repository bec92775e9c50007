//! One run: from a seed to what was seen.

use std::sync::Arc;
use std::time::Duration;

use redlock_simulated::LockManager;
use redlock_simulated::simulation::{self, Placed, Rule, open_releases, within};
use tokio::runtime::Builder;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use crate::checker::Met;
use crate::events::Events;
use crate::faults;
use crate::life::{Parcel, Task, Tasks};
use crate::memory;
use crate::plan::{CONNECT_TIMEOUTS, FIRE_SKEW, Plan};
use crate::random::Random;
use crate::world::{Universe, locked};

/// What a run came to.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// A hash over all that could be seen.
    pub(crate) trace: u64,
    pub(crate) log: Vec<String>,
    pub(crate) violations: Vec<String>,
    pub(crate) met: Met,
}

/// A run that is under way.
pub(crate) struct Run {
    pub(crate) universe: Arc<Universe>,
    pub(crate) managers: Vec<LockManager>,
    parcels: mpsc::UnboundedSender<Parcel>,
    /// The tasks that have to come to their end, and whose they are.
    tasks: Arc<Tasks>,
}

/// How long after the last fault everybody has got what he wants.
const PATIENCE: Duration = Duration::from_secs(32);

/// How long releases are sent to nodes that cannot be asked to close a connection.
const KEEP_TRYING: Duration = Duration::from_secs(130);

/// What schedules are about.
pub(crate) struct Kind {
    /// The word by which many of them are run.
    pub(crate) many: &'static str,
    /// The word by which one of them is replayed.
    pub(crate) one: &'static str,
    /// Draws one.
    draw: fn(&mut Random) -> Plan,
    /// The rules that they find.
    pub(crate) rules: &'static [Rule],
}

/// Locks on servers.
pub(crate) const LOCKS: Kind = Kind { many: "run", one: "replay", draw: Plan::draw, rules: Rule::ALL };
/// Jobs that run once per fire.
pub(crate) const FIRES: Kind = Kind { many: "fires", one: "fire", draw: Plan::draw_fires, rules: Rule::OF_ONCE };
/// Locks with permits.
pub(crate) const PERMITS: Kind =
    Kind { many: "permits", one: "permit", draw: Plan::draw_permits, rules: Rule::OF_PERMITS };
/// Processes of which one leads.
pub(crate) const LEADS: Kind = Kind { many: "leads", one: "lead", draw: Plan::draw_leads, rules: Rule::OF_LEADS };
/// Nodes in memory, which need some of the rules of servers.
pub(crate) const MEMORY: Kind = Kind { many: "memory", one: "remember", draw: Plan::draw_memory, rules: &[] };
/// A cluster as the only voter.
pub(crate) const CLUSTERS: Kind =
    Kind { many: "clusters", one: "cluster", draw: Plan::draw_cluster, rules: Rule::OF_CLUSTERS };

/// Locks that readers share.
pub(crate) const READERS: Kind =
    Kind { many: "readers", one: "reader", draw: Plan::draw_readers, rules: Rule::OF_READERS };
/// Locks of several names.
pub(crate) const NAMES: Kind = Kind { many: "names", one: "name", draw: Plan::draw_names, rules: Rule::OF_NAMES };

/// All of them.
pub(crate) const KINDS: [Kind; 8] = [LOCKS, FIRES, PERMITS, READERS, NAMES, LEADS, MEMORY, CLUSTERS];

impl Kind {
    /// What is drawn for a seed.
    pub(crate) fn plan_of(&self, seed: u64) -> Plan {
        (self.draw)(&mut Random::new(seed))
    }

    /// Runs a seed, without one rule or with all.
    pub(crate) fn run(&self, seed: u64, off: Option<Rule>, is_logged: bool) -> Outcome {
        let mut random = Random::new(seed);
        let plan = (self.draw)(&mut random);
        run_plan(plan, random, off, is_logged)
    }
}

/// Runs a plan that was drawn, or made.
pub(crate) fn run_plan(plan: Plan, random: Random, off: Option<Rule>, is_logged: bool) -> Outcome {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    let (universe, installed) = runtime.block_on(async {
        let universe = Universe::new(plan, random, off, is_logged);
        simulation::switch_off(off);
        let installed = simulation::install(Arc::clone(&universe) as Arc<dyn simulation::World>);
        let _logging = is_logged.then(|| tracing::subscriber::set_default(Events(Arc::clone(&universe))));
        simulate(&universe).await;
        universe.finish();
        simulation::finish();
        (universe, installed)
    });
    // What is left is dropped where it ran.
    drop(runtime);
    drop(installed);
    let (trace, log) = universe.trace();
    Outcome { trace, log, violations: universe.checker.take_violations(), met: universe.checker.met() }
}

async fn simulate(universe: &Arc<Universe>) {
    let (parcels, mut received) = mpsc::unbounded_channel();
    // They are looked up before a manager may be gone with them.
    let _ = universe.memory();
    let managers = (0..universe.plan.processes.len()).map(|process| manager(universe, process)).collect();
    let run = Run { universe: Arc::clone(universe), managers, parcels, tasks: Arc::default() };
    for process in 0..run.managers.len() {
        run.begin(process);
    }
    {
        let carry = async {
            while let Some(parcel) = received.recv().await {
                run.deliver(parcel);
            }
        };
        let healed = async {
            faults::strike_all(&run).await;
            sleep(universe.plan.healed().saturating_sub(universe.elapsed())).await;
            universe.heal();
            run.end().await;
        };
        tokio::select! {
            biased;
            () = healed => {}
            () = carry => {}
        }
    }
    let is_slow = universe.plan.nodes.iter().any(|node| node.is_behind_proxy);
    // Longer than those are counted who wait in a process that cannot tell any more that they do not.
    sleep(if is_slow { KEEP_TRYING } else { Duration::from_secs(25) }).await;
    run.check_end().await;
    for (process, locks) in run.managers.into_iter().enumerate() {
        within(universe.callers(process), || drop(locks));
    }
}

fn manager(universe: &Universe, process: usize) -> LockManager {
    let plan = &universe.plan;
    let nodes = universe.configured().enumerate().map(|(position, node)| {
        let protocol = if plan.nodes[node].speaks_resp3 { "" } else { "?protocol=resp2" };
        // One server under two names.
        let alias = if position < plan.nodes.len() { "node" } else { "alias" };
        format!("redis://{alias}{node}:6379{protocol}")
    });
    let in_memory = (0..plan.memory).map(|node| format!("memory://{}", memory::name_of(node)));
    let nodes: Vec<_> = if plan.is_cluster {
        let hosts: Vec<_> = (0..plan.nodes.len()).map(|node| format!("node{node}")).collect();
        vec![format!("redis+cluster://{}", hosts.join(","))]
    } else {
        nodes.chain(in_memory).collect()
    };
    within(universe.callers(process), || {
        let builder = LockManager::builder()
            .nodes(nodes)
            .node_timeout(plan.node_timeout)
            .connect_timeout(
                plan.script.as_ref().map_or(plan.node_timeout * CONNECT_TIMEOUTS, |script| script.connect_timeout),
            )
            .longest_ttl(plan.longest_ttl)
            .ttl(plan.longest_ttl.min(Duration::from_secs(1)))
            .fencing(plan.fencing)
            .owner_label("")
            .observer(universe.observed[process].clone());
        let builder = if plan.has_fires() { builder.max_clock_skew(FIRE_SKEW) } else { builder };
        builder.build().expect("a configuration")
    })
}

impl Run {
    /// Begins the tasks of a process.
    fn begin(&self, process: usize) {
        let plan = &self.universe.plan.processes[process];
        for wishes in plan.tasks.clone() {
            self.spawn(process, |task| task.run(wishes));
        }
        for candidacy in plan.leaders.clone() {
            self.spawn(process, |task| task.lead(candidacy));
        }
    }

    /// Begins its tasks once more, after its runtime ended with them.
    pub(crate) fn begin_again(&self, process: usize) {
        self.universe.checker.meet("runtime ended");
        self.begin(process);
    }

    fn spawn<F>(&self, process: usize, life: impl FnOnce(Task) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let place = self.universe.callers(process);
        let task = Task {
            universe: Arc::clone(&self.universe),
            locks: self.managers[process].clone(),
            parcels: self.parcels.clone(),
            tasks: Arc::clone(&self.tasks),
        };
        let task = tokio::spawn(Placed::new(place, life(task)));
        simulation::World::began(&*self.universe, place, task.abort_handle());
        locked(&self.tasks).push((process, task));
    }

    /// A detached lock reaches the process after the one that held it.
    fn deliver(&self, parcel: Parcel) {
        let process = self.universe.random().index(self.managers.len());
        if !self.universe.checker.is_shut_down(process) {
            self.spawn(process, |task| task.adopt(parcel));
        }
    }

    /// Waits for all tasks.
    async fn end(&self) {
        let universe = &*self.universe;
        let over = tokio::time::Instant::from(universe.start.into_std() + universe.plan.healed() + PATIENCE);
        loop {
            let Some((process, task)) = locked(&self.tasks).pop() else { return };
            if universe.is_dead(process) {
                continue;
            }
            match timeout(over.saturating_duration_since(crate::world::now()), task).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) if error.is_cancelled() => {}
                Ok(Err(error)) => universe.violated(format!("p{process} panicked: {error}")),
                // Or a detached lock that nobody has adopted is in his way, as long as its TTL.
                Err(_) if universe.plan.twin.is_some() || universe.checker.has_detached() => {}
                Err(_) => universe.violated(format!("starved: p{process} still waits")),
            }
        }
    }

    /// What must hold when everybody is through.
    async fn check_end(&self) {
        let universe = &*self.universe;
        let mut left = universe.left();
        if !left.is_empty() && universe.checker.has_detached() {
            // Somebody may still wait for a detached lock that nobody has adopted, and ask for it at this moment.
            sleep(universe.plan.node_timeout * 10).await;
            let later = universe.left();
            left.retain(|key| later.contains(key));
        }
        for (node, key, owner) in left {
            universe.violated(format!("left: n{node} has {key} of {}", &owner[..8]));
        }
        for missed in universe.checker.with_runs(|runs| runs.missed()) {
            universe.violated(missed);
        }
        let unknown: Vec<_> = locked(&universe.nodes).iter().flat_map(|node| node.unknown().to_vec()).collect();
        for command in unknown {
            universe.violated(format!("a command that no simulated server knows: {command}"));
        }
        for (process, locks) in self.managers.iter().enumerate().filter(|(process, _)| !universe.is_dead(*process)) {
            let open = open_releases(locks);
            // Somebody may still wait for a detached lock that nobody has adopted, and ask for it at this moment.
            if open > 0 && !universe.checker.has_detached() {
                universe.violated(format!("p{process} still has {open} attempts or releases on their way"));
            }
            // Those may still wait whose node is configured twice.
            if universe.plan.twin.is_none() && !universe.checker.has_detached() {
                universe.check_observed(process);
            }
        }
        let asked = (0..self.managers.len()).find(|process| {
            !universe.is_dead(*process) && !universe.checker.is_shut_down(*process) && universe.is_running(*process)
        });
        if let Some(process) = asked.filter(|_| universe.plan.twin.is_none() && !universe.checker.has_detached()) {
            let (place, locks) = (universe.callers(process), self.managers[process].clone());
            let counted = tokio::spawn(Placed::new(place, async move {
                // A connection that fell silent long ago is noticed by its next use, and a cluster has one to each server. What is on
                // one of them alone may be left out; whatever needs another one may fail next. So it is asked until it is told
                // twice in a row.
                let mut counted = locks.statistics().await;
                for _ in 0..20 {
                    let is_told = counted.is_ok();
                    if !is_told {
                        sleep(Duration::from_millis(200)).await;
                    }
                    counted = locks.statistics().await;
                    if is_told && counted.is_ok() {
                        break;
                    }
                }
                counted
            }));
            match timeout(Duration::from_secs(10), counted).await {
                Ok(Ok(Ok(counted))) => {
                    for name in counted.iter().filter(|name| name.everywhere > 0) {
                        universe.violated(format!("{} are counted who wait for {}", name.everywhere, name.name));
                    }
                }
                other => universe.violated(format!("waiters cannot be counted: {other:?}")),
            }
        }
    }
}
