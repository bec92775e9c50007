use redlock_runtime::redlock;

#[redlock(names = ["a", "b"], once = "1d", timeout = -1, silent)]
async fn job() {}

fn main() {}
