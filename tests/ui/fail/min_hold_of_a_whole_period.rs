use redlock_runtime::redlock;

#[redlock(name = "x", once = "1m", min_hold = "60s", timeout = -1, silent)]
async fn job() {}

fn main() {}
