use redlock_runtime::LockManager;

async fn job(locks: LockManager) {
    let _guard = locks.lock("x").ttl(5).acquire().await;
}

fn main() {}
