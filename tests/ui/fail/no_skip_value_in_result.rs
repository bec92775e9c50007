use redlock_runtime::{Error, redlock};

struct Report;

#[redlock(name = "x", timeout = -1, silent)]
fn job() -> Result<Report, Error> {
    Ok(Report)
}

fn main() {}
