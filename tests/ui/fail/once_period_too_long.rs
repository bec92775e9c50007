use redlock_runtime::redlock;

#[redlock(name = "x", once = "366d", timeout = -1, silent)]
async fn job() {}

fn main() {}
