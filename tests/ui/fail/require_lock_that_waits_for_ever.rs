use redlock_runtime::{redlock, require_lock};

#[redlock(name = "x")]
fn job() {
    require_lock!();
}

fn main() {}
