use redlock_runtime::{Error, redlock};

async fn other() -> Result<(), Error> {
    Ok(())
}

#[redlock(name = "x")]
fn job() -> Result<(), Error> {
    other().await
}

fn main() {}
