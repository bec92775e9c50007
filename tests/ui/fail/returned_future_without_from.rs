use redlock_runtime::redlock;

#[redlock(name = "x", timeout = -1)]
fn job() -> impl Future<Output = Option<u8>> {
    async { None }
}

fn main() {}
