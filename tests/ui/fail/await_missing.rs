use redlock_runtime::{Error, redlock};

async fn other() -> Result<u8, Error> {
    Ok(1)
}

#[redlock(name = "x")]
async fn job() -> Result<u8, Error> {
    other()
}

fn main() {}
