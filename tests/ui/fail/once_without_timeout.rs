use redlock_runtime::redlock;

#[redlock(name = "x", once = "1d", silent)]
async fn job() {}

fn main() {}
