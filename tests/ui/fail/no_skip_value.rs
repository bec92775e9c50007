use redlock_runtime::redlock;

struct Report;

#[redlock(name = "x", timeout = -1, silent)]
async fn job() -> Report {
    Report
}

fn main() {}
