//! What a lock costs next to the two Redis commands underneath, in one run.
//!
//! `cargo bench -p redlock-tests --bench floor`
//!
//! *floor* is the least that a quorum lock can do: `SET NX PX`, then a compare-and-delete by EVALSHA, sent to all nodes
//! at once over one multiplexed connection each, done when a majority answered. *fenced floor* does the same with the scripts
//! of the runtime and the arguments that it sends. *ours* is an acquisition and a release with renewal on, as users have
//! them. All take turns in blocks, so that whatever else the machine does meets all. Absolute figures do not carry to
//! another machine; the ratio does.
//!
//! `cargo bench -p redlock-tests --bench floor -- alone ours 3 64 2000` runs one of them by itself (`floor`, `fenced-floor`,
//! `ours`, `unfenced`, `memory`), on so many nodes, with so many tasks, for so many cycles of each, and says how much processor
//! time the client and the servers took for a cycle; made for a profiler to look at.
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

mod by_hand;
mod processor;

use std::env;
use std::hint::black_box;
use std::time::{Duration, Instant};

use redlock_runtime::LockManager;
use redlock_tests::Servers;
use tokio::runtime::{Builder, Runtime};

use self::by_hand::Floor;

/// How often all take turns.
const REPETITIONS: usize = 7;
/// Cycles of a single task in one turn.
const CYCLES: usize = 1500;
/// Tasks of the concurrent runs, each with a name of its own.
const TASKS: usize = 64;
/// Cycles of each of these tasks in one turn.
const CYCLES_PER_TASK: usize = 60;

const TTL: Duration = Duration::from_secs(30);

fn main() {
    let runtime = Builder::new_multi_thread().enable_all().build().expect("a runtime can be built");
    let arguments: Vec<_> = env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [mode, what, figures @ ..] = arguments.as_slice()
        && mode == "alone"
    {
        let figures: Vec<usize> = figures.iter().map(|figure| figure.parse().expect("a number")).collect();
        let [nodes, tasks, cycles] = figures[..] else { panic!("how many nodes, tasks, and cycles of each?") };
        return alone(&runtime, what, nodes, (tasks, cycles));
    }
    println!("one task: acquire + release, µs; {TASKS} tasks on {TASKS} names: cycles per second");
    println!("{REPETITIONS} turns of each; ratios are min median max over the turns\n");
    println!(
        "{:>3}  {:>12}  {:>10}  {:>20}    {:>8}  {:>20}  {:>20}",
        "N", "", "p50/p99", "p50 / floor", "per s", "/ floor", "/ fenced floor"
    );
    for count in [1, 3, 5] {
        compare(&runtime, count);
    }
    hang_one(&runtime);
}

/// One by itself.
fn alone(runtime: &Runtime, what: &str, nodes: usize, (tasks, cycles): (usize, usize)) {
    let servers = Servers::start(if what == "memory" { 0 } else { nodes });
    match what {
        "floor" => measure(runtime, &servers, &runtime.block_on(Floor::plain(&servers)), (tasks, cycles)),
        "fenced-floor" => measure(runtime, &servers, &runtime.block_on(Floor::fenced(&servers)), (tasks, cycles)),
        "ours" => measure(runtime, &servers, &ours(servers.urls(), true), (tasks, cycles)),
        "unfenced" => measure(runtime, &servers, &ours(servers.urls(), false), (tasks, cycles)),
        "memory" => {
            let nodes = (0..nodes).map(|_| "memory://".to_owned());
            measure(runtime, &servers, &ours(nodes, true), (tasks, cycles));
        }
        other => panic!("{other:?} is nothing that can be measured"),
    }
}

fn measure(runtime: &Runtime, servers: &Servers, locks: &impl Cycle, (tasks, cycles): (usize, usize)) {
    // Connects, and starts what is started once.
    runtime.block_on(locks.cycle("first"));
    let used = || (processor::time_of("self"), servers.iter().map(|server| processor::time_of(server.pid())).sum());
    let (client_before, servers_before): (Duration, Duration) = used();
    let per_second = many_tasks(runtime, locks, (tasks, cycles));
    let (client, servers) = used();
    #[expect(clippy::cast_precision_loss, reason = "a few million")]
    let per_cycle = |time: Duration| time.as_secs_f64() * 1e6 / (tasks * cycles) as f64;
    println!(
        "{per_second:.0} cycles per second; µs of processor time per cycle: client {:.1}, servers {:.1}",
        per_cycle(client.saturating_sub(client_before)),
        per_cycle(servers.saturating_sub(servers_before)),
    );
}

fn ours(nodes: impl IntoIterator<Item = String>, is_fenced: bool) -> LockManager {
    LockManager::builder().nodes(nodes).fencing(is_fenced).build().expect("these nodes make a manager")
}

/// One of five nodes hangs: next to the same locks while all are well, in turns.
fn hang_one(runtime: &Runtime) {
    let servers = Servers::start(5);
    let locks = ours(servers.urls(), true);
    let hung = || {
        servers[2].hang();
        let latency = single_task(runtime, &locks);
        servers[2].resume();
        latency
    };
    // A turn of each first, in which the hung node is found out.
    black_box((single_task(runtime, &locks), hung()));
    let turns: Vec<_> = (0..REPETITIONS).map(|_| (single_task(runtime, &locks), hung())).collect();
    println!(
        "\none of five hung: p50 {:.0} µs, all well {:.0} µs; ratio of p50 {}, of p99 {}",
        median(turns.iter().map(|(_, hung)| hung.p50)),
        median(turns.iter().map(|(well, _)| well.p50)),
        spread(turns.iter().map(|(well, hung)| hung.p50 / well.p50)),
        spread(turns.iter().map(|(well, hung)| hung.p99 / well.p99)),
    );
}

fn compare(runtime: &Runtime, count: usize) {
    let servers = Servers::start(count);
    let mut contenders = [
        Contender::new(runtime, "floor", runtime.block_on(Floor::plain(&servers))),
        Contender::new(runtime, "fenced floor", runtime.block_on(Floor::fenced(&servers))),
        Contender::new(runtime, "ours", ours(servers.urls(), true)),
        Contender::new(runtime, "unfenced", ours(servers.urls(), false)),
    ];
    for turn in 0..=REPETITIONS {
        for contender in &mut contenders {
            let latency = (contender.single)();
            // The first turn of each connects and warms up.
            if turn > 0 {
                contender.latencies.push(latency);
            }
        }
    }
    for turn in 0..=REPETITIONS {
        for contender in &mut contenders {
            let rate = (contender.many)();
            if turn > 0 {
                contender.rates.push(rate);
            }
        }
    }
    let [floor, fenced, ..] = &contenders;
    for contender in &contenders {
        let Contender { label, latencies, rates, .. } = contender;
        let p50 = median(latencies.iter().map(|latency| latency.p50));
        let p99 = median(latencies.iter().map(|latency| latency.p99));
        println!(
            "{count:>3}  {label:>12}  {:>10}  {:>20}    {:>8.0}  {:>20}  {:>20}",
            format!("{p50:.0}/{p99:.0}"),
            spread(latencies.iter().zip(&floor.latencies).map(|(ours, floor)| ours.p50 / floor.p50)),
            median(rates.iter().copied()),
            spread(rates.iter().zip(&floor.rates).map(|(ours, floor)| ours / floor)),
            spread(rates.iter().zip(&fenced.rates).map(|(ours, fenced)| ours / fenced)),
        );
    }
}

/// One way to lock, and what it did in its turns.
struct Contender<'a> {
    label: &'static str,
    /// A turn of a single task.
    single: Box<dyn FnMut() -> Latency + 'a>,
    /// A turn of many tasks; their cycles per second.
    many: Box<dyn FnMut() -> f64 + 'a>,
    latencies: Vec<Latency>,
    rates: Vec<f64>,
}

impl<'a> Contender<'a> {
    fn new(runtime: &'a Runtime, label: &'static str, locks: impl Cycle) -> Self {
        let others = locks.clone();
        let single = Box::new(move || single_task(runtime, &locks));
        let many = Box::new(move || many_tasks(runtime, &others, (TASKS, CYCLES_PER_TASK)));
        Self { label, single, many, latencies: Vec::new(), rates: Vec::new() }
    }
}

/// Microseconds of one cycle.
struct Latency {
    p50: f64,
    p99: f64,
}

/// What can do a cycle of acquire and release.
trait Cycle: Clone + Send + Sync + 'static {
    fn cycle(&self, name: &str) -> impl Future<Output = ()> + Send;
}

impl Cycle for LockManager {
    async fn cycle(&self, name: &str) {
        let guard = self.lock(name).ttl(TTL).acquire().await.expect("nobody else wants this lock");
        guard.release().await.expect("the lock is held");
    }
}

fn single_task(runtime: &Runtime, locks: &impl Cycle) -> Latency {
    let locks = locks.clone();
    let run = async move {
        let mut micros = Vec::with_capacity(CYCLES);
        for _ in 0..CYCLES {
            let began = Instant::now();
            locks.cycle("one").await;
            micros.push(began.elapsed().as_secs_f64() * 1e6);
        }
        micros
    };
    // As a task of the runtime, where a user's code runs too.
    let mut micros = runtime.block_on(async { tokio::spawn(run).await }).expect("no cycle panics");
    micros.sort_by(f64::total_cmp);
    Latency { p50: micros[CYCLES / 2], p99: micros[CYCLES * 99 / 100] }
}

/// So many tasks do so many cycles each; returns how many that were per second.
fn many_tasks(runtime: &Runtime, locks: &impl Cycle, (tasks, cycles): (usize, usize)) -> f64 {
    let began = Instant::now();
    runtime.block_on(async {
        let mut running = tokio::task::JoinSet::new();
        for task in 0..tasks {
            let locks = locks.clone();
            running.spawn(async move {
                let name = format!("name-{task}");
                for _ in 0..cycles {
                    locks.cycle(&name).await;
                }
            });
        }
        while let Some(done) = running.join_next().await {
            done.expect("no cycle panics");
        }
    });
    #[expect(clippy::cast_precision_loss, reason = "a few million")]
    let done = (tasks * cycles) as f64;
    done / began.elapsed().as_secs_f64()
}

fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn spread(ratios: impl Iterator<Item = f64> + Clone) -> String {
    let lowest = ratios.clone().fold(f64::INFINITY, f64::min);
    let highest = ratios.clone().fold(0.0, f64::max);
    format!("{lowest:.2} {:.2} {highest:.2}", median(ratios))
}
