use redlock_runtime::LockManager;

async fn job(locks: LockManager, id: i64) {
    let _guard = locks.lock("x").once(id).acquire().await;
}

fn main() {}
