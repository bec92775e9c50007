//! Of all who want a value that is not there one computes it.

use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redlock_runtime::{Error, LockManager, LockRequest, LostReason};
use redlock_tests::wait::eventually;
use redlock_tests::{RedisServer, Servers};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;

use crate::common::{client_of_its_own, key, manager, none_has_x};

/// What a caller can get instead of a value.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("no cache")]
    Get,
    #[error("no value")]
    Compute,
    #[error(transparent)]
    Lock(#[from] Error),
}

/// A cache on a real server, and how often its value was computed.
#[derive(Clone)]
struct Cache {
    connection: redis::aio::MultiplexedConnection,
    computed: Arc<AtomicUsize>,
}

impl Cache {
    async fn on(server: &RedisServer) -> Self {
        Self { connection: client_of_its_own(server).await, computed: Arc::default() }
    }

    async fn ask(&self, request: LockRequest) -> Result<u64, Failure> {
        let get = async || {
            let found = redis::cmd("GET").arg("value").query_async(&mut self.connection.clone()).await;
            found.map_err(|_| Failure::Get)
        };
        let compute = async || {
            let value = self.computed.fetch_add(1, Ordering::Relaxed) as u64 + 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
            let stored = redis::cmd("SET").arg("value").arg(value).exec_async(&mut self.connection.clone()).await;
            stored.map_err(|_| Failure::Compute)?;
            Ok(value)
        };
        request.get_or_compute(get, compute).await
    }

    fn computed(&self) -> usize {
        self.computed.load(Ordering::Relaxed)
    }
}

/// Spawned: that the future is `Send` is part of the promise.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_hundred_callers_with_two_managers_one_computes_and_all_have_its_value() {
    let servers = Servers::start(3);
    let cache = Cache::on(&servers[0]).await;
    let managers = [manager(&servers), manager(&servers)];
    for round in 1..=3 {
        let mut callers = JoinSet::new();
        for caller in 0..100 {
            let (cache, request) = (cache.clone(), managers[caller % 2].lock("x"));
            callers.spawn(async move { cache.ask(request).await });
        }
        while let Some(value) = callers.join_next().await {
            assert_eq!(value.unwrap().unwrap(), round);
        }
        assert_eq!(cache.computed() as u64, round);
        servers[0].probe().del("value");
    }
    none_has_x(&servers).await;
}

#[tokio::test]
async fn what_is_there_is_had_without_the_lock() {
    let servers = Servers::start(3);
    let cache = Cache::on(&servers[0]).await;
    servers[0].probe().set("value", "7");
    let guard = manager(&servers).lock("x").acquire().await.unwrap();
    assert_eq!(cache.ask(manager(&servers).lock("x")).await.unwrap(), 7);
    assert_eq!(cache.computed(), 0);
    guard.release().await.unwrap();
}

#[tokio::test]
async fn a_caller_whose_time_is_over_looks_once_more() {
    let servers = Servers::start(3);
    let cache = Cache::on(&servers[0]).await;
    let guard = manager(&servers).lock("x").acquire().await.unwrap();
    // Long enough to be told by a busy machine that somebody has it.
    let request = manager(&servers).lock("x").timeout(Duration::from_secs(2));
    let looked = AtomicUsize::new(0);
    let late = request.clone().get_or_compute(
        async || Ok::<_, Failure>((looked.fetch_add(1, Ordering::Relaxed) == 1).then_some(5)),
        async || Err(Failure::Compute),
    );
    assert_eq!(late.await.unwrap(), 5);
    let error = cache.ask(request).await.unwrap_err();
    assert!(matches!(error, Failure::Lock(Error::NotAcquired { .. })), "{error}");
    assert_eq!(cache.computed(), 0);
    guard.release().await.unwrap();
}

#[tokio::test]
async fn errors_are_returned_and_the_next_caller_computes() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    // At the first look, and at the one under the lock.
    for fails_at in [0, 1] {
        let looked = AtomicUsize::new(0);
        let get = async || match looked.fetch_add(1, Ordering::Relaxed) {
            look if look == fails_at => Err(Failure::Get),
            _ => Ok(None),
        };
        let got = locks.lock("x").get_or_compute(get, async || Ok(1)).await;
        assert!(matches!(got, Err(Failure::Get)), "{got:?}");
        assert_eq!(looked.into_inner(), fails_at + 1);
    }
    let got = locks.lock("x").get_or_compute(async || Ok(None::<u8>), async || Err(Failure::Compute)).await;
    assert!(matches!(got, Err(Failure::Compute)), "{got:?}");
    let next = locks.lock("x").timeout(Duration::from_secs(10)).get_or_compute(async || Ok(None), async || Ok(2));
    assert_eq!(next.await.map_err(|error: Failure| error.to_string()), Ok(2));
    let invalid = locks.lock("").get_or_compute(async || Ok(None), async || Ok(2)).await;
    assert!(matches!(invalid, Err(Failure::Lock(Error::InvalidName { .. }))), "{invalid:?}");
}

#[tokio::test]
async fn whoever_is_cancelled_or_panics_while_computing_leaves_nothing_behind() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    for panics in [false, true] {
        let (began, request) = (Arc::new(Notify::new()), locks.lock("x").ttl(Duration::from_secs(60)));
        let tell = Arc::clone(&began);
        let computing = tokio::spawn(async move {
            let compute = async || {
                tell.notify_one();
                assert!(!panics, "as the test wants");
                pending().await
            };
            request.get_or_compute(async || Ok::<Option<u8>, Error>(None), compute).await
        });
        began.notified().await;
        // A panic is told when its lock has been released, unless it is cancelled before.
        if !panics {
            computing.abort();
        }
        assert_eq!(computing.await.unwrap_err().is_panic(), panics);
        none_has_x(&servers).await;
    }
}

#[tokio::test]
async fn losing_the_lock_ends_the_computation() {
    let servers = Servers::start(3);
    // The renewal, which finds it out, is due after a third; a busy machine may be seconds late with it.
    let request = manager(&servers).lock("x").ttl(Duration::from_secs(9));
    let dropped = Semaphore::new(1);
    let lost = request.get_or_compute(
        async || Ok::<Option<u8>, Error>(None),
        async || {
            let _until_dropped = dropped.acquire().await;
            servers.iter().for_each(|server| server.probe().flush_all());
            pending().await
        },
    );
    let error = lost.await.unwrap_err();
    assert!(matches!(error, Error::Lost { reason: LostReason::Taken, .. }), "{error}");
    assert_eq!(dropped.available_permits(), 1);
}

#[test]
fn blocked_threads_compute_once() {
    let servers = Servers::start(3);
    let managers: [LockManager; 2] = [manager(&servers), manager(&servers)];
    let (cache, computed) = (Mutex::new(None), AtomicUsize::new(0));
    let value = || cache.lock().unwrap_or_else(PoisonError::into_inner);
    std::thread::scope(|scope| {
        for caller in 0..8 {
            let request = managers[caller % 2].lock("x");
            let (value, computed) = (&value, &computed);
            scope.spawn(move || {
                let got = request.get_or_compute_blocking(
                    || Ok::<_, Error>(*value()),
                    || Ok(*value().insert(computed.fetch_add(1, Ordering::Relaxed) + 1)),
                );
                assert_eq!(got.unwrap(), 1);
            });
        }
    });
    eventually("nothing is left", || servers.holding(&key("x")) == 0);
}
