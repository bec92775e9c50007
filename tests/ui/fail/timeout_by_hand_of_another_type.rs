use redlock_runtime::LockManager;

async fn job(locks: LockManager) {
    let _guard = locks.lock("x").timeout(5).acquire().await;
}

fn main() {}
