use redlock_runtime::redlock;

async fn other() {}

#[redlock(name = "x")]
async fn job() {
    let shared = std::rc::Rc::new(5);
    other().await;
    drop(shared);
}

fn spawn(_: impl Future<Output = ()> + Send) {}

fn main() {
    spawn(job());
}
