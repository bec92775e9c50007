use redlock_runtime::redlock;

#[redlock(name = "x", permits = -1)]
async fn job() {}

fn main() {}
