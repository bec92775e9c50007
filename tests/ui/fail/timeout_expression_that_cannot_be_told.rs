use redlock_runtime::redlock;

#[redlock(name = "x", timeout = redlock_runtime::Timeout::Forever)]
async fn job() -> u8 {
    1
}

fn main() {}
