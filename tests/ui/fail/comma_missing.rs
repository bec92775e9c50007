use redlock_runtime::redlock;

#[redlock(name = "x" timeout = 5)]
fn job() {}

fn main() {}
