use redlock_runtime::redlock;

#[redlock(name = "x", permits = workers)]
async fn job(workers: usize) {
    let _ = workers;
}

fn main() {}
