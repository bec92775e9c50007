use redlock_runtime::redlock;

struct Invoice {
    id: u64,
}

impl Invoice {
    #[redlock(name = "invoice:{self.id:03}:{copy}")]
    fn job(&self, copy: u8) {
        let _ = copy;
    }
}

fn main() {}
