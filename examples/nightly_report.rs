//! A cron job that fires on several machines and of which each fire runs once, on one of them.
//!
//! Three workers: two fire together, of which one writes the report while the other stands by, and the third, whose clock is
//! behind, fires when the report is done. The others say that it already ran. With Redis masters in `REDLOCK_NODES`, start it in
//! two terminals together: of the six workers, again one writes the report. Started once more within half a day, none does.
//!
//! Masters that were started less than half a day ago cannot know whether the report was written today, and the job does not
//! run: the argument `new`, of one of the processes, says that it never ran. A number says how many seconds the report takes (2).

use std::time::Duration;

use redlock_runtime::{Error, LockManager, redlock};
use tokio::time::sleep;

/// What the job returns when it runs.
struct Report {
    rows: u32,
}

#[redlock(name = "nightly-report", once = "1d", timeout = "10s")]
async fn nightly_report(worker: &str, work: Duration) -> Result<Report, Error> {
    println!("{worker}: got the lock, writes the report for {work:?}");
    sleep(work).await;
    Ok(Report { rows: 365 })
}

/// What cron does on each machine; the clock of some is behind.
async fn fire(number: u32, behind: Duration, work: Duration) {
    let worker = format!("process {}, worker {number}", std::process::id());
    sleep(behind).await;
    match nightly_report(&worker, work).await {
        Ok(report) => println!("{worker}: done, the report has {} rows", report.rows),
        Err(Error::AlreadyRan { .. }) => println!("{worker}: skipped, it already ran"),
        // It says by itself which nodes cannot know.
        Err(error @ Error::FireInDoubt { .. }) => println!("{worker}: {error}"),
        // With what caused it: which nodes did not answer, and why.
        Err(error) => println!("{worker}: {:#}", anyhow::Error::from(error)),
    }
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
    let locks = builder.build()?;
    locks.install()?;

    let mut work = Duration::from_secs(2);
    for argument in std::env::args().skip(1) {
        if argument == "new" {
            locks.reset_marks("nightly-report").await?;
        } else {
            work = Duration::from_secs(argument.parse()?);
        }
    }
    let late = work + Duration::from_millis(500);
    let fires = [(1, Duration::ZERO), (2, Duration::ZERO), (3, late)];
    let workers = fires.map(|(number, behind)| tokio::spawn(fire(number, behind, work)));
    for worker in workers {
        worker.await?;
    }
    // Waits for releases that are on their way; the process would end before they are sent.
    locks.shutdown().await;
    Ok(())
}
