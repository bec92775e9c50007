use redlock_runtime::{Error, LockManager, redlock};

/// # Safety
///
/// None needed.
#[redlock(name = "unsafe", timeout = -1, manager = locks)]
unsafe fn plain(locks: &LockManager, number: *const u8) -> Result<u8, Error> {
    let _ = locks;
    Ok(unsafe { *number })
}

#[redlock(name = "unsafe", timeout = -1, manager = locks)]
async unsafe fn later(locks: &LockManager, number: u8) -> Result<u8, Error> {
    let pointer = std::ptr::from_ref(&number);
    let value = unsafe { plain(locks, pointer) };
    assert!(matches!(value, Err(Error::NotAcquired { .. })), "the caller holds it");
    Ok(unsafe { *pointer })
}

#[test]
fn unsafe_functions_stay_unsafe() {
    let locks = LockManager::builder().nodes(["memory://unsafe"]).build().unwrap();
    let number = 5;
    assert_eq!(unsafe { plain(&locks, &number) }.unwrap(), 5);
    let call = unsafe { later(&locks, 6) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    assert_eq!(runtime.block_on(call).unwrap(), 6);
}
