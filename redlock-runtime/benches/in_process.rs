//! What locks cost inside this process, on nodes that are in it too.
//!
//! `cargo bench -p redlock-runtime --bench in_process`
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot lock has nothing to measure")]
#![allow(missing_docs, reason = "nobody reads the documentation of a benchmark's functions")]

use divan::{AllocProfiler, Bencher};
use redlock_runtime::{LockGuard, LockManager};
use tokio::runtime::{Builder, Runtime};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn manager(nodes: usize) -> LockManager {
    LockManager::builder().nodes((0..nodes).map(|_| "memory://")).build().unwrap()
}

async fn acquire(locks: &LockManager, name: &str) -> LockGuard {
    locks.lock(name).acquire().await.unwrap()
}

/// A lock that is free, acquired and released.
#[divan::bench(args = [1, 3, 5])]
fn cycle(bencher: Bencher<'_, '_>, nodes: usize) {
    let (runtime, locks) = (runtime(), manager(nodes));
    bencher.bench_local(|| runtime.block_on(async { acquire(&locks, "a").await.release().await }));
}

/// One attempt at a lock that somebody else has.
#[divan::bench(args = [1, 3, 5])]
fn refusal(bencher: Bencher<'_, '_>, nodes: usize) {
    let (runtime, locks) = (runtime(), manager(nodes));
    let _held = runtime.block_on(acquire(&locks, "a"));
    bencher.bench_local(|| runtime.block_on(locks.lock("a").try_acquire()));
}

/// A lock that goes from a task to the next one in the line.
#[divan::bench(args = [1, 3, 5])]
fn hand_over(bencher: Bencher<'_, '_>, nodes: usize) {
    let (runtime, locks) = (runtime(), manager(nodes));
    let mut held = Some(runtime.block_on(acquire(&locks, "a")));
    bencher.bench_local(|| {
        runtime.block_on(async {
            let next = {
                let locks = locks.clone();
                tokio::spawn(async move { acquire(&locks, "a").await })
            };
            // It stands in the line from its first poll on.
            tokio::task::yield_now().await;
            held.take().unwrap().release().await.unwrap();
            held = Some(next.await.unwrap());
        });
    });
}

/// A lock that is acquired and released beside so many that are held and renewed.
#[divan::bench(args = [0, 10_000])]
fn cycle_beside(bencher: Bencher<'_, '_>, held: usize) {
    let (runtime, locks) = (runtime(), manager(3));
    let _held: Vec<_> = (0..held).map(|name| runtime.block_on(acquire(&locks, &name.to_string()))).collect();
    bencher.bench_local(|| runtime.block_on(async { acquire(&locks, "a").await.release().await }));
}
