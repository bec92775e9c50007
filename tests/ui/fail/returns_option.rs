use redlock_runtime::redlock;

#[redlock(name = "x", timeout = -1)]
fn job() -> Option<u8> {
    None
}

fn main() {}
