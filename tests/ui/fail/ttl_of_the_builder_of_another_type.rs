use redlock_runtime::LockManager;

fn main() {
    let _locks = LockManager::builder().nodes(["memory://"]).ttl(5.0).build();
}
