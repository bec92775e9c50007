//! What the code of README.md and of the pages has beside what they show; `build.rs` puts it around each block.

use std::collections::HashMap;
use std::sync::Mutex;

use redlock_runtime::{Error, LockManager};

/// Runs a block of a page, with a manager that is installed.
///
/// # Panics
///
/// If the block fails.
pub fn run(block: impl AsyncFnOnce(LockManager) -> anyhow::Result<()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be made");
    runtime.block_on(async {
        let locks = LockManager::builder().nodes(["memory://"]).build().expect("memory is a node");
        locks.install().expect("each block is a process of its own");
        block(locks).await.expect("the block runs to its end");
    });
}

/// A cache, such as one that all processes share.
#[derive(Debug, Default)]
pub struct Cache(Mutex<HashMap<String, String>>);

impl Cache {
    /// What is stored under the key.
    ///
    /// # Errors
    ///
    /// None here, where the cache is a map.
    #[expect(clippy::unused_async, reason = "a shared cache is asked over the network")]
    pub async fn get(&self, key: &str) -> Result<Option<String>, Error> {
        Ok(self.0.lock().expect("nobody panics with it").get(key).cloned())
    }

    /// Stores a value.
    ///
    /// # Errors
    ///
    /// None here, where the cache is a map.
    #[expect(clippy::unused_async, reason = "a shared cache is asked over the network")]
    pub async fn set(&self, key: &str, value: &str) -> Result<(), Error> {
        self.0.lock().expect("nobody panics with it").insert(key.to_owned(), value.to_owned());
        Ok(())
    }
}

/// What takes so long that one should do it for all.
///
/// # Errors
///
/// None.
#[expect(clippy::unused_async, reason = "it asks a database")]
pub async fn long_query() -> Result<String, Error> {
    Ok("all is well".to_owned())
}
