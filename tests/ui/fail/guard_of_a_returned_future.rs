use redlock_runtime::{Error, redlock};

#[redlock(name = "x", timeout = -1, guard = lock)]
fn job() -> impl Future<Output = Result<(), Error>> {
    async move { Ok(()) }
}

fn main() {}
