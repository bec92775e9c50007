use redlock_runtime::redlock;

#[redlock(names = [])]
fn of_nothing() {}

fn main() {}
