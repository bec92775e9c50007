use redlock_runtime::redlock;

#[redlock(names = ["a", "b"], permits = 2)]
fn of_both() {}

#[redlock(name = "a", mode = "write", once = "1d", timeout = -1)]
fn writes() {}

fn main() {}
