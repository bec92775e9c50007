use redlock_runtime::redlock;

#[redlock(name = "x", permits = 2, once = "1d", timeout = -1, silent)]
async fn job() {}

fn main() {}
