use redlock_runtime::redlock;

#[redlock(name = "x", ttl = -1.5)]
fn job() {}

fn main() {}
