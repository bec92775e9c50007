use redlock_runtime::redlock;

#[redlock(name = "a\nb")]
fn job() {}

fn main() {}
