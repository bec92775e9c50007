use redlock_runtime::redlock;

#[redlock(name = "x", timeout = -1, skip_value = "no")]
async fn job() -> Option<u8> {
    None
}

fn main() {}
