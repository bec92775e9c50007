use redlock_runtime::redlock;

#[redlock(name = "x", once = "1d", once_at = "begin", timeout = -1, silent)]
async fn job() {}

fn main() {}
