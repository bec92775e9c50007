use redlock_runtime::redlock;

#[redlock("nightly-report", timeout = -1, silent)]
fn job() {}

fn main() {}
