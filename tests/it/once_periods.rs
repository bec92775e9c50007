//! Periods of jobs by the clocks of several machines, over years of virtual time.

use std::time::{Duration, SystemTime};

use redlock_runtime::{Error, LockManager, Run, SkipReason, Timeout};
use tokio::time::{Instant, sleep};

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
