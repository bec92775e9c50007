//! A cron job that fires on several machines and runs on one of them.
//!
//! Two workers fire at once: one gets the lock and writes the report, the other is skipped. With Redis masters in
//! `REDLOCK_NODES`, start it in two terminals together: of the four workers, again one writes the report. An argument
//! says how many seconds that takes (2).

use std::time::Duration;

use redlock_runtime::{LockManager, redlock};

/// What the job returns when it runs.
struct Report {
    rows: u32,
}

#[redlock(name = "nightly-report", timeout = -1, silent)]
async fn nightly_report(worker: &str, work: Duration) -> Option<Report> {
    println!("{worker}: got the lock, writes the report for {work:?}");
    tokio::time::sleep(work).await;
    Some(Report { rows: 365 })
}

/// What cron does on each machine.
async fn fire(number: u32, work: Duration) {
    let worker = format!("process {}, worker {number}", std::process::id());
    match nightly_report(&worker, work).await {
        Some(report) => println!("{worker}: done, the report has {} rows", report.rows),
        None => println!("{worker}: skipped, did not get the lock"),
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

    let seconds = std::env::args().nth(1).map_or(Ok(2), |argument| argument.parse())?;
    let work = Duration::from_secs(seconds);
    let workers = [1, 2].map(|number| tokio::spawn(fire(number, work)));
    for worker in workers {
        worker.await?;
    }
    // Waits for releases that are on their way; the process would end before they are sent.
    locks.shutdown().await;
    Ok(())
}
