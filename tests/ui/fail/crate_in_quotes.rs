use redlock_runtime::redlock;

#[redlock(name = "x", crate = "redlock_runtime")]
fn job() {}

fn main() {}
