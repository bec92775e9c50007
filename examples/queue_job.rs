//! Jobs of an apalis queue that are delivered twice, and each of which is done once.
//!
//! A queue delivers a job again when its worker seems to be gone, so two workers may have it. Here the queue delivers each order
//! to both workers, 50 to 300 ms apart, each of which has a lock manager of its own, as on a machine of its own. One bills the
//! order, and the other stands by and says that it already ran. The first who bills order 4 fails, and the other makes up for
//! it. It takes some ten seconds.
//!
//! With Redis masters in `REDLOCK_NODES` the workers share these. Masters that were started less than two minutes ago cannot know
//! whether an order was billed; until then the workers say that it is in doubt.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use apalis::prelude::{
    BoxDynError, Data, MemoryStorage, TaskSink as _, WorkerBuilder, WorkerBuilderExt as _, WorkerContext,
};
use redlock_runtime::{Error, Fire, LockManager, redlock};
use tokio::time::sleep;

/// How many orders are queued.
const ORDERS: u32 = 10;

/// A job of the queue.
#[derive(Clone)]
struct Order {
    number: u32,
    /// When it was queued, which tells the job from every other one of the same order.
    queued: SystemTime,
}

/// One machine.
#[derive(Clone)]
struct Worker {
    number: u32,
    locks: LockManager,
    /// How many orders it billed.
    billed: Arc<AtomicU32>,
}

/// Whether the run of order 4 that fails is over.
static HAS_FAILED: AtomicBool = AtomicBool::new(false);

// Each order has a lock of its own: under a common one, an order that comes late would be smaller than the last one that was
// completed, and count as one that already ran.
#[redlock(name = "order:{number}", once = Fire::at(queued), timeout = "3s", manager = &worker.locks)]
async fn bill(worker: &Worker, number: u32, queued: SystemTime) -> anyhow::Result<()> {
    println!("order {number}: worker {} bills it", worker.number);
    sleep(Duration::from_millis(900)).await;
    anyhow::ensure!(number != 4 || HAS_FAILED.swap(true, Ordering::Relaxed), "failed, the printer is out of paper");
    worker.billed.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

/// What the queue calls.
async fn work_on(order: Order, worker: Data<Worker>, context: WorkerContext) -> Result<(), BoxDynError> {
    let Order { number, queued } = order;
    let is_late = number % 2 == worker.number % 2;
    let behind = if is_late { 50 + 125 * (number % 3) } else { 0 };
    sleep(Duration::from_millis(behind.into())).await;
    let billed = bill(&worker, number, queued).await;
    if number == ORDERS {
        context.stop()?;
    }
    match billed {
        Ok(()) => println!("order {number}: worker {} is done", worker.number),
        Err(error) if matches!(error.downcast_ref(), Some(Error::AlreadyRan { .. })) => {
            // The queue may forget it.
            println!("order {number}: worker {} skips it, it already ran", worker.number);
        }
        Err(error) => {
            println!("order {number}: worker {}: {error}", worker.number);
            // The queue may deliver it again.
            return Err(error.into());
        }
    }
    Ok(())
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

    #[expect(
        clippy::disallowed_methods,
        reason = "a queue knows when a job was queued; the lock takes it as an argument"
    )]
    let queued = SystemTime::now();
    let mut running = Vec::new();
    for number in [1, 2] {
        let mut queue = MemoryStorage::new();
        for number in 1..=ORDERS {
            queue.push(Order { number, queued }).await?;
        }
        let worker = Worker { number, locks: builder.clone().build()?, billed: Arc::default() };
        let one_at_a_time = WorkerBuilder::new(format!("worker-{number}")).backend(queue).concurrency(1);
        let working = one_at_a_time.data(worker.clone()).build(work_on).run();
        running.push((worker, tokio::spawn(working)));
    }
    for (worker, working) in running {
        working.await??;
        println!("worker {} billed {} of {ORDERS} orders", worker.number, worker.billed.load(Ordering::Relaxed));
        worker.locks.shutdown().await;
    }
    Ok(())
}
