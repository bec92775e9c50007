use redlock_runtime::redlock;

#[redlock(name = "x", timeout = -1, skip_value = text.len())]
async fn job(text: String) -> usize {
    drop(text);
    0
}

fn main() {}
