use redlock_runtime::redlock;

#[redlock(name = "x", on_lost = "abort")]
async fn job() {}

fn main() {}
