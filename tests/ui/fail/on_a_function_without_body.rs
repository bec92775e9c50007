use redlock_runtime::redlock;

trait Job {
    #[redlock(name = "x")]
    fn job();
}

fn main() {}
