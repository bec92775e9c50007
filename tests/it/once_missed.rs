//! Fires that nobody was there to run, made up for by the loop of the documentation: each runs once, and in order.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use redlock_runtime::{Error, Fire, LockManager, Run, Timeout};
use redlock_tests::clock::time_of_day;
use redlock_tests::wait::eventually_async;
use tokio::sync::Notify;

const HOUR: Duration = Duration::from_secs(60 * 60);

/// The hours that ran, and what keeps the first of them from its end.
#[derive(Default)]
struct Reports {
    ran: Mutex<Vec<SystemTime>>,
    failed: Mutex<Vec<SystemTime>>,
    /// The first run is under way, and may go on.
    begun: Notify,
    goes_on: Notify,
}

impl Reports {
    /// The first of all fails, when it may.
    async fn report(&self, due: SystemTime) -> Result<(), Error> {
        let is_first = {
            let mut failed = self.failed.lock().unwrap();
            let is_first = failed.is_empty();
            failed.extend(is_first.then_some(due));
            is_first
        };
        if is_first {
            self.begun.notify_one();
            self.goes_on.notified().await;
            return Err(Error::Config { reason: "no report".to_owned() });
        }
        self.ran.lock().unwrap().push(due);
        Ok(())
    }

    /// As the page about cron jobs has it.
    async fn run_what_is_due(
        &self,
        locks: &LockManager,
        first: SystemTime,
        now: SystemTime,
        timeout: Timeout,
    ) -> Result<(), Error> {
        let last = locks.last_run("hourly").await?.and_then(|last| last.moment());
        let mut due = last.map_or(first, |last| last + HOUR);
        while due <= now {
            let request = locks.lock("hourly").once(Fire::at(due)).timeout(timeout);
            let _: Run<()> = request.run(async |_| self.report(due).await).await?;
            due += HOUR;
        }
        Ok(())
    }
}

/// The hours of which each had a run that ended well, when two processes start at once while the first run fails, and the scheduler
/// of a third one fires two hours later.
async fn hours_that_ran(timeout: Timeout) -> (SystemTime, Vec<SystemTime>) {
    // Nodes of one name are one in a process, and the tests run at once.
    let nodes = ["a", "b", "c"].map(|node| format!("memory://missed-{node}-{timeout:?}"));
    let locks = LockManager::builder().nodes(nodes).build().unwrap();
    let now = time_of_day();
    let first = now - 5 * HOUR;
    let reports = Reports::default();
    let failing = reports.run_what_is_due(&locks, first, now - 2 * HOUR, timeout);
    let beside = async {
        reports.begun.notified().await;
        let left = AtomicU64::new(0);
        let leaving = async |until| {
            let ended = reports.run_what_is_due(&locks, first, until, timeout).await;
            left.fetch_add(1, Ordering::SeqCst);
            ended
        };
        let let_go = async {
            // Who waits stands in line, and who does not has left.
            eventually_async("both have asked", async || {
                locks.inspect("hourly").await.unwrap().waiting + left.load(Ordering::SeqCst) == 2
            })
            .await;
            reports.goes_on.notify_one();
        };
        let (starting, scheduled, ()) = futures::join!(leaving(now - 2 * HOUR), leaving(now), let_go);
        [starting, scheduled]
    };
    let (failed, others) = futures::join!(failing, beside);
    assert!(failed.is_err());
    assert!(others.iter().all(Result::is_ok), "{others:?}");
    let ran = reports.ran.into_inner().unwrap();
    (first, ran)
}

#[tokio::test]
async fn loops_that_wait_run_each_fire_once_and_in_order_although_one_of_them_fails() {
    let (first, ran) = Box::pin(hours_that_ran(Timeout::Forever)).await;
    assert_eq!(ran, (0..6).map(|hours| first + hours * HOUR).collect::<Vec<_>>());
}

#[tokio::test]
async fn loops_that_leave_lose_a_fire_that_fails_which_is_why_the_documented_one_waits() {
    let (first, ran) = Box::pin(hours_that_ran(Timeout::Skip)).await;
    assert!(!ran.contains(&first), "{ran:?}");
}
