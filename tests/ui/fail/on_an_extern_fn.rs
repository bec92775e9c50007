use redlock_runtime::redlock;

#[redlock(name = "x")]
extern "C" fn job() {}

fn main() {}
