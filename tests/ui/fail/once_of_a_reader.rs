use redlock_runtime::redlock;

#[redlock(name = "x", mode = "read", once = "1d", timeout = -1, silent)]
async fn job() {}

fn main() {}
