use redlock_runtime::redlock;

#[redlock(name = "x", ttl = , timeout)]
fn job() {}

fn main() {}
