use redlock_runtime::redlock;

#[redlock(name = concat!("invoice:", "{idd}"))]
fn job(id: u64) {
    let _ = id;
}

fn main() {}
