#![deny(unused_must_use)]

use redlock_runtime::{Error, LockManager};

async fn job(locks: LockManager) -> Result<(), Error> {
    locks.lock("x").acquire().await?;
    Ok(())
}

fn main() {}
