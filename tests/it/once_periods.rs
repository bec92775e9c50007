//! Periods of jobs by the clocks of several machines, over years of virtual time.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use redlock_runtime::{Error, Fire, InDoubt, LockManager, Run, SkipReason, Timeout};
use redlock_tests::Servers;
use tokio::time::{Instant, sleep};

use crate::common::unhurried;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a body takes.
const QUICK: Duration = Duration::from_millis(5);

/// A machine whose clock shows so many milliseconds more than it is.
fn machine(test: &str, began: Instant, ahead: i64) -> LockManager {
    let nodes = ["a", "b", "c"].map(|node| format!("memory://periods-{test}-{node}"));
    let clock = move || time_of_day(began, ahead);
    LockManager::builder().nodes(nodes).time_of_day(clock).build().unwrap()
}

/// When virtual time begins: a midnight of 2027.
const MIDNIGHT: Duration = Duration::from_secs(1_798_848_000);

fn time_of_day(began: Instant, ahead: i64) -> SystemTime {
    let offset = Duration::from_millis(ahead.unsigned_abs());
    let now = SystemTime::UNIX_EPOCH + MIDNIGHT + began.elapsed();
    if ahead < 0 { now - offset } else { now + offset }
}

/// Calls the job now.
async fn call(locks: &LockManager, period: Duration) -> Run<()> {
    let request = locks.lock("job").once(period).timeout(Timeout::Skip);
    let body = async |_: &redlock_runtime::LockGuard| {
        sleep(QUICK).await;
        Ok::<_, Error>(())
    };
    request.run(body).await.unwrap()
}

#[expect(clippy::disallowed_methods, reason = "the clock that is paused")]
fn now() -> Instant {
    Instant::now()
}

/// How many of so many fires ran, and how many a second time, when two machines call the job whenever their clocks show
/// `first`, and then every period.
async fn run_all(test: &str, first: Duration, period: Duration, ahead: [i64; 2], fires: u32) -> (u32, u32) {
    let began = now();
    let machines = ahead.map(|ahead| (machine(test, began, ahead), ahead));
    let (mut once, mut again) = (0, 0);
    for fire in 0..fires {
        let due = first + period * fire;
        let calls = machines.iter().map(|(locks, ahead)| async move {
            let due = SystemTime::UNIX_EPOCH + MIDNIGHT + due;
            sleep(due.duration_since(time_of_day(began, *ahead)).unwrap_or_default()).await;
            matches!(call(locks, period).await, Run::Ran(()))
        });
        let ran = futures::future::join_all(calls).await.into_iter().filter(|ran| *ran).count();
        once += u32::from(ran > 0);
        again += u32::from(ran > 1);
    }
    (once, again)
}

#[tokio::test(start_paused = true)]
async fn a_thousand_fires_run_once_each_whatever_the_period_and_the_clocks() {
    let jobs = [("noon", 12 * HOUR, DAY), ("half-past", HOUR / 2, HOUR), ("minute", MINUTE, MINUTE)];
    for (test, first, period) in jobs {
        for ahead in [[0, 0], [0, 200], [0, -200], [200, 0], [-100, 100]] {
            let test = format!("{test}-{}-{}", ahead[0], ahead[1]);
            assert_eq!(run_all(&test, first, period, ahead, 1000).await, (1000, 0), "{test}");
        }
    }
}

/// Waits, and then calls the job.
async fn after(locks: &LockManager, pause: Duration, period: Duration) -> bool {
    sleep(pause).await;
    matches!(call(locks, period).await, Run::Ran(()))
}

#[tokio::test(start_paused = true)]
async fn summer_time_and_leap_seconds_move_a_fire_by_less_than_half_a_period() {
    let locks = machine("summer", now(), 0);
    for hours in [24, 23, 24, 25, 24] {
        assert!(after(&locks, HOUR * hours, DAY).await, "{hours}");
    }
    let locks = machine("leap", now(), 0);
    for seconds in [60, 59, 60, 61, 60] {
        assert!(after(&locks, Duration::from_secs(seconds), MINUTE).await, "{seconds}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_back_repeats_nothing_and_skips_what_it_shows_again() {
    let began = now();
    let hour = 60 * 60 * 1000;
    let (right, set_back) = (machine("back", began, 0), machine("back", began, -hour));
    assert!(after(&right, MINUTE, MINUTE).await);
    let mut skipped = 0;
    while !after(&set_back, MINUTE, MINUTE).await {
        skipped += 1;
    }
    assert!((59..=60).contains(&skipped), "{skipped}");

    let (right, set_back) = (machine("back-daily", began, 0), machine("back-daily", began, -hour));
    assert!(after(&right, MINUTE, DAY).await);
    assert!(after(&set_back, DAY, DAY).await, "a day is longer than twice an hour");
}

#[tokio::test(start_paused = true)]
async fn calls_less_than_half_a_period_apart_are_one_fire_and_others_are_two() {
    let locks = machine("half", now(), 0);
    assert!(after(&locks, HOUR, HOUR).await);
    let Run::Skipped(SkipReason::AlreadyRan { completed }) = call(&locks, HOUR).await else { panic!("it ran") };
    assert!(completed > 0);
    assert!(!after(&locks, 29 * MINUTE, HOUR).await);
    assert!(after(&locks, MINUTE, HOUR).await);
}

/// By how much a clock is ahead, which is set while a process runs.
#[derive(Clone, Default)]
struct Step(Arc<AtomicI64>);

impl Step {
    fn set(&self, ahead: i64) {
        self.0.store(ahead, Ordering::Relaxed);
    }

    /// A machine by this clock.
    fn machine(&self, test: &str, began: Instant) -> LockManager {
        let nodes = ["a", "b", "c"].map(|node| format!("memory://periods-{test}-{node}"));
        let step = self.clone();
        let clock = move || time_of_day(began, step.0.load(Ordering::Relaxed));
        LockManager::builder().nodes(nodes).time_of_day(clock).build().unwrap()
    }
}

/// In milliseconds.
const AN_HOUR: i64 = 60 * 60 * 1000;

#[tokio::test(start_paused = true)]
async fn a_clock_that_steps_while_a_process_runs_repeats_nothing() {
    let (step, began) = (Step::default(), now());
    let locks = step.machine("steps", began);
    let runs_each_minute = async |minutes: u32| {
        let mut ran = 0;
        for _ in 0..minutes {
            ran += u32::from(after(&locks, MINUTE, MINUTE).await);
        }
        ran
    };
    assert_eq!(runs_each_minute(60).await, 60);
    step.set(-AN_HOUR);
    let again = runs_each_minute(60).await;
    assert!(again <= 1, "what it shows again is no fire again: {again}");
    assert_eq!(runs_each_minute(60).await, 60, "it shows what it never showed");
    step.set(0);
    assert_eq!(runs_each_minute(60).await, 60, "an hour is left out, and whatever is called runs");
    step.set(AN_HOUR);
    assert_eq!(runs_each_minute(60).await, 60, "once more");
    step.set(0);
    assert!(runs_each_minute(60).await <= 1, "and is shown again");
}

#[tokio::test(start_paused = true)]
async fn a_daily_job_takes_no_notice_of_a_clock_that_steps_by_an_hour() {
    let (step, began) = (Step::default(), now());
    let locks = step.machine("steps-daily", began);
    for ahead in [0, -AN_HOUR, 0, AN_HOUR, AN_HOUR, -AN_HOUR, 0] {
        step.set(ahead);
        assert!(after(&locks, DAY, DAY).await, "{ahead}");
        assert!(!after(&locks, MINUTE, DAY).await, "{ahead}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_moment_that_a_clock_shows_twice_is_one_fire_and_a_run_takes_no_notice_of_a_step() {
    let (step, began) = (Step::default(), now());
    let locks = step.machine("steps-moment", began);
    let due = |minutes: u32| Fire::at(SystemTime::UNIX_EPOCH + MIDNIGHT + MINUTE * minutes);
    let call = async |fire: Fire, ahead: i64| {
        let request = locks.lock("moment").once(fire).timeout(Timeout::Skip);
        let body = async |_: &redlock_runtime::LockGuard| {
            step.set(ahead);
            sleep(10 * MINUTE).await;
            Ok::<_, Error>(())
        };
        request.run(body).await
    };
    sleep(HOUR).await;
    // The clock is set back while it runs, so the scheduler fires it a second time.
    assert!(matches!(call(due(60), -AN_HOUR).await, Ok(Run::Ran(()))));
    let early = call(due(60), -AN_HOUR).await;
    assert!(matches!(&early, Err(Error::Config { reason }) if reason.contains("too early")), "{early:?}");
    sleep(HOUR).await;
    assert!(matches!(call(due(60), -AN_HOUR).await, Ok(Run::Skipped(SkipReason::AlreadyRan { .. }))));
    // Forward, while it runs: what was left out is older than what runs next, and no fire before that.
    assert!(matches!(call(due(65), AN_HOUR).await, Ok(Run::Ran(()))));
    assert!(matches!(call(due(66), AN_HOUR).await, Ok(Run::Ran(()))));
    assert!(matches!(call(due(180), AN_HOUR).await, Ok(Run::Ran(()))));
    assert!(matches!(call(due(120), 0).await, Ok(Run::Skipped(SkipReason::AlreadyRan { .. }))));
    assert_eq!(
        locks.last_run("moment").await.unwrap().and_then(|last| last.moment()),
        Some(SystemTime::UNIX_EPOCH + MIDNIGHT + 3 * HOUR)
    );
}

#[tokio::test]
async fn a_clock_that_steps_ahead_of_all_servers_marks_nothing_so_that_it_can_be_set_right() {
    let servers = Servers::start(3);
    let step = Step::default();
    let clock = {
        let step = step.clone();
        move || {
            let ahead = Duration::from_millis(step.0.load(Ordering::Relaxed).unsigned_abs());
            redlock_tests::clock::time_of_day() + ahead
        }
    };
    let locks = unhurried().nodes(servers.urls()).in_doubt(InDoubt::Run).time_of_day(clock).build().unwrap();
    let every_minute = async || {
        let request = locks.lock("job").once(MINUTE).timeout(Timeout::Skip);
        request.run(async |_| Ok::<_, Error>(())).await
    };
    step.set(AN_HOUR);
    let error = every_minute().await.unwrap_err();
    assert!(matches!(&error, Error::Config { reason } if reason.contains("set this clock")), "{error}");
    step.set(0);
    assert_eq!(locks.last_run("job").await.unwrap(), None);
    redlock_tests::wait::eventually_async("it runs", async || matches!(every_minute().await, Ok(Run::Ran(())))).await;
}
