use redlock_runtime::redlock;

#[redlock(name = "x", renew = false, max_hold = "1h")]
fn job() {}

fn main() {}
