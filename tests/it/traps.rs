//! What broke elsewhere, on what has a master behind it that may change: a service that Sentinels watch over, and a Redis Cluster.
//! Each trap is one function over both; what only one of them knows is in `sentinel_traps` and `cluster_traps`.

use std::time::Duration;

use redlock_runtime::{Error, LockManager};
use redlock_tests::clock::timed;
use redlock_tests::wait::{eventually, eventually_async};
use redlock_tests::{Cluster, RedisServer, Sentinel, Servers};

use crate::common::cycles::{PATIENT, cycle_at_once, cycle_soon, patient, unreachable};
use crate::common::key;

/// What has a master behind it.
pub(crate) trait Mastered: Sized {
    fn start() -> Self;

    fn url(&self) -> String;

    /// Other URLs of the same.
    fn again(&self) -> Vec<String>;

    /// Who decides about a lock.
    fn master_of(&self, name: &str) -> &RedisServer;

    /// The one who decides about a lock, and those who might take over.
    fn deciding(&self, name: &str) -> Vec<&RedisServer>;

    /// All who know scripts and decide about any lock.
    fn masters(&self) -> Vec<&RedisServer>;

    /// All that one could ask for the way.
    fn all(&self) -> Vec<&RedisServer>;
}

impl Mastered for Sentinel {
    fn start() -> Self {
        Self::start()
    }

    fn url(&self) -> String {
        self.url()
    }

    fn again(&self) -> Vec<String> {
        let hosts: Vec<_> = self.sentinels().iter().map(RedisServer::address).collect();
        let reversed: Vec<_> = hosts.iter().rev().cloned().collect();
        let url =
            |hosts: &[String]| format!("redis+sentinel://{}/{}/0", hosts.join(","), redlock_tests::sentinel::SERVICE);
        vec![url(&reversed), url(&hosts[2..]), self.master().url()]
    }

    fn master_of(&self, _: &str) -> &RedisServer {
        self.master()
    }

    fn deciding(&self, _: &str) -> Vec<&RedisServer> {
        self.servers().iter().collect()
    }

    fn masters(&self) -> Vec<&RedisServer> {
        vec![self.master()]
    }

    fn all(&self) -> Vec<&RedisServer> {
        self.sentinels().iter().chain(self.servers()).collect()
    }
}

impl Mastered for Cluster {
    fn start() -> Self {
        Self::start()
    }

    fn url(&self) -> String {
        self.url()
    }

    fn again(&self) -> Vec<String> {
        vec![format!("redis+cluster://{}", self.servers()[1].address()), self.master_of("x").url()]
    }

    fn master_of(&self, name: &str) -> &RedisServer {
        self.owner(self.slot_of(&key(name)))
    }

    fn deciding(&self, name: &str) -> Vec<&RedisServer> {
        let owner = self.master_of(name);
        std::iter::once(owner).chain(self.replicas_of(owner)).collect()
    }

    fn masters(&self) -> Vec<&RedisServer> {
        self.masters()
    }

    fn all(&self) -> Vec<&RedisServer> {
        self.servers().iter().collect()
    }
}

/// One that hangs or is gone slows nobody in a quorum.
async fn a_master_that_hangs_or_is_gone<T: Mastered>() {
    let (node, others) = (T::start(), Servers::start(2));
    let urls = || [node.url(), others[0].url(), others[1].url()];
    let locks = patient(urls());
    cycle_soon(&locks, "x").await;
    // All, so that no other becomes the master.
    let deciding = node.deciding("x");
    for server in &deciding {
        server.hang();
    }
    for _ in 0..20 {
        cycle_at_once(&locks, "x").await;
    }
    for server in &deciding {
        server.kill();
    }
    for _ in 0..20 {
        cycle_at_once(&locks, "x").await;
    }
    node.all().into_iter().for_each(RedisServer::kill);
    let locks = patient(urls());
    for _ in 0..20 {
        cycle_at_once(&locks, "x").await;
    }
}

/// One that decides alone and cannot is an error within the limits.
async fn a_master_that_decides_alone_and_hangs<T: Mastered>() {
    let node = T::start();
    let node_timeout = Duration::from_secs(1);
    let builder = LockManager::builder().nodes([node.url()]).node_timeout(node_timeout);
    let locks = builder.connect_timeout(Duration::from_secs(1)).build().unwrap();
    cycle_soon(&locks, "x").await;
    let deciding = node.deciding("x");
    for server in &deciding {
        server.hang();
    }
    for _ in 0..2 {
        let (_, took) = timed(unreachable(&locks, "x")).await;
        assert!(took < node_timeout * 4, "{took:?}");
    }
    for server in &deciding {
        server.resume();
    }
    cycle_soon(&locks, "x").await;
}

/// Scripts that were forgotten are loaded again, whatever is asked for.
async fn scripts_that_were_forgotten<T: Mastered>() {
    let node = T::start();
    let (locks, others) = (patient([node.url()]), patient([node.url()]));
    let forget = || node.masters().into_iter().for_each(|master| master.probe().script_flush());
    let guard = locks.lock("x").acquire().await.unwrap();
    forget();
    assert!(others.lock("x").try_acquire().await.unwrap().is_none());
    forget();
    guard.extend(Duration::from_secs(60)).await.unwrap();
    let waiting = tokio::spawn(others.lock("x").timeout(PATIENT).acquire());
    eventually_async("it waits", async || locks.inspect("x").await.unwrap().waiting == 1).await;
    forget();
    guard.release().await.unwrap();
    let guard = waiting.await.unwrap().unwrap();
    forget();
    assert!(locks.reset("x").await.unwrap() > 0);
    drop(guard);
    forget();
    locks.statistics().await.unwrap();
}

/// One without memory says so.
async fn a_master_without_memory<T: Mastered>() {
    let node = T::start();
    let locks = patient([node.url()]);
    cycle_soon(&locks, "x").await;
    let master = node.master_of("x").probe();
    master.config_set("maxmemory-policy", "noeviction");
    master.config_set("maxmemory", "1");
    let said = unreachable(&locks, "x").await;
    assert!(said.contains("OOM"), "{said}");
    master.config_set("maxmemory", "0");
    cycle_at_once(&locks, "x").await;
}

/// The same named twice has no two votes: it is refused, and the error names both.
async fn the_same_named_twice<T: Mastered>() {
    let node = T::start();
    let master = node.master_of("x").probe();
    for again in node.again() {
        let locks = patient([node.url(), again.clone()]);
        let error = locks.lock("x").try_acquire().await.unwrap_err();
        let Error::Config { reason } = &error else { panic!("{again}: {error}") };
        let names = [node.url(), again].map(|url| url.trim_end_matches("/0").to_owned());
        assert!(names.iter().all(|name| reason.contains(name)), "{reason}");
        eventually("nothing is left", || !master.exists(&key("x")));
    }
}

/// Each trap, for each that has a master behind it.
macro_rules! traps {
    ($($trap:ident),* $(,)?) => {
        mod sentinels {
            $(#[tokio::test]
            async fn $trap() {
                super::$trap::<super::Sentinel>().await;
            })*
        }

        mod clusters {
            $(#[tokio::test]
            async fn $trap() {
                super::$trap::<super::Cluster>().await;
            })*
        }
    };
}

traps! {
    a_master_that_hangs_or_is_gone,
    a_master_that_decides_alone_and_hangs,
    scripts_that_were_forgotten,
    a_master_without_memory,
    the_same_named_twice,
}
