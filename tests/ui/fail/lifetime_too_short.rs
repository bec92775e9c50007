use redlock_runtime::redlock;

#[redlock(name = "x")]
async fn job<'a, 'b>(a: &'a str, b: &'b str) -> &'a str {
    if a.is_empty() { b } else { a }
}

fn main() {}
