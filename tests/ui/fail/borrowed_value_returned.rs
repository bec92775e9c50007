use redlock_runtime::redlock;

#[redlock(name = "x")]
fn job(text: &str) -> &str {
    let owned = text.to_owned();
    &owned
}

fn main() {}
