use redlock_runtime::redlock;

#[redlock(name = "x", time_out = 5)]
fn job() {}

fn main() {}
