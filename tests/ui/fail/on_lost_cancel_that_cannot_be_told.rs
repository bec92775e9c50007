use redlock_runtime::redlock;

#[redlock(name = "x", on_lost = "cancel")]
async fn job() -> Option<u8> {
    None
}

fn main() {}
