use redlock_runtime::redlock;

#[redlock(name = "invoice:{id")]
fn job(id: u64) {
    let _ = id;
}

fn main() {}
