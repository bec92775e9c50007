//! Plain threads without a runtime: each takes the lock by hand, blocks until it has it, and changes what the lock protects.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use redlock_runtime::{Error, LockManager};

/// Stands for what has no lock of its own: a file, or a device.
static BALANCE: AtomicU64 = AtomicU64::new(0);

fn deposit(locks: &LockManager, thread: u64) -> Result<(), Error> {
    // Waits for up to ten seconds; without a timeout, for as long as it takes.
    let guard = locks.lock("example:account").timeout(Duration::from_secs(10)).acquire_blocking()?;
    let before = BALANCE.load(Ordering::SeqCst);
    // A deposit that came in between would be forgotten.
    thread::sleep(Duration::from_millis(20));
    BALANCE.store(before + 10, Ordering::SeqCst);
    println!("thread {thread}: {before} -> {}, with token {}", before + 10, guard.fencing_token());
    // A guard that is dropped is released too; this tells whether the lock was still held.
    guard.release_blocking()
}

fn main() -> anyhow::Result<()> {
    let builder = if std::env::var_os("REDLOCK_NODES").is_some() {
        LockManager::builder_from_env()?
    } else {
        println!("REDLOCK_NODES is not set: using three memory:// nodes, which only this process sees");
        LockManager::builder().nodes(["memory://a", "memory://b", "memory://c"])
    };
    let locks = builder.build()?;

    let threads = [1, 2, 3, 4].map(|thread| {
        let locks = locks.clone();
        thread::spawn(move || deposit(&locks, thread))
    });
    for thread in threads {
        thread.join().expect("no deposit panics")?;
    }
    let balance = BALANCE.load(Ordering::SeqCst);
    println!("the balance is {balance}");
    anyhow::ensure!(balance == 40, "a deposit was forgotten");
    locks.shutdown_blocking();
    Ok(())
}
