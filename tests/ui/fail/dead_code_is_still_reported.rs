#![deny(dead_code)]
use redlock_runtime::redlock;

#[redlock(name = "x")]
async fn never_called() {}

fn main() {}
