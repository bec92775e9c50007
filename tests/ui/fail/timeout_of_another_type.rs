use redlock_runtime::redlock;

#[redlock(name = "x", timeout = seconds, silent)]
async fn job(seconds: u64) {}

fn main() {}
