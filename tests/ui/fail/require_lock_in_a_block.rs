use redlock_runtime::{Error, redlock, require_lock};

#[redlock(name = "x", timeout = -1)]
async fn job(often: bool) -> Result<(), Error> {
    if often {
        require_lock!();
    }
    Ok(())
}

fn main() {}
