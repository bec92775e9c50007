use redlock_runtime::redlock;

#[redlock(name = "x", permits = 65)]
async fn job() {}

fn main() {}
