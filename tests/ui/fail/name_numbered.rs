use redlock_runtime::redlock;

#[redlock(name = "invoice:{0:03}")]
fn job(id: u64) {
    let _ = id;
}

fn main() {}
