use redlock_runtime::redlock;

#[redlock(name = "x", timeout = -1, silent)]
async fn job() -> Missing {
    5
}

fn main() {}
