use redlock_runtime::{Error, LockManager, redlock};

#[redlock(names = ["account:{from}", "account:{to}"], timeout = 5, manager = locks, guard = lock)]
async fn transfer(locks: &LockManager, from: u32, to: u32) -> Result<u64, Error> {
    Ok(lock.fencing_token())
}

#[redlock(name = [format!("a-{one}"), "b".to_owned()], timeout = -1, silent, manager = locks)]
fn both(locks: &LockManager, one: u32) -> Option<u32> {
    Some(one)
}

#[redlock(name = "catalogue", mode = "read", timeout = -1, silent, manager = locks)]
async fn look(locks: &LockManager) -> Option<u32> {
    Some(1)
}

#[redlock(name = "catalogue", mode = "write", timeout = -1, silent, manager = locks)]
fn change(locks: &LockManager) -> Option<u32> {
    Some(2)
}

#[redlock(names = ["account:{from}", "account:{to}"], manager = locks)]
fn nested(locks: &LockManager, from: u32, to: u32) -> Result<(), Error> {
    if from > 0 { nested(locks, from - 1, to) } else { Ok(()) }
}

#[test]
fn several_names_and_modes() {
    let locks = LockManager::builder().nodes(["memory://kinds"]).build().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    assert!(runtime.block_on(transfer(&locks, 1, 2)).unwrap() > 0);
    assert_eq!(both(&locks, 7), Some(7));
    let held = locks.lock("b").acquire_blocking().unwrap();
    assert_eq!(both(&locks, 7), None);
    drop(held);
    let reader = locks.read("catalogue").acquire_blocking().unwrap();
    assert_eq!((runtime.block_on(look(&locks)), change(&locks)), (Some(1), None));
    drop(reader);
    assert!(locks.write("catalogue").timeout(std::time::Duration::from_secs(10)).acquire_blocking().is_ok());
    // The inner call wants an account that the outer one has.
    assert!(matches!(nested(&locks, 1, 2), Err(Error::WouldDeadlock { .. })));
}
