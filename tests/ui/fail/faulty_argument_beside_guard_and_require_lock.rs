use redlock_runtime::{Error, redlock, require_lock};

#[redlock(name = "x", timeout = -2, guard = lock)]
async fn job() -> Result<String, Error> {
    require_lock!();
    Ok(lock.name().to_owned())
}

fn main() {}
