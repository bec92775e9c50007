use redlock_runtime::redlock;

#[redlock(name = "x", timeout = -2, silent)]
fn job() {}

fn main() {}
