use redlock_runtime::redlock;

#[redlock(timeout = -2, ttl = 0, silent = true, wait = 1, renew = maybe)]
fn job() {}

fn main() {}
