use redlock_runtime::{Error, redlock};

#[redlock(name = "x", on_lost = "cancel")]
fn job() -> Result<(), Error> {
    Ok(())
}

fn main() {}
