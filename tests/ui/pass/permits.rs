use redlock_runtime::{Error, LockManager, redlock};

#[redlock(name = "import", permits = 2, timeout = -1, silent, manager = locks, guard = lock)]
async fn import(locks: &LockManager) -> Option<u32> {
    Some(lock.permit())
}

#[redlock(name = "shard", permits = shards, timeout = 5, min_hold = "10ms", manager = locks)]
fn by_shard(locks: &LockManager, shards: u32) -> Result<u32, Error> {
    Ok(shards)
}

#[redlock(name = "nested", permits = 2, timeout = -1, manager = locks)]
fn nested(locks: &LockManager, depth: u32) -> Result<u32, Error> {
    Ok(nested(locks, depth + 1).unwrap_or(depth))
}

#[redlock(name = "waits", permits = 2, manager = locks)]
fn waits(locks: &LockManager, depth: u32) -> Result<u32, Error> {
    match waits(locks, depth + 1) {
        Err(Error::WouldDeadlock { .. }) => Ok(depth),
        other => other,
    }
}

#[test]
fn permits_of_a_number_and_of_an_argument() {
    let locks = LockManager::builder().nodes(["memory://permits"]).build().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    assert!(runtime.block_on(import(&locks)).is_some_and(|permit| permit < 2));
    let held: Vec<_> = (0..2).map(|_| locks.lock("import").permits(2).acquire_blocking().unwrap()).collect();
    assert_eq!(runtime.block_on(import(&locks)), None);
    drop(held);
    assert_eq!(by_shard(&locks, 3).unwrap(), 3);
    // A body that has a permit may wait for another one, but not for one that only itself can give back.
    assert_eq!(nested(&locks, 0).unwrap(), 1);
    assert_eq!(waits(&locks, 0).unwrap(), 1);
}
