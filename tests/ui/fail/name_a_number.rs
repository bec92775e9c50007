use redlock_runtime::redlock;

#[redlock(name = 5)]
fn job() {}

fn main() {}
