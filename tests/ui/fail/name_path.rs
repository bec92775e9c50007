use redlock_runtime::redlock;

mod names {
    pub const QUEUE: &str = "orders";
}

#[redlock(name = "queue:{names::QUEUE:>8}:{id::<5}")]
fn job(id: u8) {
    let _ = (id, names::QUEUE);
}

fn main() {}
