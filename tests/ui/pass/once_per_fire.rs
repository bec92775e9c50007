use std::time::{Duration, SystemTime};

use redlock_runtime::{Error, Fire, LockManager, redlock};

#[redlock(name = "period", once = "1d", timeout = -1, silent, manager = locks)]
async fn daily(locks: &LockManager) -> Option<u32> {
    Some(1)
}

#[redlock(name = "number", once = batch, timeout = 5, manager = locks, guard = lock)]
fn by_number(locks: &LockManager, batch: u64) -> Result<Option<u64>, Error> {
    Ok(lock.fire())
}

#[redlock(name = "moment", once = Fire::at(due), once_at = "start", timeout = 0, manager = locks)]
async fn at_a_moment(locks: &LockManager, due: SystemTime) -> Result<(), Error> {
    Ok(())
}

#[redlock(name = "duration", once = Duration::from_secs(60), once_at = "end", timeout = -1, silent, manager = locks)]
fn every_minute(locks: &LockManager) -> u32 {
    1
}

#[redlock(name = "silent", once = batch, timeout = 0, silent, manager = locks)]
fn waits_silently(locks: &LockManager, batch: u64) -> u32 {
    1
}

#[redlock(name = "other", once = batch, timeout = 0, skip_value = 0..0, manager = locks)]
fn with_a_skip_value(locks: &LockManager, batch: u64) -> impl Iterator<Item = u64> {
    0..1
}

#[redlock(name = "future", once = batch, timeout = 0, manager = locks)]
fn a_future(locks: &LockManager, batch: u64) -> impl Future<Output = std::io::Result<u32>> {
    async { Ok(1) }
}

#[test]
fn once_with_each_kind_of_fire() {
    let locks = LockManager::builder().nodes(["memory://once"]).build().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    assert_eq!(runtime.block_on(daily(&locks)), Some(1));
    assert_eq!(runtime.block_on(daily(&locks)), None);
    assert_eq!(by_number(&locks, 7).unwrap(), Some(7));
    assert!(matches!(by_number(&locks, 7), Err(Error::AlreadyRan { fire: 7, completed: 7, .. })));
    let due = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    runtime.block_on(at_a_moment(&locks, due)).unwrap();
    assert_eq!((every_minute(&locks), every_minute(&locks)), (1, 0));
    assert_eq!((waits_silently(&locks, 7), waits_silently(&locks, 7)), (1, 0));
    assert_eq!((with_a_skip_value(&locks, 7).count(), with_a_skip_value(&locks, 7).count()), (1, 0));
    assert_eq!(runtime.block_on(a_future(&locks, 7)).unwrap(), 1);
    let again = runtime.block_on(a_future(&locks, 7)).unwrap_err();
    assert_eq!(again.kind(), std::io::ErrorKind::AlreadyExists);
}
