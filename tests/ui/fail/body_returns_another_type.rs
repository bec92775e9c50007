use redlock_runtime::{Error, redlock};

#[redlock(name = "x")]
async fn job(early: bool) -> Result<u8, Error> {
    if early {
        return "no";
    }
    Ok(1)
}

fn main() {}
