use redlock_runtime::redlock;

fn main() {
    #[redlock(name = "x")]
    {
        println!("inside");
    }
}
