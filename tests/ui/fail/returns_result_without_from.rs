use redlock_runtime::redlock;

struct Own;

#[redlock(name = "x", timeout = "5s")]
async fn job() -> Result<Vec<u8>, Own> {
    Ok(Vec::new())
}

fn main() {}
