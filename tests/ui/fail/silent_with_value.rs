use redlock_runtime::redlock;

#[redlock(name = "x", timeout = 0, silent = false)]
fn job() {}

fn main() {}
