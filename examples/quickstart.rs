//! A lock by hand: acquire it, wait for it, give up on it, give it back.

use std::time::Duration;

use redlock_runtime::{Error, LockManager};
use tokio::time::sleep;

/// Pays the invoice, unless somebody else is at it for longer than `timeout`.
async fn pay(who: &str, locks: &LockManager, timeout: Duration) -> Result<(), Error> {
    let guard = match locks.lock("invoice:7").timeout(timeout).acquire().await {
        Ok(guard) => guard,
        Err(Error::NotAcquired { name, waited, .. }) => {
            println!("{who}: gave up on {name} after {waited:.0?}");
            return Ok(());
        }
        // Too few nodes answered, for instance.
        Err(error) => return Err(error),
    };
    println!("{who}: holds {} for {:.0?}, longer if renewed", guard.name(), guard.remaining());
    sleep(Duration::from_secs(1)).await;
    println!("{who}: paid, gives it back");
    // Tells whether the lock was still ours. A guard that is only dropped is released too, in the background.
    guard.release().await
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
    // Checks the settings; connects when the first lock is acquired.
    let locks = builder.ttl(Duration::from_secs(20)).build()?;

    let latecomers = async {
        sleep(Duration::from_millis(200)).await;
        tokio::try_join!(pay("Bea", &locks, Duration::from_millis(300)), pay("Cem", &locks, Duration::from_secs(10)))
    };
    let paid = tokio::try_join!(pay("Ada", &locks, Duration::from_secs(10)), latecomers);
    // Waits for releases that are on their way: they end with the process.
    locks.shutdown().await;
    paid?;
    Ok(())
}
