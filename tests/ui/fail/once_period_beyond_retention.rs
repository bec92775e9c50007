use redlock_runtime::redlock;

#[redlock(name = "x", once = "30d", timeout = -1, silent)]
async fn job() {}

fn main() {}
