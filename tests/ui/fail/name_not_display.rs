use redlock_runtime::redlock;

struct Id;

#[redlock(name = id)]
fn job(id: Id) {}

fn main() {}
