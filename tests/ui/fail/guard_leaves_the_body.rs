use redlock_runtime::{LockGuard, redlock};

#[redlock(name = "x", guard = lock)]
async fn job<'a>() -> &'a LockGuard {
    lock
}

fn main() {}
