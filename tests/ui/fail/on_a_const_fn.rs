use redlock_runtime::redlock;

#[redlock(name = "x")]
const fn job() {}

fn main() {}
