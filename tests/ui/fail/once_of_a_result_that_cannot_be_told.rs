use redlock_runtime::redlock;

struct Busy;

#[redlock(name = "x", once = number, timeout = 0)]
fn job(number: u64) -> Result<u8, Busy> {
    Ok(1)
}

fn main() {}
