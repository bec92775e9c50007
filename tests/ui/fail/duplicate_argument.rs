use redlock_runtime::redlock;

#[redlock(name = "x", name = "y")]
fn job() {}

fn main() {}
