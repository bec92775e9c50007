//! What locks take from the allocator: counted, not timed, so a slow machine does not fail it.
//!
//! A budget is what was counted when it was set, and a little: whoever needs more looks for what else could be spared, and
//! says in the commit why not.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use std::alloc::System;
use std::sync::{Mutex, MutexGuard, PoisonError};

use redlock_runtime::{LockGuard, LockManager};
use redlock_tests::{Servers, unhurried, wait};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tokio::runtime::{Builder, Runtime};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// What one test allocates must not be counted for another.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn manager(nodes: impl IntoIterator<Item = String>) -> LockManager {
    unhurried().nodes(nodes).build().unwrap()
}

async fn cycle(locks: &LockManager) {
    let guard = locks.lock("invoice:7").acquire().await.unwrap();
    guard.release().await.unwrap();
}

/// Acquires and releases a lock many times over; one cycle takes at most so many allocations on average. How often an answer comes
/// behind the majority's, and what that takes, depends on the machine: so this is what the least of three rounds takes, and
/// whatever all cycles need more is in each of them.
#[track_caller]
fn check_cycle(nodes: impl IntoIterator<Item = String>, most: usize) {
    const CYCLES: usize = 500;
    const ROUNDS: usize = 3;
    let locks = manager(nodes);
    let runtime = runtime();
    let cycles = || async {
        for _ in 0..CYCLES {
            cycle(&locks).await;
        }
    };
    // Connects, and fills what is kept for later.
    runtime.block_on(cycles());
    let round = || {
        let counted = Region::new(ALLOCATOR);
        runtime.block_on(cycles());
        let taken = counted.change();
        println!("{} allocations and {} reallocations in {CYCLES} cycles", taken.allocations, taken.reallocations);
        taken.allocations
    };
    let least = (0..ROUNDS).map(|_| round()).min().unwrap();
    // A table or a queue may grow once meanwhile.
    let most = most * CYCLES + CYCLES / 10;
    assert!(least <= most, "{least} allocations in {CYCLES} cycles; the budget is {most}");
}

#[test]
fn a_lock_in_memory_is_acquired_and_released_within_its_budget() {
    let _alone = alone();
    for (nodes, most) in [(1, 17), (3, 31), (5, 41)] {
        check_cycle((0..nodes).map(|_| "memory://".to_owned()), most);
    }
}

#[test]
fn a_lock_on_servers_is_acquired_and_released_within_its_budget() {
    let _alone = alone();
    for (nodes, most) in [(1, 28), (3, 46)] {
        check_cycle(Servers::start(nodes).urls(), most);
    }
}

/// Holds so many locks, which are not renewed before even a slow machine has counted them.
async fn hold(locks: &LockManager, count: usize) -> Vec<LockGuard> {
    let mut guards = Vec::with_capacity(count);
    for number in 0..count {
        guards.push(locks.lock(format!("invoice:{number}")).ttl(Duration::from_secs(300)).acquire().await.unwrap());
    }
    guards
}

#[test]
fn a_lock_that_is_held_takes_no_more_than_its_budget() {
    const LOCKS: usize = 10_000;
    const MOST: usize = 1008;
    let _alone = alone();
    let servers = Servers::start(3);
    let (runtime, locks) = (runtime(), manager(servers.urls()));
    runtime.block_on(cycle(&locks));
    let counted = Region::new(ALLOCATOR);
    let held = runtime.block_on(hold(&locks, LOCKS));
    let each = || {
        let taken = counted.change();
        taken.bytes_allocated.saturating_sub(taken.bytes_deallocated) / LOCKS
    };
    // What was asked is forgotten a moment later.
    wait::eventually("a held lock takes no more than its budget", || each() <= MOST);
    println!("{} bytes each", each());
    drop(held);
    runtime.block_on(locks.shutdown());
}
