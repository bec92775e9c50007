use redlock_runtime::redlock;

#[redlock(name = "a", mode = "reader")]
fn reads() {}

fn main() {}
