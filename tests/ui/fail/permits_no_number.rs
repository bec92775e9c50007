use redlock_runtime::redlock;

#[redlock(name = "x", permits = "4")]
async fn job() {}

fn main() {}
