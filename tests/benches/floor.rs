//! What a lock costs next to the two Redis commands underneath, in one run.
//!
//! `cargo bench -p redlock-tests --bench floor`
//!
//! *floor* is the least that a quorum lock can do: `SET NX PX`, then a compare-and-delete by EVALSHA, sent to all nodes
//! at once over one multiplexed connection each, done when a majority answered. *ours* is an acquisition and a release
//! with renewal on, as users have them. Both take turns in blocks, so that whatever else the machine does meets both.
//! Absolute figures do not carry to another machine; the ratio does.
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::future::poll_fn;
use std::hint::black_box;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{RedisResult, Value};
use redlock_runtime::LockManager;
use redlock_tests::Servers;
use tokio::runtime::{Builder, Runtime};
use uuid::Uuid;

/// How often both take turns.
const REPETITIONS: usize = 7;
/// Cycles of a single task in one turn.
const CYCLES: usize = 1500;
/// Tasks of the concurrent runs, each with a name of its own.
const TASKS: usize = 64;
/// Cycles of each of these tasks in one turn.
const CYCLES_PER_TASK: usize = 60;

const TTL: Duration = Duration::from_secs(30);
const DELETE_IF_OURS: &str =
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0";

fn main() {
    let runtime = Builder::new_multi_thread().enable_all().build().expect("a runtime can be built");
    println!("one task: acquire + release, µs; {TASKS} tasks on {TASKS} names: cycles per second");
    println!("{REPETITIONS} turns of each; ratio = ours / floor, min median max over the turns\n");
    println!(
        "{:>3}  {:>15}  {:>15}  {:>20}    {:>8}  {:>8}  {:>20}",
        "N", "floor p50/p99", "ours p50/p99", "ratio of p50", "floor", "ours", "ratio of throughput"
    );
    for count in [1, 3, 5] {
        compare(&runtime, count);
    }
    println!("\nfencing on / off: ratio of p50 of one task, ratio of throughput of {TASKS}");
    for count in [1, 3, 5] {
        switch_fencing_off(&runtime, count);
    }
    hang_one(&runtime);
}

/// One of five nodes hangs: next to the same locks while all are well, in turns.
fn hang_one(runtime: &Runtime) {
    let servers = Servers::start(5);
    let locks = LockManager::builder().nodes(servers.urls()).build().expect("these nodes make a manager");
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
    let floor = runtime.block_on(Floor::connect(&servers));
    let locks = LockManager::builder().nodes(servers.urls()).build().expect("these nodes make a manager");
    let single = Turns::take(|| single_task(runtime, &floor), || single_task(runtime, &locks));
    let many = Turns::take(|| many_tasks(runtime, &floor), || many_tasks(runtime, &locks));
    let latency = |turns: &[Latency]| {
        let p50 = median(turns.iter().map(|turn| turn.p50));
        let p99 = median(turns.iter().map(|turn| turn.p99));
        format!("{p50:.0}/{p99:.0}")
    };
    println!(
        "{count:>3}  {:>15}  {:>15}  {:>20}    {:>8.0}  {:>8.0}  {:>20}",
        latency(&single.floor),
        latency(&single.ours),
        spread(single.floor.iter().zip(&single.ours).map(|(floor, ours)| ours.p50 / floor.p50)),
        median(many.floor.iter().copied()),
        median(many.ours.iter().copied()),
        spread(many.floor.iter().zip(&many.ours).map(|(floor, ours)| ours / floor)),
    );
}

/// The same locks with fencing tokens and without.
fn switch_fencing_off(runtime: &Runtime, count: usize) {
    let servers = Servers::start(count);
    let builder = || LockManager::builder().nodes(servers.urls());
    let off = builder().fencing(false).build().expect("these nodes make a manager");
    let on = builder().build().expect("these nodes make a manager");
    let single = Turns::take(|| single_task(runtime, &off), || single_task(runtime, &on));
    let many = Turns::take(|| many_tasks(runtime, &off), || many_tasks(runtime, &on));
    println!(
        "{count:>3}  {:>20}  {:>20}",
        spread(single.floor.iter().zip(&single.ours).map(|(off, on)| on.p50 / off.p50)),
        spread(many.floor.iter().zip(&many.ours).map(|(off, on)| on / off)),
    );
}

/// What both did in their turns.
struct Turns<T> {
    floor: Vec<T>,
    ours: Vec<T>,
}

impl<T> Turns<T> {
    fn take(mut floor: impl FnMut() -> T, mut ours: impl FnMut() -> T) -> Self {
        // The first turn of each connects and warms up.
        black_box((floor(), ours()));
        let mut turns = Self { floor: Vec::new(), ours: Vec::new() };
        for _ in 0..REPETITIONS {
            turns.floor.push(floor());
            turns.ours.push(ours());
        }
        turns
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

fn many_tasks(runtime: &Runtime, locks: &impl Cycle) -> f64 {
    let began = Instant::now();
    runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..TASKS {
            let locks = locks.clone();
            tasks.spawn(async move {
                let name = format!("name-{task}");
                for _ in 0..CYCLES_PER_TASK {
                    locks.cycle(&name).await;
                }
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.expect("no cycle panics");
        }
    });
    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
    let cycles = (TASKS * CYCLES_PER_TASK) as f64;
    cycles / began.elapsed().as_secs_f64()
}

impl Cycle for LockManager {
    async fn cycle(&self, name: &str) {
        let guard = self.lock(name).ttl(TTL).acquire().await.expect("nobody else wants this lock");
        guard.release().await.expect("the lock is held");
    }
}

/// The two commands by hand.
#[derive(Clone)]
struct Floor {
    connections: Vec<MultiplexedConnection>,
    hash: String,
}

impl Floor {
    async fn connect(servers: &Servers) -> Self {
        let script = redis::Script::new(DELETE_IF_OURS);
        let mut connections = Vec::new();
        for url in servers.urls() {
            let client = redis::Client::open(url).expect("the harness gives good URLs");
            // Above the number of tasks: a request that has to queue for the connection may be sent behind the next.
            let config = redis::AsyncConnectionConfig::new().set_pipeline_buffer_size(1024);
            let connection = client.get_multiplexed_async_connection_with_config(&config).await;
            let mut connection = connection.expect("the server is up");
            script.prepare_invoke().load_async(&mut connection).await.expect("the script loads");
            connections.push(connection);
        }
        Self { connections, hash: script.get_hash().to_owned() }
    }

    /// Sends a command to all, and returns when a majority did it; the others are seen through by a task.
    ///
    /// Every request is polled in the order of the nodes before this returns: one that was not might be sent behind
    /// the command that follows it.
    async fn at_majority(&self, command: redis::Cmd) {
        let majority = self.connections.len() / 2 + 1;
        let mut requests: Vec<_> = self.connections.iter().map(|node| send(node.clone(), command.clone())).collect();
        let mut done = 0;
        poll_fn(|cx| {
            done += poll_each(&mut requests, cx);
            if done >= majority { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        if !requests.is_empty() {
            tokio::spawn(poll_fn(move |cx| {
                poll_each(&mut requests, cx);
                if requests.is_empty() { Poll::Ready(()) } else { Poll::Pending }
            }));
        }
    }
}

type Request = Pin<Box<dyn Future<Output = RedisResult<Value>> + Send>>;

fn send(mut connection: MultiplexedConnection, command: redis::Cmd) -> Request {
    // Unconstrained: a task that has used up its budget would not send with its first poll.
    Box::pin(tokio::task::unconstrained(async move { connection.send_packed_command(&command).await }))
}

/// Polls each request; returns how many of them are done, and forgets those.
fn poll_each(requests: &mut Vec<Request>, cx: &mut Context<'_>) -> usize {
    let before = requests.len();
    requests.retain_mut(|request| match request.as_mut().poll(cx) {
        Poll::Ready(answer) => {
            let answer = answer.expect("the server is well");
            assert!(matches!(answer, Value::Okay | Value::Int(1)), "{answer:?}");
            false
        }
        Poll::Pending => true,
    });
    before - requests.len()
}

impl Cycle for Floor {
    async fn cycle(&self, name: &str) {
        let key = format!("floor:{name}");
        let owner = Uuid::new_v4().to_string();
        let mut set = redis::cmd("SET");
        set.arg(&key).arg(&owner).arg("NX").arg("PX").arg(30_000);
        self.at_majority(set).await;
        let mut delete = redis::cmd("EVALSHA");
        delete.arg(&self.hash).arg(1).arg(&key).arg(&owner);
        self.at_majority(delete).await;
    }
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
