use redlock_runtime::redlock;

#[redlock(name = "x", timeout = "-5s", silent)]
fn job() {}

fn main() {}
