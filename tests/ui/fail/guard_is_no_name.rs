use redlock_runtime::redlock;

#[redlock(name = "x", guard = "lock")]
fn job() {}

fn main() {}
