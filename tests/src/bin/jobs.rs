//! A process with cron jobs that many processes have: each of its fires is to run once, by any of them.
//!
//! `jobs names=10 fires=10 first_ms=… period_ms=8000 ahead_ms=-1500 seed=7`, with the nodes in `REDLOCK_NODES`. Job `n` is due
//! at `first_ms` (since 1970), a share of the period later than job `n - 1`, and then once a period; it is called by a clock that is `ahead_ms` ahead, up to
//! 300 ms before or after that clock shows it. It prints a line per event, each with the machine's monotonic time: `start`, `end` (of a
//! body), `done` (its completion is confirmed), `not-done`, `already`, `doubt`, `not-acquired`, `error`.

use std::collections::HashMap;
use std::env;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use redlock_runtime::{Error, Fire, LockManager};
use redlock_tests::clock::{monotonic_nanoseconds, time_of_day};
use tokio::time::sleep;

/// How long a key outlives a process that was killed.
const TTL: Duration = Duration::from_secs(1);

/// What clocks may differ by, jitter included.
const SKEW: Duration = Duration::from_secs(5);

/// How far from its moment a job is called, at most, in milliseconds.
const JITTER: i64 = 300;

#[derive(Clone, Copy)]
struct Jobs {
    names: u64,
    fires: u64,
    first: i64,
    period: i64,
    ahead: i64,
    seed: u64,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: HashMap<String, i64> = env::args()
        .skip(1)
        .filter_map(|argument| {
            argument.split_once('=').and_then(|(key, value)| Some((key.to_owned(), value.parse().ok()?)))
        })
        .collect();
    let number = |name: &str| arguments.get(name).copied().with_context(|| format!("`{name}=NUMBER` is missing"));
    let count = |name: &str| anyhow::Ok(u64::try_from(number(name)?)?);
    let jobs = Jobs {
        names: count("names")?,
        fires: count("fires")?,
        first: number("first_ms")?,
        period: number("period_ms")?,
        ahead: number("ahead_ms")?,
        seed: count("seed")?,
    };
    let nodes = env::var("REDLOCK_NODES")?;
    let ahead = Duration::from_millis(jobs.ahead.unsigned_abs());
    let clock = move || if jobs.ahead < 0 { time_of_day() - ahead } else { time_of_day() + ahead };
    let locks = LockManager::builder()
        .nodes(nodes.split(','))
        .ttl(TTL)
        .longest_ttl(2 * TTL)
        .max_clock_skew(SKEW)
        .time_of_day(clock)
        .build()?;
    let tasks: Vec<_> = (0..jobs.names).map(|name| tokio::spawn(run(locks.clone(), jobs, name))).collect();
    for task in tasks {
        task.await?;
    }
    locks.shutdown().await;
    Ok(())
}

/// What the clock of this process shows, in milliseconds since 1970.
fn shown(jobs: Jobs) -> i64 {
    let now = time_of_day().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX) + jobs.ahead
}

async fn run(locks: LockManager, jobs: Jobs, name: u64) {
    let job = format!("job-{name}");
    for fire in 0..jobs.fires {
        let offset = i64::try_from(fire).unwrap_or(0) * jobs.period;
        let due = jobs.first
            + offset
            + jobs.period * i64::try_from(name).unwrap_or(0) / i64::try_from(jobs.names).unwrap_or(1);
        if due + JITTER < shown(jobs) {
            // It was due before this process began.
            continue;
        }
        let moment = due + jitter(jobs.seed, name, fire);
        sleep(Duration::from_millis(u64::try_from(moment - shown(jobs)).unwrap_or(0))).await;
        let tell = |what: &str| println!("{} {what} {job} {fire}", monotonic_nanoseconds());
        let planned = SystemTime::UNIX_EPOCH + Duration::from_millis(due.unsigned_abs());
        let patience = Duration::from_millis(jobs.period.unsigned_abs() / 2);
        let guard = match locks.lock(&job).once(Fire::at(planned)).timeout(patience).acquire().await {
            Ok(guard) => guard,
            Err(error) => {
                match error {
                    Error::AlreadyRan { .. } => tell("already"),
                    Error::FireInDoubt { .. } => tell("doubt"),
                    Error::NotAcquired { .. } | Error::QuorumUnreachable { .. } => tell("not-acquired"),
                    error => tell(&format!("error:{}", error.to_string().replace(' ', "_"))),
                }
                continue;
            }
        };
        tell("start");
        sleep(Duration::from_millis(5 + jobs.seed % 20)).await;
        if !guard.is_valid() {
            tell("lost");
            continue;
        }
        tell("end");
        match guard.complete().await {
            Ok(()) => tell("done"),
            Err(_) => tell("not-done"),
        }
    }
}

/// Between minus and plus [`JITTER`].
fn jitter(seed: u64, name: u64, fire: u64) -> i64 {
    let mixed = (seed * 1_000_003 + name * 10_007 + fire).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
    i64::try_from(mixed % 601).unwrap_or(0) - JITTER
}
