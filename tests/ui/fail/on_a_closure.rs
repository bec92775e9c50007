use redlock_runtime::redlock;

fn main() {
    let job = #[redlock(name = "x")]
    |id: u64| id + 1;
    assert_eq!(job(1), 2);
}
