//! How fast a lock goes from hand to hand, what that costs Redis, and how fair it is.
//!
//! `cargo bench -p redlock-tests --bench waiting`
//!
//! *Hand-over* is the time from the call of `release` to the moment at which a waiter has the lock, in the same process
//! and in another one. *Eight waiters* want one name again and again, hold it for 0 to 1 ms and then want it again: in one
//! process, in two processes of four, and in two of eight. Commands are those that clients sent to a node, not those that
//! scripts ran. Other processes are this program again.

use std::env;
use std::process::Command;
use std::time::Duration;

use redlock_runtime::LockManager;
use redlock_tests::clock::monotonic_nanoseconds;
use redlock_tests::{Program, Servers};
use tokio::runtime::Builder;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// Hand-overs of one figure.
const HAND_OVERS: usize = 400;
/// How long a crowd runs.
const CROWD: Duration = Duration::from_secs(3);

/// Makes this program a part of a benchmark: what it does.
const ROLE: &str = "REDLOCK_BENCHMARK_ROLE";

fn main() -> anyhow::Result<()> {
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    match env::var(ROLE).as_deref() {
        Ok("relay") => return runtime.block_on(relay()),
        Ok(tasks) => return runtime.block_on(crowd(tasks.parse()?)),
        Err(_) => {}
    }
    println!("hand-over, ms, p50/p99 of {HAND_OVERS}");
    println!("{:>3}  {:>16}  {:>16}", "N", "same process", "other process");
    for count in [1, 3, 5] {
        let servers = Servers::start(count);
        let same = runtime.block_on(within_process(&servers))?;
        let other = between_processes(&servers)?;
        println!("{count:>3}  {:>16}  {:>16}", percentiles(&same), percentiles(&other));
    }
    println!("\none name, held for 0 to 1 ms, for {CROWD:?}");
    println!(
        "{:>3}  {:>12}  {:>14}  {:>26}  {:>16}  {:>12}",
        "N", "waiters", "acquired per s", "commands per node and acq.", "fewest/most", "longest wait"
    );
    for (processes, tasks) in [(1, 8), (2, 4), (2, 8), (8, 2)] {
        for count in [1, 3, 5] {
            compete(&Servers::start(count), processes, tasks)?;
        }
    }
    Ok(())
}

fn manager(nodes: impl IntoIterator<Item = String>) -> anyhow::Result<LockManager> {
    Ok(LockManager::builder().nodes(nodes).build()?)
}

/// Two tasks that hand a lock to and fro.
async fn within_process(servers: &Servers) -> anyhow::Result<Vec<f64>> {
    let locks = manager(servers.urls())?;
    let mut tasks = JoinSet::new();
    let (noted, mut moments) = mpsc::unbounded_channel();
    for _ in 0..2 {
        let (locks, noted) = (locks.clone(), noted.clone());
        tasks.spawn(async move {
            for _ in 0..=HAND_OVERS / 2 {
                take_turn(&locks, |released, moment| noted.send((moment, released)).map_err(Into::into)).await?;
            }
            anyhow::Ok(())
        });
    }
    drop(noted);
    let mut all = Vec::new();
    while let Some(moment) = moments.recv().await {
        all.push(moment);
    }
    while let Some(task) = tasks.join_next().await {
        task??;
    }
    Ok(hand_overs(all))
}

/// Two processes that hand a lock to and fro.
fn between_processes(servers: &Servers) -> anyhow::Result<Vec<f64>> {
    let start = || start("relay", servers);
    let programs = [start()?, start()?];
    let mut all = Vec::new();
    for program in programs {
        for line in program.wait_within(Duration::from_secs(60)).lines {
            let (released, moment) = line.split_once(' ').expect("a relay says two words");
            all.push((moment.parse()?, released.parse()?));
        }
    }
    Ok(hand_overs(all))
}

fn start(role: &str, servers: &Servers) -> anyhow::Result<Program> {
    Ok(Program::start(Command::new(env::current_exe()?).env(ROLE, role).env("REDLOCK_NODES", servers.nodes())))
}

async fn relay() -> anyhow::Result<()> {
    let locks = LockManager::from_env()?;
    let mut noted = Vec::new();
    for _ in 0..=HAND_OVERS / 2 {
        take_turn(&locks, |released, moment| {
            noted.push((released, moment));
            Ok(())
        })
        .await?;
    }
    for (released, moment) in noted {
        println!("{released} {moment}");
    }
    locks.shutdown().await;
    Ok(())
}

/// Acquires, holds until the other surely waits, releases; notes when it got the lock and when it called `release`.
async fn take_turn(locks: &LockManager, mut note: impl FnMut(bool, u64) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let guard = locks.lock("relay").acquire().await?;
    note(false, monotonic_nanoseconds())?;
    sleep(Duration::from_millis(3)).await;
    note(true, monotonic_nanoseconds())?;
    guard.release().await?;
    // The other has it by now, and this one comes behind it.
    sleep(Duration::from_millis(1)).await;
    Ok(())
}

/// Milliseconds from each release to the acquisition behind it.
fn hand_overs(mut moments: Vec<(u64, bool)>) -> Vec<f64> {
    moments.sort_unstable();
    let pairs = moments.windows(2).filter(|pair| pair[0].1 && !pair[1].1);
    #[expect(clippy::cast_precision_loss, reason = "a few milliseconds")]
    let mut milliseconds: Vec<_> = pairs.map(|pair| (pair[1].0 - pair[0].0) as f64 / 1e6).collect();
    milliseconds.sort_by(f64::total_cmp);
    milliseconds
}

fn percentiles(milliseconds: &[f64]) -> String {
    let count = milliseconds.len();
    format!("{:.2}/{:.2}", milliseconds[count / 2], milliseconds[count * 99 / 100])
}

/// Some processes with some tasks each want one name.
fn compete(servers: &Servers, processes: usize, tasks: usize) -> anyhow::Result<()> {
    let before: u64 = commands(servers);
    let programs: Vec<_> = (0..processes).map(|_| start(&tasks.to_string(), servers)).collect::<anyhow::Result<_>>()?;
    let mut acquired = Vec::new();
    let mut longest = 0.0_f64;
    for program in programs {
        for line in program.wait_within(CROWD * 4).lines {
            let (count, wait) = line.split_once(' ').expect("each of a crowd says two words");
            acquired.push(count.parse::<u64>()?);
            longest = longest.max(wait.parse()?);
        }
    }
    let total: u64 = acquired.iter().sum();
    let commands = commands(servers) - before;
    let (fewest, most) = (acquired.iter().min().unwrap_or(&0), acquired.iter().max().unwrap_or(&0));
    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
    let (total, per_node) = (total as f64, commands as f64 / servers.len() as f64);
    println!(
        "{:>3}  {:>12}  {:>14.0}  {:>26.2}  {:>16}  {:>9.1} ms",
        servers.len(),
        format!("{processes} x {tasks}"),
        total / CROWD.as_secs_f64(),
        per_node / total,
        format!("{fewest}/{most}"),
        longest,
    );
    Ok(())
}

/// What clients have sent to all servers: scripts, and what makes servers report changes.
fn commands(servers: &Servers) -> u64 {
    let counts = servers.iter().map(|server| server.probe().command_counts());
    let sent = ["evalsha", "eval", "client|caching", "client|tracking"];
    counts.map(|counts| sent.iter().map(|command| counts.of(command)).sum::<u64>()).sum()
}

async fn crowd(tasks: usize) -> anyhow::Result<()> {
    let locks = LockManager::from_env()?;
    let until = monotonic_nanoseconds() + u64::try_from(CROWD.as_nanos())?;
    let mut running = JoinSet::new();
    for task in 0..tasks {
        let locks = locks.clone();
        running.spawn(async move {
            let (mut acquired, mut longest) = (0_u64, 0_u64);
            loop {
                let asked = monotonic_nanoseconds();
                if asked >= until {
                    return anyhow::Ok((acquired, longest));
                }
                let guard = locks.lock("crowd").acquire().await?;
                longest = longest.max(monotonic_nanoseconds() - asked);
                acquired += 1;
                // 0 to 1 ms, without the timer's precision of one.
                let end = monotonic_nanoseconds() + (acquired * 7 + task as u64 * 3) % 10 * 100_000;
                while monotonic_nanoseconds() < end {
                    tokio::task::yield_now().await;
                }
                guard.release().await?;
            }
        });
    }
    while let Some(task) = running.join_next().await {
        let (acquired, longest) = task??;
        #[expect(clippy::cast_precision_loss, reason = "a few seconds")]
        let milliseconds = longest as f64 / 1e6;
        println!("{acquired} {milliseconds}");
    }
    locks.shutdown().await;
    Ok(())
}
