use redlock_runtime::redlock;

#[redlock(name = "x", once = fire, timeout = -1, silent)]
async fn job(fire: bool) {}

fn main() {}
