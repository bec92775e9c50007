use redlock_runtime::redlock;

#[redlock(name = "x", silent)]
fn job() {}

fn main() {}
