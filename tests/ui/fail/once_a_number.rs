use redlock_runtime::redlock;

#[redlock(name = "x", once = 5, timeout = -1, silent)]
async fn job() {}

fn main() {}
