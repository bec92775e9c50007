//! The simulated machines: processes with clocks of their own, nodes, and what is between them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::Waker;
use std::time::Duration;

use redlock_simulated::simulation::{Connecting, Place, Rule, World};
use redlock_simulated::testing::MemoryNode;
use redlock_simulated_redis::ConnectionId;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};

use crate::checker::Checker;
use crate::memory;
use crate::network::{self, Arrival, Pipe};
use crate::node::Node;
use crate::observed::Observed;
use crate::plan::{Passage, Plan, Slow, Weather};
use crate::random::Random;

/// The true moment.
#[expect(clippy::disallowed_methods, reason = "true time is that of the simulation's runtime")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Waits until that.
#[expect(clippy::disallowed_methods, reason = "true time is that of the simulation's runtime")]
pub(crate) fn until(moment: Instant) -> tokio::time::Sleep {
    tokio::time::sleep_until(moment)
}

/// Whether a process runs.
pub(crate) enum Life {
    Runs {
        /// Without a break since then.
        since: Instant,
    },
    /// And who is to be woken when it goes on.
    Paused(Vec<Waker>),
    Dead,
}

pub(crate) struct Process {
    pub(crate) life: Life,
    /// How much faster than true time its clock runs, in parts per million.
    rate: i64,
    /// How far its time of day is ahead.
    skew: Duration,
    is_multi_thread: bool,
    /// By node: nothing gets through before.
    pub(crate) cut_off_until: Vec<Instant>,
    /// The tasks that began on each of its runtimes that has not ended.
    tasks: BTreeMap<usize, Vec<AbortHandle>>,
    /// The number of its callers' runtime; those below it have ended.
    pub(crate) callers: usize,
    /// The runtime whose only thread blocks.
    blocked: Option<Blocked>,
}

/// A runtime whose only thread blocks.
struct Blocked {
    runtime: usize,
    /// How many calls do that: one may have begun before another was seen to.
    calls: usize,
    /// Who is to be woken when it does not block any more.
    wakers: Vec<Waker>,
}

/// All there is.
pub(crate) struct Universe {
    this: Weak<Self>,
    pub(crate) start: Instant,
    pub(crate) plan: Plan,
    random: Mutex<Random>,
    entropy: Mutex<Random>,
    pub(crate) processes: Mutex<Vec<Process>>,
    pub(crate) nodes: Mutex<Vec<Node>>,
    pub(crate) pipes: Mutex<Vec<Pipe>>,
    /// Those in memory.
    memory: OnceLock<Vec<MemoryNode>>,
    pub(crate) checker: Checker,
    /// What the manager of each process tells.
    pub(crate) observed: Vec<Observed>,
    trace: Mutex<Trace>,
    is_healed: AtomicBool,
    /// What is dropped from now on is dropped in any order.
    is_over: AtomicBool,
}

/// What can be seen from outside, as a hash and, if wanted, in words.
struct Trace {
    hash: u64,
    lines: Option<Vec<String>>,
}

/// The nodes, as servers of their cluster if they are some.
fn joined(nodes: impl Iterator<Item = Node>, plan: &Plan) -> Vec<Node> {
    let join = |(number, mut node): (usize, Node)| {
        if let Some(cluster) = plan.cluster_at(number) {
            node.server.join(cluster);
        }
        node
    };
    nodes.enumerate().map(join).collect()
}

/// A std mutex that no panic of a simulated task makes useless.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Universe {
    pub(crate) fn new(plan: Plan, mut random: Random, off: Option<Rule>, is_logged: bool) -> Arc<Self> {
        let start = now();
        let entropy = Random::new(random.next());
        let nodes = plan.nodes.iter().enumerate().map(|(number, node)| Node::new(number, node, off));
        let process = |process: &crate::plan::ProcessPlan| Process {
            life: Life::Runs { since: start },
            rate: process.rate,
            skew: process.skew,
            is_multi_thread: process.is_multi_thread,
            cut_off_until: vec![start; plan.nodes.len()],
            tasks: BTreeMap::new(),
            callers: Place::BACKGROUND + 1,
            blocked: None,
        };
        let processes = plan.processes.iter().map(process).collect();
        let nodes: Vec<_> = joined(nodes, &plan);
        Arc::new_cyclic(|this| Self {
            this: Weak::clone(this),
            start,
            random: Mutex::new(random),
            entropy: Mutex::new(entropy),
            processes: Mutex::new(processes),
            nodes: Mutex::new(nodes),
            pipes: Mutex::default(),
            memory: OnceLock::new(),
            is_healed: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
            checker: Checker::new(&plan),
            observed: plan.processes.iter().map(|_| Observed::default()).collect(),
            trace: Mutex::new(Trace { hash: 0xcbf2_9ce4_8422_2325, lines: is_logged.then(Vec::new) }),
            plan,
        })
    }

    /// The nodes in memory, which are those of this run once it is installed.
    pub(crate) fn memory(&self) -> &[MemoryNode] {
        let node = |number| MemoryNode::named(&memory::name_of(number));
        self.memory.get_or_init(|| (0..self.plan.memory).map(node).collect())
    }

    pub(crate) fn this(&self) -> Arc<Self> {
        self.this.upgrade().expect("somebody asks")
    }

    /// When the clock of the process shows this.
    pub(crate) fn true_moment(&self, process: usize, moment: std::time::Instant) -> Instant {
        self.truth(process, moment).into()
    }

    /// How long this is that a process takes for so long.
    pub(crate) fn true_length(&self, process: usize, length: Duration) -> Duration {
        passed_at(length, locked(&self.processes)[process].rate)
    }

    /// How long the simulation has run.
    pub(crate) fn elapsed(&self) -> Duration {
        now() - self.start
    }

    pub(crate) fn random(&self) -> MutexGuard<'_, Random> {
        locked(&self.random)
    }

    /// Nothing goes wrong any more.
    pub(crate) fn heal(&self) {
        self.note(|| "healed".to_owned());
        self.is_healed.store(true, Ordering::Relaxed);
    }

    /// Nothing that happens from now on counts.
    pub(crate) fn finish(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    /// How long something is on its way between a process and a node.
    pub(crate) fn delay(&self, passage: Passage, from: Place, node: usize) -> Duration {
        let elapsed = self.elapsed();
        let is_slow = |slow: &&Slow| {
            (slow.process, slow.runtime, slow.node) == (from.process, from.runtime.min(1), node)
                && slow.passage == passage
                && slow.sent.contains(&elapsed)
        };
        let slow = self.plan.script.as_ref().and_then(|script| script.slow.iter().find(is_slow));
        match (slow, passage) {
            (Some(slow), _) => slow.arrives.saturating_sub(elapsed),
            // There and back.
            (None, Passage::Connection) => self.usual_delay() * 2,
            (None, Passage::Request | Passage::Reply) => self.usual_delay(),
        }
    }

    fn usual_delay(&self) -> Duration {
        let mut random = self.random();
        if self.plan.weather == Weather::Made {
            return Duration::from_micros(random.between(100, 600));
        }
        if self.is_healed.load(Ordering::Relaxed) {
            return random.millis(0, 2);
        }
        let micros = match (random.index(100), self.plan.weather) {
            (0, Weather::Rough) => random.between(1_000, 400_000),
            (1..=5, Weather::Rough) => random.between(1_000, 40_000),
            // Fairness is about turns, not about who is nearer.
            (_, Weather::Crowded) => random.between(0, 1) * 1_000,
            (0..=30, Weather::Slow) => random.between(10_000, 300_000),
            (6..=30, _) => random.between(500, 5_000),
            _ => random.between(0, 1_000),
        };
        Duration::from_micros(micros)
    }

    /// Something that can be seen from outside: part of the trace.
    pub(crate) fn note(&self, text: impl FnOnce() -> String) {
        if self.is_over.load(Ordering::Relaxed) {
            return;
        }
        let (micros, text) = (self.elapsed().as_micros(), text());
        let mut trace = locked(&self.trace);
        for byte in micros.to_le_bytes().iter().chain(text.as_bytes()) {
            trace.hash = (trace.hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if let Some(lines) = &mut trace.lines {
            lines.push(format!("{:>12.3} ms  {text}", micros as f64 / 1000.0));
        }
    }

    /// Something for people, which is no part of the trace.
    pub(crate) fn tell_log(&self, text: &str) {
        let micros = self.elapsed().as_micros();
        if let Some(lines) = &mut locked(&self.trace).lines {
            lines.push(format!("{:>12.3} ms      {text}", micros as f64 / 1000.0));
        }
    }

    /// [`Self::tell_log`], if anybody reads it.
    pub(crate) fn tell_log_with(&self, text: impl FnOnce() -> String) {
        if locked(&self.trace).lines.is_some() {
            self.tell_log(&text());
        }
    }

    pub(crate) fn trace(&self) -> (u64, Vec<String>) {
        let mut trace = locked(&self.trace);
        (trace.hash, trace.lines.take().unwrap_or_default())
    }

    /// A promise that was broken.
    pub(crate) fn violated(&self, text: String) {
        self.note(|| format!("VIOLATION {text}"));
        self.checker.add(text);
    }

    pub(crate) fn is_dead(&self, process: usize) -> bool {
        matches!(locked(&self.processes)[process].life, Life::Dead)
    }

    /// Whether it has run for this long without a break, and without a thread that blocks its runtime.
    pub(crate) fn has_run_for(&self, process: usize, time: Duration) -> bool {
        let process = &locked(&self.processes)[process];
        process.blocked.is_none() && matches!(process.life, Life::Runs { since } if now() - since >= time)
    }

    /// Whether the only thread of its callers' runtime blocks.
    pub(crate) fn is_blocked(&self, process: usize) -> bool {
        locked(&self.processes)[process].blocked.is_some()
    }

    /// Where a process's callers run now.
    pub(crate) fn callers(&self, process: usize) -> Place {
        Place { process, runtime: locked(&self.processes)[process].callers }
    }

    pub(crate) fn lets_through(&self, process: usize, node: usize) -> bool {
        now() >= locked(&self.processes)[process].cut_off_until[node]
    }

    /// The node takes a connection, if it is up.
    pub(crate) fn accept(&self, node: usize) -> Option<(ConnectionId, u32)> {
        locked(&self.nodes)[node].accept()
    }

    /// Lets the node's end of a connection run.
    pub(crate) fn serve(&self, pipe: Pipe) {
        locked(&self.pipes).push(pipe.clone());
        let universe = self.this();
        // It is nobody's but the node's.
        tokio::spawn(async move { universe.answer(&pipe).await });
    }

    /// Those of a runtime of a process to a node; 0 is the background runtime, 1 whichever the callers have.
    pub(crate) fn pipes_of(&self, process: usize, runtime: usize, node: usize) -> Vec<Pipe> {
        let is_of = |pipe: &Pipe| {
            let state = pipe.lock();
            (state.from.process, state.from.runtime.min(1), state.node) == (process, runtime, node)
        };
        locked(&self.pipes).iter().filter(|pipe| is_of(pipe)).cloned().collect()
    }

    async fn answer(&self, pipe: &Pipe) {
        let (node, life, id, process) = {
            let state = pipe.lock();
            (state.node, state.life, state.id, state.from.process)
        };
        loop {
            let arrival = std::future::poll_fn(|cx| pipe.poll_arrival(cx)).await;
            let Arrival::At(moment) = arrival else { break };
            until(moment).await;
            std::future::poll_fn(|cx| locked(&self.nodes)[node].poll_awake(cx)).await;
            if locked(&self.nodes)[node].life != life {
                return;
            }
            if let Some(bytes) = pipe.take() {
                self.receive(node, (process, id), &bytes);
            }
        }
        let mut nodes = locked(&self.nodes);
        if nodes[node].life == life {
            nodes[node].closed(id);
        }
    }

    /// Lets tasks of a process run again.
    pub(crate) fn resume(&self, process: usize) {
        let mut processes = locked(&self.processes);
        let life = &mut processes[process].life;
        if let Life::Paused(wakers) = life {
            let wakers = std::mem::take(wakers);
            *life = Life::Runs { since: now() };
            drop(processes);
            wakers.into_iter().for_each(Waker::wake);
        }
    }

    /// Ends the callers' runtime of a process; those who come later use another.
    pub(crate) fn end_callers(&self, process: usize) {
        let ended = {
            let mut processes = locked(&self.processes);
            let process = &mut processes[process];
            let ended = process.tasks.remove(&process.callers);
            process.callers += 1;
            ended
        };
        ended.into_iter().flatten().for_each(|task| task.abort());
    }

    /// Does something later, whatever becomes of the processes.
    pub(crate) fn later(&self, after: Duration, then: impl FnOnce(&Self) + Send + 'static) {
        let universe = self.this();
        tokio::spawn(async move {
            sleep(after).await;
            then(&universe);
        });
    }
}

const MILLION: i128 = 1_000_000;

/// What a clock that is faster by so many parts per million shows after this true time.
pub(crate) fn shown_after(time: Duration, rate: i64) -> Duration {
    let nanos = time.as_nanos() as i128 * (MILLION + i128::from(rate)) / MILLION;
    Duration::from_nanos(nanos as u64)
}

/// How much true time has passed when it shows this; rounded up, so that it shows no less then.
pub(crate) fn passed_at(shown: Duration, rate: i64) -> Duration {
    let divisor = MILLION + i128::from(rate);
    let nanos = (shown.as_nanos() as i128 * MILLION + divisor - 1) / divisor;
    Duration::from_nanos(nanos as u64)
}

impl World for Universe {
    fn local(&self, process: usize, truth: std::time::Instant) -> std::time::Instant {
        let (start, rate) = (self.start.into_std(), locked(&self.processes)[process].rate);
        start + shown_after(truth.saturating_duration_since(start), rate)
    }

    fn truth(&self, process: usize, moment: std::time::Instant) -> std::time::Instant {
        let (start, rate) = (self.start.into_std(), locked(&self.processes)[process].rate);
        start + passed_at(moment.saturating_duration_since(start), rate)
    }

    fn since_1970(&self, process: usize) -> Duration {
        crate::node::TIME_OF_DAY + locked(&self.processes)[process].skew + self.elapsed()
    }

    fn random(&self) -> [u8; 16] {
        let mut entropy = locked(&self.entropy);
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&entropy.next().to_le_bytes());
        bytes[8..].copy_from_slice(&entropy.next().to_le_bytes());
        bytes
    }

    fn connect(&self, from: Place, host: &str, _: u16) -> Connecting {
        network::connect(&self.this(), from, host)
    }

    fn may_run(&self, place: Place, waker: &Waker) -> bool {
        let process = &mut locked(&self.processes)[place.process];
        match (&mut process.life, &mut process.blocked) {
            (Life::Runs { .. }, Some(blocked)) if blocked.runtime == place.runtime => {
                blocked.wakers.push(waker.clone());
                false
            }
            (Life::Runs { .. }, _) => true,
            (Life::Paused(wakers), _) => {
                wakers.push(waker.clone());
                false
            }
            (Life::Dead, _) => false,
        }
    }

    fn is_multi_thread(&self, place: Place) -> bool {
        place.runtime != Place::BACKGROUND && locked(&self.processes)[place.process].is_multi_thread
    }

    fn blocks(&self, place: Place, is_blocked: bool) {
        if place.runtime == Place::THREAD || self.is_multi_thread(place) || self.is_over.load(Ordering::Relaxed) {
            return;
        }
        let mut processes = locked(&self.processes);
        let process = &mut processes[place.process];
        if is_blocked {
            let blocked =
                process.blocked.get_or_insert_with(|| Blocked { runtime: place.runtime, calls: 0, wakers: Vec::new() });
            blocked.calls += 1;
            return;
        }
        let Some(mut blocked) = process.blocked.take() else { return };
        blocked.calls -= 1;
        if blocked.calls > 0 {
            process.blocked = Some(blocked);
            return;
        }
        if let Life::Runs { since } = &mut process.life {
            // Nobody on it ran meanwhile.
            *since = now();
        }
        drop(processes);
        blocked.wakers.into_iter().for_each(Waker::wake);
    }

    fn began(&self, place: Place, task: AbortHandle) {
        let mut processes = locked(&self.processes);
        let tasks = processes[place.process].tasks.entry(place.runtime).or_default();
        tasks.retain(|task| !task.is_finished());
        tasks.push(task);
    }

    fn has_ended(&self, place: Place) -> bool {
        place.runtime != Place::BACKGROUND && place.runtime < locked(&self.processes)[place.process].callers
    }
}
