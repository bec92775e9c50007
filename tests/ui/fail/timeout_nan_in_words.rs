use redlock_runtime::redlock;

#[redlock(name = "x", timeout = "nan", silent)]
fn job() {}

fn main() {}
