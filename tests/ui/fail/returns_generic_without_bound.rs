use redlock_runtime::redlock;

#[redlock(name = "x", timeout = 5)]
async fn job<E>() -> Result<u8, E> {
    Ok(1)
}

fn main() {}
