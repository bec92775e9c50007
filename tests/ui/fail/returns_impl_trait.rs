use redlock_runtime::redlock;

#[redlock(name = "x", timeout = -1, silent)]
fn job() -> impl Iterator<Item = u8> {
    0..3
}

fn main() {}
