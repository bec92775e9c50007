use redlock_runtime::redlock;

#[redlock(name = "x", manager = 5)]
fn job() {}

fn main() {}
