use redlock_runtime::redlock;

#[redlock(name = "x", skip_value = 5)]
fn job() -> u8 {
    1
}

fn main() {}
