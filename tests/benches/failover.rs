//! How long nobody has a lock when the server that decides about it is replaced.
//!
//! `cargo bench -p redlock-tests --bench failover`
//!
//! Eight tasks of two managers want locks, each time of another name, and all of one server. Where replicas are waited for,
//! they want the same four names again and again. That server gives its place to a replica (*forced*), or is killed (*crash*).
//!
//! *Known* is when a new master takes writes, and a majority of the Sentinels, or the new master itself in a Cluster, says that
//! it is one; and, where replicas are waited for, so many follow it. What comes before is theirs. *Next* is when the first of
//! the tasks has a lock of the new master, *all* when each of the four names was had again. All of these count from the event;
//! *ours* is from *known* to *next*, and *pause* how long nobody had any lock.

use std::fmt::Write as _;
use std::time::Duration;

use redis::cmd;
use redlock_runtime::LockManager;
use redlock_tests::clock::monotonic_nanoseconds;
use redlock_tests::load::Held;
use redlock_tests::{Cluster, Load, RedisServer, Sentinel, sentinel};
use tokio::runtime::{Builder, Runtime};

/// How often each of them happens.
const REPETITIONS: usize = 5;

/// So many tasks want locks.
const TASKS: usize = 8;

/// How long the load runs before something happens, and behind it.
const AROUND: Duration = Duration::from_secs(2);

/// What happened, in nanoseconds of the machine's clock.
struct Event {
    began: u64,
    known: u64,
}

/// What came of it, from the event on.
struct Outcome {
    known: Duration,
    next: Duration,
    all: Duration,
    pause: Duration,
}

fn main() -> anyhow::Result<()> {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    println!("{:<20}{:>9}{:>9}{:>9}{:>9}{:>9}", "ms", "known", "next", "all", "ours", "pause");
    let names: Vec<_> = (0..4).map(|number| format!("{{tag}}name-{number}")).collect();

    let service = Sentinel::start();
    let fail_over = |replicas| {
        let order = || {
            let sentinel = service.sentinels()[0].probe();
            sentinel.run::<()>(cmd("SENTINEL").arg("FAILOVER").arg(sentinel::SERVICE)).is_ok()
        };
        let event = observe(order, &service.master().address(), || new_master(&service, replicas));
        (event, Box::new(|| service.wait_until_in_step()) as Box<dyn FnOnce()>)
    };
    let crash = |replicas| {
        let old = service.master();
        let event = observe(|| killed(old), &old.address(), || new_master(&service, replicas));
        let mend = || {
            old.restart();
            service.wait_until_in_step();
        };
        (event, Box::new(mend) as Box<dyn FnOnce()>)
    };
    let url = service.url();
    let apart = Load::start_apart;
    repeat(&runtime, "Sentinel, forced", apart, (&url, 0), &names, fail_over)?;
    repeat(&runtime, "Sentinel, crash", apart, (&url, 0), &names, crash)?;
    // Each of them: a replica that is not promoted goes on following the old master for a while.
    repeat(&runtime, "  forced, 2 replicas", Load::start, (&url, 2), &names, fail_over)?;
    repeat(&runtime, "  crash, 1 replica", Load::start, (&url, 1), &names, crash)?;
    drop(service);

    let cluster = Cluster::start();
    let slot = cluster.slot_of(&format!("redlock:ConfigurableLock.{}", names[0]));
    let fail_over = |replicas| {
        let old = cluster.owner(slot);
        let replica = cluster.replicas_of(old)[0];
        let order = || replica.probe().run::<()>(cmd("CLUSTER").arg("FAILOVER")).is_ok();
        let event = observe(order, &old.address(), || serves(replica, replicas));
        (event, Box::new(|| cluster.wait_until_ok()) as Box<dyn FnOnce()>)
    };
    let crash = |replicas| {
        let old = cluster.owner(slot);
        let replica = cluster.replicas_of(old)[0];
        let event = observe(|| killed(old), &old.address(), || serves(replica, replicas));
        let mend = || {
            old.restart();
            cluster.wait_until_ok();
        };
        (event, Box::new(mend) as Box<dyn FnOnce()>)
    };
    let url = cluster.url();
    repeat(&runtime, "Cluster, forced", apart, (&url, 0), &names, fail_over)?;
    repeat(&runtime, "Cluster, crash", apart, (&url, 0), &names, crash)?;
    repeat(&runtime, "  forced, 1 replica", Load::start, (&url, 1), &names, fail_over)?;
    Ok(())
}

/// Kills it; whether that is done.
fn killed(server: &RedisServer) -> bool {
    server.kill();
    !server.is_running()
}

fn managers(url: &str, replicas: usize) -> anyhow::Result<Vec<LockManager>> {
    let builder = LockManager::builder().nodes([url]);
    let builder = match replicas {
        0 => builder,
        _ => builder.wait_replicas(replicas, Duration::from_millis(100)),
    };
    (0..2).map(|_| Ok(builder.clone().build()?)).collect()
}

/// Has it happen under load again and again, and prints the medians and the worst.
fn repeat<'a>(
    runtime: &Runtime,
    what: &str,
    start: fn(&[LockManager], &[String], usize) -> Load,
    (url, replicas): (&str, usize),
    names: &[String],
    happens: impl Fn(usize) -> (Event, Box<dyn FnOnce() + 'a>),
) -> anyhow::Result<()> {
    let managers = managers(url, replicas)?;
    let mut outcomes = Vec::new();
    for _ in 0..REPETITIONS {
        let load = runtime.block_on(async { start(&managers, names, TASKS) });
        std::thread::sleep(AROUND);
        let (event, mend) = happens(replicas);
        std::thread::sleep(AROUND);
        let held = runtime.block_on(load.stop());
        mend();
        outcomes.push(outcome(&event, &held, names).ok_or_else(|| anyhow::anyhow!("{what}: no lock behind it"))?);
    }
    let figures: [fn(&Outcome) -> Duration; 5] = [
        |outcome| outcome.known,
        |outcome| outcome.next,
        |outcome| outcome.all,
        |outcome| outcome.next.saturating_sub(outcome.known),
        |outcome| outcome.pause,
    ];
    let mut median = format!("{what:<20}");
    let mut worst = format!("{:<20}", "  worst");
    for figure in figures {
        let mut figures: Vec<_> = outcomes.iter().map(figure).collect();
        figures.sort_unstable();
        write!(median, "{:>9}", figures[REPETITIONS / 2].as_millis())?;
        write!(worst, "{:>9}", figures[REPETITIONS - 1].as_millis())?;
    }
    println!("{median}\n{worst}");
    Ok(())
}

/// Lets it happen, and looks until another server is the master.
fn observe(happens: impl Fn() -> bool, old: &str, new: impl Fn() -> Option<String>) -> Event {
    let began = loop {
        let began = monotonic_nanoseconds();
        // NOGOODSLAVE: it has not heard of the replicas lately.
        if happens() {
            break began;
        }
    };
    while new().is_none_or(|new| new == old) {
        std::thread::sleep(Duration::from_millis(2));
    }
    Event { began, known: monotonic_nanoseconds() }
}

/// The address of the master that a majority of the Sentinels names, if it is one.
fn new_master(service: &Sentinel, replicas: usize) -> Option<String> {
    let named: Vec<String> = service
        .sentinels()
        .iter()
        .filter_map(|sentinel| {
            let mut question = cmd("SENTINEL");
            question.arg("GET-MASTER-ADDR-BY-NAME").arg(sentinel::SERVICE);
            let (host, port): (String, u16) = sentinel.probe().run(&question).ok()?;
            Some(format!("{host}:{port}"))
        })
        .collect();
    let is_majority = |name: &&String| named.iter().filter(|other| other == name).count() > named.len() / 2;
    let name = named.iter().find(is_majority)?;
    let server = service.servers().iter().find(|server| server.address() == *name)?;
    is_master(server, replicas).then(|| name.clone())
}

/// The address of a replica that became the master, if the cluster is well in its eyes.
fn serves(replica: &RedisServer, replicas: usize) -> Option<String> {
    let info: String = replica.probe().run(cmd("CLUSTER").arg("INFO")).ok()?;
    (is_master(replica, replicas) && info.contains("cluster_state:ok")).then(|| replica.address())
}

/// Whether it is a master that so many replicas follow.
fn is_master(server: &RedisServer, replicas: usize) -> bool {
    let info: redis::RedisResult<String> = server.probe().run(cmd("INFO").arg("replication"));
    info.is_ok_and(|info| info.contains("role:master") && info.matches("state=online").count() >= replicas)
}

fn outcome(event: &Event, held: &[Held], names: &[String]) -> Option<Outcome> {
    let since = |moment: u64| Duration::from_nanos(moment.saturating_sub(event.began));
    // The longest time in which none began, of those behind the event: what began before it ended was the old master's.
    let behind: Vec<_> = held.iter().filter(|held| held.begin + 100_000_000 > event.began).collect();
    let pairs = behind.windows(2).map(|pair| (pair[1].begin.saturating_sub(pair[0].end), pair[1].begin));
    let (pause, next) = pairs.max_by_key(|(pause, _)| *pause)?;
    let firsts = names.iter().map(|name| behind.iter().find(|held| held.name == *name && held.begin >= next));
    let all = firsts.map(|held| held.map(|held| held.begin)).collect::<Option<Vec<_>>>()?.into_iter().max()?;
    Some(Outcome { known: since(event.known), next: since(next), all: since(all), pause: Duration::from_nanos(pause) })
}
