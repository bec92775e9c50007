use redlock_runtime::redlock;

#[redlock(name = "x")]
async fn job() -> usize {
    lenght("x")
}

fn main() {}
