use redlock_runtime::redlock;

#[redlock(name = "x", timeout = f64::NAN, silent)]
fn job() {}

fn main() {}
