use redlock_runtime::{Error, redlock, require_lock};

#[redlock(name = "x", timeout = -1, guard = lock)]
fn job() -> Result<(), Error> {
    println!("{}", lock.name());
    require_lock!();
    Ok(())
}

fn main() {}
