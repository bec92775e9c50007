//! Migrations at start-up, in functions that are not async: of all processes that start at once one migrates, the others wait and go on.

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use redlock_runtime::{Error, LockManager, redlock};

/// Stands for the database: what version its tables have.
static VERSION: AtomicU32 = AtomicU32::new(0);

/// What this build of the program needs.
const WANTED: u32 = 3;

/// Waits for as long as another process migrates, and says whether anything was left to do.
#[redlock(name = "example:migrations", ttl = "10s")]
fn migrate(process: u32) -> Result<bool, Error> {
    // Looked at under the lock: whoever waited finds the work done.
    let found = VERSION.load(Ordering::SeqCst);
    for version in found + 1..=WANTED {
        println!("process {process} migrates to version {version}");
        thread::sleep(Duration::from_millis(50));
        VERSION.store(version, Ordering::SeqCst);
    }
    Ok(found < WANTED)
}

fn main() -> anyhow::Result<()> {
    let builder = if std::env::var_os("REDLOCK_NODES").is_some() {
        LockManager::builder_from_env()?
    } else {
        println!("REDLOCK_NODES is not set: using three memory:// nodes, which only this process sees");
        LockManager::builder().nodes(["memory://a", "memory://b", "memory://c"])
    };
    let locks = builder.build()?;
    locks.install()?;

    // Threads stand for the processes of a deploy.
    let starting = [1, 2, 3].map(|process| (process, thread::spawn(move || migrate(process))));
    let mut migrated = 0;
    for (process, thread) in starting {
        let did = thread.join().expect("a migration does not panic")?;
        migrated += u32::from(did);
        println!("process {process} serves requests{}", if did { ", after it migrated" } else { "" });
    }
    anyhow::ensure!(migrated == 1, "{migrated} processes migrated");
    locks.shutdown_blocking();
    Ok(())
}
