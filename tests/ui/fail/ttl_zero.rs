use redlock_runtime::redlock;

#[redlock(name = "x", ttl = 0)]
fn job() {}

fn main() {}
