//! A call through the attribute next to the same calls written by hand.
//!
//! Measured is the processor time of the process: on `memory://` nothing is waited for, and what else the machine does
//! would be larger than what is compared.
use std::hint::black_box;
use std::sync::LazyLock;

use redlock_compare::processor_nanoseconds;
use redlock_runtime::{Error, LockManager, Timeout, redlock};
use tokio::runtime::{Builder, Runtime};

use crate::crew::{InTime, Plan, Turn};
use crate::figures::{Figures, Measure};

const ASYNC: &str = "async";
const AWAITING: &str = "async, with an await";
const SYNC: &str = "sync";
pub(crate) const KINDS: [&str; 3] = [ASYNC, AWAITING, SYNC];
const CALL: Measure =
    Measure { row: 'j', what: "one call on memory://, processor time", setting: ASYNC, unit: "ns", beside: None };
pub(crate) const ADDED: Measure = Measure { what: "one call on memory://, added by the attribute", ..CALL };

/// Calls in one turn.
const CALLS: u32 = 10_000;

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

pub(crate) fn call(plan: &Plan, figures: &mut Figures) -> anyhow::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let mut crew: Vec<Kind<'_>> = vec![
        (ASYNC, Box::new(|| (on(&runtime, quick_by_hand), on(&runtime, quick)))),
        (AWAITING, Box::new(|| (on(&runtime, waits_by_hand), on(&runtime, waits)))),
        (SYNC, Box::new(|| (blocking(sync_by_hand), blocking(sync)))),
    ];
    for (kind, _) in &crew {
        figures.announce(CALL.when(kind), 1, "by hand");
        figures.announce(ADDED.when(kind), 1, "#[redlock]");
    }
    // Short turns, and more of them: what is compared is a small difference.
    for _ in 0..3 {
        plan.take_turns(&mut crew, |(kind, measure), turn| {
            let (by_hand, annotated) = measure();
            if turn == Turn::Counted {
                figures.add(CALL.when(kind), 1, "by hand", by_hand);
                figures.add(CALL.when(kind), 1, "#[redlock]", annotated);
                figures.add(ADDED.when(kind), 1, "#[redlock]", annotated - by_hand);
            }
            Ok(InTime::Yes)
        })?;
    }
    Ok(())
}

/// A kind of function, and what a call by hand and an annotated one take.
type Kind<'a> = (&'static str, Box<dyn Fn() -> (f64, f64) + 'a>);

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
    #[expect(clippy::cast_precision_loss, reason = "a turn does not take 2^53 nanoseconds")]
    let taken = (processor_nanoseconds() - began) as f64;
    taken / f64::from(CALLS)
}
