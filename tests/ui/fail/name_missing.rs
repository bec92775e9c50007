use redlock_runtime::redlock;

#[redlock(timeout = -1, silent)]
fn job() {}

fn main() {}
