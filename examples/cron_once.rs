//! Jobs of tokio-cron-scheduler: two workers fire each job, and each fire runs once.
//!
//! Each worker has a scheduler and a lock manager of its own, as on a machine of its own, and the clock of the second is behind
//! by 50, 175 or 300 ms. A run takes 100 ms, so the second worker comes while the first runs, and stands by, or comes when that
//! is over; both times it says that the fire already ran. The third run fails, and the other worker makes up for it. It takes
//! some ten seconds.
//!
//! With Redis masters in `REDLOCK_NODES`, start it in several terminals: each fire runs once in all of them. Masters that were
//! started less than three minutes ago cannot know whether a fire ran; until then the workers say that it is in doubt.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use redlock_runtime::{Error, LockManager, redlock};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::time::sleep;
use tokio_cron_scheduler::{Job, JobScheduler};

/// How many fires are shown.
const FIRES: u32 = 5;

/// One machine.
struct Worker {
    number: u32,
    locks: LockManager,
    /// How many fires its scheduler had.
    fires: AtomicU32,
    /// Where it tells what became of each.
    told: UnboundedSender<Result<(), JobError>>,
}

/// Why a job did not run, or not to its end.
enum JobError {
    /// The other worker ran it.
    AlreadyRan,
    /// Whoever stands by makes up for it.
    Failed(String),
}

impl From<Error> for JobError {
    fn from(error: Error) -> Self {
        match error {
            Error::AlreadyRan { .. } => Self::AlreadyRan,
            other => Self::Failed(other.to_string()),
        }
    }
}

/// How many runs began, of both workers.
static RUNS: AtomicU32 = AtomicU32::new(0);

// A scheduler tells its jobs no moment that a fire is scheduled for, so the fire is a period: calls less than half of it apart
// are one fire. Whoever does not get the lock stands by for a second.
#[redlock(name = "cleanup", once = "2s", timeout = 1, manager = &worker.locks)]
async fn cleanup(worker: &Worker) -> Result<(), JobError> {
    println!("worker {}: runs", worker.number);
    sleep(Duration::from_millis(100)).await;
    if RUNS.fetch_add(1, Ordering::Relaxed) == 2 {
        return Err(JobError::Failed("failed, the disk is full".to_owned()));
    }
    Ok(())
}

/// What a scheduler calls.
async fn fire(worker: Arc<Worker>) {
    let fire = worker.fires.fetch_add(1, Ordering::Relaxed);
    let behind = if worker.number == 1 { 0 } else { 50 + 125 * (fire % 3) };
    sleep(Duration::from_millis(behind.into())).await;
    let ended = cleanup(&worker).await;
    match &ended {
        Ok(()) => println!("worker {}: done", worker.number),
        Err(JobError::AlreadyRan) => println!("worker {}: already ran ({behind} ms behind)", worker.number),
        Err(JobError::Failed(why)) => println!("worker {}: {why}", worker.number),
    }
    // Nobody counts any more when enough was shown.
    let _ = worker.told.send(ended);
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt::init();
    let builder = if std::env::var_os("REDLOCK_NODES").is_some() {
        LockManager::builder_from_env()?
    } else {
        println!("REDLOCK_NODES is not set: using three memory:// nodes, which only this process sees");
        LockManager::builder().nodes(["memory://a", "memory://b", "memory://c"])
    };

    let (told, mut heard) = unbounded_channel();
    let (mut managers, mut schedulers) = (Vec::new(), Vec::new());
    for number in [1, 2] {
        let (locks, told) = (builder.clone().build()?, told.clone());
        managers.push(locks.clone());
        let worker = Arc::new(Worker { number, locks, fires: AtomicU32::new(0), told });
        let scheduler = JobScheduler::new().await?;
        let job = Job::new_async("*/2 * * * * *", move |_, _| Box::pin(fire(Arc::clone(&worker))))?;
        scheduler.add(job).await?;
        schedulers.push(scheduler);
    }
    for scheduler in &schedulers {
        scheduler.start().await?;
    }

    let (mut runs, mut already_ran, mut failed) = (0, 0, 0);
    for _ in 0..2 * FIRES {
        match heard.recv().await {
            Some(Ok(())) => runs += 1,
            Some(Err(JobError::AlreadyRan)) => already_ran += 1,
            _ => failed += 1,
        }
    }
    println!("{FIRES} fires at 2 workers: {runs} ran, {already_ran} already ran, {failed} did not run to their end");
    for mut scheduler in schedulers {
        scheduler.shutdown().await?;
    }
    for locks in managers {
        locks.shutdown().await;
    }
    Ok(())
}
