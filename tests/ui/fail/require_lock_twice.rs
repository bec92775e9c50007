use redlock_runtime::{Error, redlock};

#[redlock(name = "x", timeout = -1)]
fn job() -> Result<(), Error> {
    redlock_runtime::require_lock!();
    redlock_runtime::require_lock!();
    Ok(())
}

fn main() {}
