use redlock_runtime::redlock;

#[redlock(name = "x")]
async fn job() -> u8 {
    let _ = 5;
}

fn main() {}
