use redlock_runtime::redlock;

#[redlock(name = "x", once = "1d", timeout = 0)]
fn job() -> impl Iterator<Item = u8> {
    0..3
}

fn main() {}
