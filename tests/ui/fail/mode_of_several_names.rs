use redlock_runtime::redlock;

#[redlock(names = ["a", "b"], mode = "read")]
fn of_both() {}

fn main() {}
