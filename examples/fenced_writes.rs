//! A holder that was paused for longer than its lock lived writes behind its successor, and is rejected: the store remembers
//! the greatest fencing token that it has seen.

use std::sync::Mutex;
use std::time::Duration;

use redlock_runtime::LockManager;
use tokio::time::sleep;

/// What the lock protects. A database would do the same with `UPDATE … WHERE fencing_token < $1`.
#[derive(Default)]
struct Store(Mutex<(u64, String)>);

impl Store {
    /// Takes a write, unless one with a greater token came before it.
    fn write(&self, fencing_token: u64, text: &str) -> Result<(), String> {
        let mut stored = self.0.lock().unwrap();
        if fencing_token < stored.0 {
            return Err(format!("token {fencing_token} is older than {}", stored.0));
        }
        *stored = (fencing_token, text.to_owned());
        Ok(())
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let locks = if std::env::var_os("REDLOCK_NODES").is_some() {
        LockManager::from_env()?
    } else {
        LockManager::builder().nodes(["memory://a", "memory://b", "memory://c"]).build()?
    };
    let store = Store::default();

    // Nothing renews this lock, as if its process were stopped: a long garbage collection, a suspended machine.
    let paused = locks.lock("report").ttl(Duration::from_millis(300)).renew(false).acquire().await?;
    println!("Ada has the lock, with token {}, and falls asleep", paused.fencing_token());

    let guard = locks.lock("report").acquire().await?;
    println!(
        "Bea has the lock, with token {}: {:?}",
        guard.fencing_token(),
        store.write(guard.fencing_token(), "Bea's")
    );
    guard.release().await?;

    sleep(Duration::from_millis(100)).await;
    println!("Ada wakes up and writes: {:?}", store.write(paused.fencing_token(), "Ada's"));
    println!("the report is {}", store.0.lock().unwrap().1);
    locks.shutdown().await;
    Ok(())
}
