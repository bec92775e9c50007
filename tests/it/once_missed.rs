//! Fires that nobody was there to run, made up for by the loop of the documentation: each runs once, and in order.

use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use redlock_runtime::{Error, Fire, LockManager, Run, Timeout};
use redlock_tests::clock::time_of_day;
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
    let locks = LockManager::builder().nodes(["memory://a", "memory://b", "memory://c"]).build().unwrap();
    let now = time_of_day();
    let first = now - 5 * HOUR;
    let reports = Reports::default();
    let failing = reports.run_what_is_due(&locks, first, now - 2 * HOUR, timeout);
    let beside = async {
        reports.begun.notified().await;
        let starting = reports.run_what_is_due(&locks, first, now - 2 * HOUR, timeout);
        let scheduled = reports.run_what_is_due(&locks, first, now, timeout);
        let let_go = async {
            // Both have asked: who waits stands in line, and who does not has left.
            for _ in 0..1_000 {
                tokio::task::yield_now().await;
            }
            reports.goes_on.notify_one();
        };
        let (starting, scheduled, ()) = futures::join!(starting, scheduled, let_go);
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
