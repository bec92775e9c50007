use redlock_runtime::redlock;

#[redlock(name = "x", timeout = -1, silent)]
fn job() {
    redlock_runtime::require_lock!("x");
}

fn main() {}
