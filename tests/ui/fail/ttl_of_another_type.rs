use redlock_runtime::redlock;

#[redlock(name = "x", ttl = seconds)]
async fn job(seconds: u64) {}

fn main() {}
