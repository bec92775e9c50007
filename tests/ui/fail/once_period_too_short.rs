use redlock_runtime::redlock;

#[redlock(name = "x", once = "900ms", timeout = -1, silent)]
async fn job() {}

fn main() {}
