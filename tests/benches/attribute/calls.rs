//! A call through the attribute next to the same calls written by hand.
//!
//! Measured is the processor time of the process: on `memory://` nothing is waited for, and what else the machine does
//! would be larger than what is compared.
use std::hint::black_box;
use std::sync::LazyLock;

use redlock_runtime::{Error, LockManager, Timeout, redlock};
use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::{Builder, Runtime};

use crate::median;

/// How often all take turns.
const TURNS: usize = 9;
/// Calls in one turn.
const CALLS: u32 = 20_000;
/// What the attribute may add to a call.
const TARGET_NANOSECONDS: f64 = 1000.0;

static LOCKS: LazyLock<LockManager> = LazyLock::new(|| {
    LockManager::builder().nodes(["memory://attribute-calls"]).build().expect("a memory node needs nothing")
});

#[redlock(name = "quick", timeout = -1, manager = &LOCKS)]
async fn quick(number: u64) -> Result<u64, Error> {
    Ok(black_box(number) + 1)
}

async fn quick_by_hand(number: u64) -> Result<u64, Error> {
    let guard = LOCKS.lock("quick").timeout(Timeout::Skip).acquire().await?;
    let value = black_box(number) + 1;
    guard.release().await?;
    Ok(value)
}

#[redlock(name = "waits", timeout = -1, manager = &LOCKS)]
async fn waits(number: u64) -> Result<u64, Error> {
    tokio::task::yield_now().await;
    Ok(black_box(number) + 1)
}

async fn waits_by_hand(number: u64) -> Result<u64, Error> {
    let guard = LOCKS.lock("waits").timeout(Timeout::Skip).acquire().await?;
    tokio::task::yield_now().await;
    let value = black_box(number) + 1;
    guard.release().await?;
    Ok(value)
}

#[redlock(name = "sync", timeout = -1, manager = &LOCKS)]
fn sync(number: u64) -> Result<u64, Error> {
    Ok(black_box(number) + 1)
}

fn sync_by_hand(number: u64) -> Result<u64, Error> {
    let guard = LOCKS.lock("sync").timeout(Timeout::Skip).acquire_blocking()?;
    let value = black_box(number) + 1;
    guard.release_blocking()?;
    Ok(value)
}

pub(crate) fn compare() {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime can be built");
    println!("one call on memory://, ns: median over {TURNS} turns; target: less than {TARGET_NANOSECONDS} more\n");
    println!("{:<24}  {:>8}  {:>9}  {:>10}", "", "by hand", "annotated", "difference");
    tell("async", || on(&runtime, quick_by_hand), || on(&runtime, quick));
    tell("async, with an await", || on(&runtime, waits_by_hand), || on(&runtime, waits));
    tell("sync", || blocking(sync_by_hand), || blocking(sync));
    println!();
}

fn tell(kind: &str, by_hand: impl Fn() -> f64, annotated: impl Fn() -> f64) {
    // The first turn of each connects and warms up.
    black_box((by_hand(), annotated()));
    let turns: Vec<(f64, f64)> = (0..TURNS).map(|_| (by_hand(), annotated())).collect();
    let difference = median(turns.iter().map(|(by_hand, annotated)| annotated - by_hand));
    println!(
        "{kind:<24}  {:>8.0}  {:>9.0}  {difference:>10.0}  {}",
        median(turns.iter().map(|turn| turn.0)),
        median(turns.iter().map(|turn| turn.1)),
        if difference < TARGET_NANOSECONDS { "met" } else { "MISSED" },
    );
}

/// Nanoseconds of one call, all awaited in one task.
fn on<F: Future<Output = Result<u64, Error>>>(runtime: &Runtime, call: impl Fn(u64) -> F) -> f64 {
    per_call(|| {
        runtime.block_on(async {
            for number in 0..CALLS {
                black_box(call(u64::from(number)).await.expect("nobody else calls"));
            }
        });
    })
}

/// Nanoseconds of one call of a function that blocks.
fn blocking(call: impl Fn(u64) -> Result<u64, Error>) -> f64 {
    per_call(|| {
        for number in 0..CALLS {
            black_box(call(u64::from(number)).expect("nobody else calls"));
        }
    })
}

fn per_call(calls: impl FnOnce()) -> f64 {
    let began = processor_nanoseconds();
    calls();
    (processor_nanoseconds() - began) / f64::from(CALLS)
}

#[expect(clippy::cast_precision_loss, reason = "a process does not run for 2^53 nanoseconds")]
fn processor_nanoseconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}
