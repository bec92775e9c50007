use redlock_runtime::redlock;

#[redlock(name = "x")]
struct Job;

fn main() {}
