use redlock_runtime::redlock;

#[redlock(name = "x", once = "1d", timeout = 0)]
async fn job() -> ! {
    std::future::pending().await
}

fn main() {}
