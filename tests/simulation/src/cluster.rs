//! A cluster as the only voter: three servers, whose slots move while locks are wanted.

use std::sync::Arc;
use std::time::Duration;

use redlock_simulated_redis::{Cluster, ConnectionId, slot_of};
use tokio::time::sleep;

use crate::life::NAMES;
use crate::plan::{Fault, NodePlan, Plan, ProcessPlan, Weather};
use crate::random::Random;
use crate::world::{Universe, locked};

/// By how much a slot moves.
#[derive(Clone, Copy, Debug)]
pub(crate) enum SlotStep {
    /// Both servers are told that it does.
    Begins,
    /// The keys go that are there: those of a process, or all.
    Keys { of: Option<usize> },
    /// All servers are told whose it is now.
    Ends,
}

/// How many masters it has.
const SERVERS: usize = 3;

impl Plan {
    /// One cluster.
    pub(crate) fn draw_cluster(random: &mut Random) -> Self {
        let weather = if random.percent(20) { Weather::Calm } else { Weather::Rough };
        let is_fine = weather == Weather::Calm;
        let (process_count, names) = (random.pick(&[2, 2, 3]), random.pick(&[1, 1, 2]));
        let is_long = random.percent(50);
        let version = random.pick(&[6, 7]);
        let nodes = (0..SERVERS).map(|_| {
            // Those who subscribe hear one server alone here, and not all of a cluster.
            NodePlan { version, speaks_resp3: true, is_behind_proxy: false, ..NodePlan::draw(random, false) }
        });
        let nodes = nodes.collect();
        let mut faults: Vec<_> = (0..if is_fine { 0 } else { random.between(1, 10) })
            .map(|_| (random.millis(0, 1_200), Fault::draw_cluster(random, process_count, names)))
            .collect();
        faults.sort_by_key(|(moment, _)| *moment);
        Self {
            weather,
            nodes,
            memory: 0,
            is_cluster: true,
            twin: None,
            processes: (0..process_count)
                .map(|process| ProcessPlan::draw(random, weather, process, names, is_long))
                .collect(),
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

    /// What a server of it knows at first.
    pub(crate) fn cluster_at(&self, node: usize) -> Option<Cluster> {
        let addresses = (0..self.nodes.len()).map(|node| (format!("node{node}"), 6379)).collect();
        self.is_cluster.then(|| Cluster::new(addresses, node))
    }
}

impl Fault {
    fn draw_cluster(random: &mut Random, processes: usize, names: usize) -> Self {
        let (process, node, runtime) = (random.index(processes), random.index(SERVERS), random.index(2));
        let lasting = random.millis(1, 300);
        match random.index(16) {
            0..8 => Self::Migrate { name: random.index(names), is_counter: random.percent(25) },
            8 => Self::Hang { node, lasting },
            9..11 => {
                let freight = random.percent(50).then_some(lasting / 15);
                Self::Cut { process, node, runtime, is_next: random.percent(70), freight }
            }
            11 => Self::Partition { process, node, lasting },
            12 => Self::Pause { process, lasting: random.millis(1, 200) },
            13 => Self::ForgetScripts { node },
            14 => Self::EndRuntime { process },
            _ => Self::Shutdown { process, bound: random.millis(50, 3_000) },
        }
    }
}

/// The slot of a lock, or of those who wait for it.
fn slot(name: usize, is_counter: bool) -> u16 {
    let prefix = if is_counter { "Waiting" } else { "redlock:" };
    let separator = if is_counter { "." } else { "" };
    slot_of(format!("{prefix}{separator}ConfigurableLock.{}", NAMES[name]).as_bytes())
}

impl Universe {
    /// Does something to what a server knows of its cluster.
    fn with_cluster<T>(&self, node: usize, look: impl FnOnce(&mut Cluster) -> T) -> Option<T> {
        locked(&self.nodes)[node].server.cluster().map(look)
    }

    /// Who has a slot, unless that is on its way.
    fn settled_owner(&self, slot: u16) -> Option<usize> {
        let view_of = |node| {
            self.with_cluster(node, |cluster| {
                let is_under_way = cluster.migrating.contains_key(&slot) || cluster.importing.contains(&slot);
                (cluster.owner(slot), is_under_way)
            })
        };
        let known: Vec<_> = (0..self.plan.nodes.len()).filter_map(view_of).collect();
        let owner = known.first()?.0;
        known.iter().all(|known| *known == (owner, false)).then_some(owner)
    }

    fn a_moment(&self, most: u64) -> Duration {
        self.random().millis(0, most)
    }

    /// Moves a slot to another server, key by key.
    // Source: "Moving slots" of https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/
    pub(crate) async fn migrate(self: Arc<Self>, name: usize, is_counter: bool) {
        let slot = slot(name, is_counter);
        let Some(from) = self.settled_owner(slot) else { return };
        let to = (from + 1 + self.random().index(SERVERS - 1)) % SERVERS;
        self.note(|| format!("slot {slot} moves from n{from} to n{to}"));
        self.checker.meet("slot moved");
        self.with_cluster(to, |cluster| cluster.importing.insert(slot));
        sleep(self.a_moment(3)).await;
        self.with_cluster(from, |cluster| cluster.migrating.insert(slot, to));
        loop {
            sleep(self.a_moment(25)).await;
            let keys = locked(&self.nodes)[from].server.keys_of(slot);
            if keys.is_empty() {
                break;
            }
            let key = &keys[self.random().index(keys.len())];
            self.move_key(from, to, key);
        }
        sleep(self.a_moment(10)).await;
        let epoch = self.next_epoch();
        self.with_cluster(to, |cluster| cluster.assign(slot, to, epoch));
        sleep(self.a_moment(3)).await;
        self.with_cluster(from, |cluster| cluster.assign(slot, to, epoch));
        // The third hears of it.
        sleep(self.a_moment(300)).await;
        for node in 0..SERVERS {
            self.with_cluster(node, |cluster| cluster.assign(slot, to, epoch));
        }
        self.note(|| format!("slot {slot} is at n{to}"));
    }

    /// How new it is what is learnt next.
    fn next_epoch(&self) -> u64 {
        let epochs = (0..SERVERS).filter_map(|node| self.with_cluster(node, |cluster| cluster.epoch));
        epochs.max().unwrap_or_default() + 1
    }

    /// Moves a slot by one step, of which nobody is late to hear.
    pub(crate) fn move_slot(&self, name: usize, from: usize, to: usize, step: SlotStep) {
        let slot = slot(name, false);
        match step {
            SlotStep::Begins => {
                self.with_cluster(to, |cluster| cluster.importing.insert(slot));
                self.with_cluster(from, |cluster| cluster.migrating.insert(slot, to));
            }
            SlotStep::Keys { of } => {
                let keys = locked(&self.nodes)[from].server.keys_of(slot);
                for key in keys {
                    let text =
                        locked(&self.nodes)[from].server.peek(&key).and_then(|held| held.text.map(<[u8]>::to_vec));
                    let writer = text.and_then(|text| self.checker.writer_of(&String::from_utf8_lossy(&text)));
                    if of.is_none() || of == writer {
                        self.move_key(from, to, &key);
                    }
                }
            }
            SlotStep::Ends => {
                let epoch = self.next_epoch();
                for node in 0..SERVERS {
                    self.with_cluster(node, |cluster| cluster.assign(slot, to, epoch));
                }
            }
        }
    }

    /// Moves a key, unless one of the servers hangs, or the other one has it.
    fn move_key(&self, from: usize, to: usize, key: &[u8]) {
        let elapsed = self.elapsed();
        let (out, into) = {
            let mut nodes = locked(&self.nodes);
            if nodes[from].is_hung() || nodes[to].is_hung() || nodes[to].server.peek(key).is_some() {
                return;
            }
            let shown = nodes[from].shows(elapsed);
            let Some((moved, effects)) = nodes[from].server.move_out(key, shown) else { return };
            let out = (effects, nodes[from].server.take_events());
            let shown = nodes[to].shows(elapsed);
            (out, (nodes[to].server.move_in(moved, shown), nodes[to].server.take_events()))
        };
        for (node, (effects, events)) in [(from, out), (to, into)] {
            self.carry_out(node, ConnectionId(0), effects);
            self.tell(node, None, events);
        }
        self.look_later(to);
    }
}
