fn job() {
    redlock_runtime::require_lock!();
}

fn main() {}
