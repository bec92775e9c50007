use redlock_runtime::redlock;

#[redlock(name = "")]
fn job() {}

fn main() {}
