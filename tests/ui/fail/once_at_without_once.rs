use redlock_runtime::redlock;

#[redlock(name = "x", timeout = -1, silent, once_at = "start")]
async fn job() {}

fn main() {}
