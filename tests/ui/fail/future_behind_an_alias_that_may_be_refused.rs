use redlock_runtime::{Error, redlock};

type Job = std::pin::Pin<Box<dyn Future<Output = Result<(), Error>>>>;

#[redlock(name = "x", timeout = -1)]
fn job() -> Job {
    Box::pin(async { Ok(()) })
}

fn main() {}
