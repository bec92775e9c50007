//! Fifty callers want a value at once that is not in the cache, and one of them computes it; with the same Redis nodes in
//! `REDLOCK_NODES`, and the same cache, one of all processes. The cache is the Redis server that `CACHE_URL` names; without the
//! variable it is in this process.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use redlock_runtime::LockManager;
use redlock_runtime::redis::{self, AsyncCommands, aio::MultiplexedConnection};
use tokio::task::JoinSet;

static COMPUTED: AtomicU32 = AtomicU32::new(0);

#[derive(Clone)]
enum Cache {
    Redis(MultiplexedConnection),
    Here(Arc<Mutex<Option<String>>>),
}

impl Cache {
    async fn get(&self) -> anyhow::Result<Option<String>> {
        match self {
            Self::Redis(connection) => Ok(connection.clone().get("report").await?),
            Self::Here(value) => Ok(value.lock().expect("nobody panicked").clone()),
        }
    }

    /// Takes its time, and stores what comes of it for ten seconds.
    async fn compute(&self) -> anyhow::Result<String> {
        COMPUTED.fetch_add(1, Relaxed);
        tokio::time::sleep(Duration::from_millis(300)).await;
        let report = "all is well".to_owned();
        match self {
            Self::Redis(connection) => connection.clone().set_ex::<_, _, ()>("report", &report, 10).await?,
            Self::Here(value) => *value.lock().expect("nobody panicked") = Some(report.clone()),
        }
        Ok(report)
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let locks = if std::env::var_os("REDLOCK_NODES").is_some() {
        LockManager::from_env()?
    } else {
        LockManager::builder().nodes(["memory://a", "memory://b", "memory://c"]).build()?
    };
    let cache = match std::env::var("CACHE_URL") {
        Ok(url) => Cache::Redis(redis::Client::open(url)?.get_multiplexed_async_connection().await?),
        Err(_) => Cache::Here(Arc::default()),
    };
    let mut callers = JoinSet::new();
    for _ in 0..50 {
        let (request, cache) = (locks.lock("report"), cache.clone());
        callers.spawn(async move { request.get_or_compute(|| cache.get(), async || cache.compute().await).await });
    }
    while let Some(value) = callers.join_next().await {
        assert_eq!(value??, "all is well");
    }
    println!("50 callers have the value; {} of them computed it", COMPUTED.load(Relaxed));
    locks.shutdown().await;
    Ok(())
}
