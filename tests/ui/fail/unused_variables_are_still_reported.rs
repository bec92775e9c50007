#![deny(warnings)]
use redlock_runtime::redlock;

#[redlock(name = "x")]
async fn never_called(mut unchanged: u8, unused: u8) {
    let _ = unchanged;
}

fn main() {}
