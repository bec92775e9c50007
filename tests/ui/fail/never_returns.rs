use redlock_runtime::redlock;

#[redlock(name = "x", timeout = 5)]
async fn job() -> ! {
    std::future::pending().await
}

fn main() {}
