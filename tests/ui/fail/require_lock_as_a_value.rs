use redlock_runtime::{Error, redlock, require_lock};

#[redlock(name = "x", timeout = -1)]
fn job() -> Result<(), Error> {
    let _lock = require_lock!();
    Ok(())
}

fn main() {}
