use redlock_runtime::{Error, redlock};

#[redlock(name = "x", timeout = -1)]
fn job() -> Result<(), Error> {
    require_lock!();
    Ok(())
}

fn main() {}
