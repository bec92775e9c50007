use redlock_runtime::redlock;

#[redlock(name = "x", timeout = "0s", silent)]
fn job() {}

fn main() {}
