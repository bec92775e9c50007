use redlock_runtime::{Error, redlock};

#[redlock(name = "x", timeout = 5, gaurd = lock)]
fn job() -> Result<u64, Error> {
    Ok(lock.fencing_token())
}

fn main() {}
