use redlock_runtime::redlock;

#[redlock(name = "x", ttl = 5, auto_release_time = 6)]
fn job() {}

fn main() {}
