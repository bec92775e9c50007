use redlock_runtime::redlock;

#[redlock(name = "x", permits = 0)]
async fn job() {}

fn main() {}
