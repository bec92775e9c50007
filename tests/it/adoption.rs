//! A token is adopted once, by whoever comes first, and the lock is never left to nobody on the way.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use redlock_runtime::testing::MemoryNode;
use redlock_runtime::{Error, LockGuard, LockManager, LockToken};
use redlock_tests::proxy::{Direction, Flow};
use redlock_tests::wait::eventually_async;
use redlock_tests::{Cluster, Proxy, Servers};

use crate::common::{key, manager};

const TTL: Duration = Duration::from_secs(60);
const COUNTER: &str = "redlock-fence:{redlock:ConfigurableLock.x}";

async fn detached(locks: &LockManager) -> LockToken {
    locks.lock("x").ttl(TTL).acquire().await.unwrap().detach()
}

#[track_caller]
fn is_not_held<T>(result: &Result<T, Error>) {
    assert!(matches!(result, Err(Error::NotHeld { .. })), "{:?}", result.as_ref().err());
}

/// Adopts one token with both managers; the first one has it, and nothing else is worth anything any more.
async fn check_adopted_once(here: &LockManager, there: &LockManager) {
    let token = detached(here).await;
    let guard = here.adopt(token.clone()).await.unwrap();
    assert!(guard.fencing_token() > token.fencing_token());
    for locks in [there, here] {
        is_not_held(&locks.adopt(token.clone()).await);
        is_not_held(&locks.extend(&token, TTL).await);
        is_not_held(&locks.release(&token).await);
    }
    assert!(guard.is_valid());
    guard.extend(TTL).await.unwrap();
    assert!(there.lock("x").try_acquire().await.unwrap().is_none());
    // The guard's own token is a new one.
    let (before, token) = (guard.fencing_token(), guard.detach());
    assert_eq!(token.fencing_token(), before);
    let guard = there.adopt(token).await.unwrap();
    assert!(guard.fencing_token() > before);
    let before = guard.fencing_token();
    guard.release().await.unwrap();
    let guard = here.lock("x").acquire().await.unwrap();
    assert!(guard.fencing_token() > before);
    guard.release().await.unwrap();
}

#[tokio::test]
async fn of_two_who_adopt_one_token_one_holds_the_lock_and_the_token_is_worthless() {
    for count in [1, 3, 5] {
        let servers = Servers::start(count);
        check_adopted_once(&manager(&servers), &manager(&servers)).await;
        eventually_async("nothing is left", async || servers.holding(&key("x")) == 0).await;
    }
}

#[tokio::test]
async fn a_token_is_adopted_once_on_nodes_of_memory_on_clusters_and_without_fencing() {
    let names = ["a", "b", "c"].map(|name| format!("adoption-{name}"));
    let _nodes = names.clone().map(|name| MemoryNode::named(&name));
    let memory = || LockManager::builder().nodes(names.iter().map(|name| format!("memory://{name}"))).build().unwrap();
    check_adopted_once(&memory(), &memory()).await;
    let cluster = Cluster::start();
    let clustered = || LockManager::builder().nodes([cluster.url()]).build().unwrap();
    check_adopted_once(&clustered(), &clustered()).await;
    let servers = Servers::start(3);
    let unfenced = || LockManager::builder().nodes(servers.urls()).fencing(false).build().unwrap();
    let token = detached(&unfenced()).await;
    let guard = unfenced().adopt(token.clone()).await.unwrap();
    assert_eq!(guard.fencing_token(), 0);
    is_not_held(&unfenced().adopt(token).await);
}

#[tokio::test]
async fn an_older_version_sees_the_lock_of_an_owner_whom_it_does_not_know() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    let token = detached(&locks).await;
    let before = servers.values(&key("x"));
    let _guard = locks.adopt(token).await.unwrap();
    eventually_async("every node has given it", async || {
        servers.values(&key("x")).iter().zip(&before).all(|(now, before)| now.is_some() && now != before)
    })
    .await;
    for value in servers.values(&key("x")) {
        let value = value.unwrap();
        assert!(value.len() == 36 && value.split('-').map(str::len).eq([8, 4, 4, 4, 12]), "{value}");
    }
}

#[tokio::test]
async fn of_many_who_adopt_one_token_at_once_no_two_hold_it_and_it_is_not_lost() {
    let servers = Servers::start(3);
    let managers: Vec<_> = (0..5).map(|_| manager(&servers)).collect();
    for _ in 0..5 {
        let token = detached(&managers[0]).await;
        let adopting: Vec<_> = managers
            .iter()
            .map(|locks| {
                let (locks, token) = (locks.clone(), token.clone());
                tokio::spawn(async move { locks.adopt(token).await })
            })
            .collect();
        let mut guards: Vec<LockGuard> = Vec::new();
        for adopting in adopting {
            match adopting.await.unwrap() {
                Ok(guard) => guards.push(guard),
                Err(Error::NotHeld { .. } | Error::QuorumUnreachable { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
        assert!(guards.len() <= 1, "{} hold it", guards.len());
        let guard = match guards.pop() {
            Some(guard) => guard,
            None => adopt_again(&managers[1], &token).await,
        };
        assert!(guard.fencing_token() > token.fencing_token() && guard.is_valid());
        guard.release().await.unwrap();
        eventually_async("nothing is left", async || servers.holding(&key("x")) == 0).await;
    }
}

/// Adopts a token once the lock was given back to it.
async fn adopt_again(locks: &LockManager, token: &LockToken) -> LockGuard {
    let mut adopted = None;
    eventually_async("the lock is the token's again", async || {
        adopted = locks.adopt(token.clone()).await.ok();
        adopted.is_some()
    })
    .await;
    adopted.unwrap()
}

/// Three servers, each behind a proxy.
struct Proxied {
    servers: Servers,
    proxies: Vec<Proxy>,
}

impl Proxied {
    fn start() -> Self {
        let servers = Servers::start(3);
        let proxies = servers.iter().map(Proxy::start).collect();
        Self { servers, proxies }
    }

    fn manager(&self, node_timeout: Duration) -> LockManager {
        let urls = self.proxies.iter().map(Proxy::url);
        LockManager::builder().nodes(urls).node_timeout(node_timeout).build().unwrap()
    }

    fn is_given_on(&self, lost: &[usize], before: &[Option<String>]) -> bool {
        let values = self.servers.values(&key("x"));
        lost.iter().all(|node| values[*node].is_some() && values[*node] != before[*node])
    }
}

/// Every combination of nodes whose answers are lost behind a swap that they carried out.
fn combinations() -> impl Iterator<Item = Vec<usize>> {
    (1..8).map(|bits| (0..3).filter(|node| bits >> node & 1 == 1).collect())
}

#[tokio::test]
async fn whichever_answers_are_lost_for_good_the_lock_is_the_guards_or_the_tokens_again() {
    for lost in combinations() {
        let proxied = Proxied::start();
        let (here, there) = (proxied.manager(Duration::from_millis(100)), manager(&proxied.servers));
        let token = detached(&here).await;
        for node in &lost {
            proxied.proxies[*node].set(Direction::Replies, Flow::Swallow);
        }
        let adopted = here.adopt(token.clone()).await;
        let guard = if lost.len() < 2 {
            is_not_held(&there.adopt(token.clone()).await);
            adopted.unwrap()
        } else {
            assert!(matches!(adopted, Err(Error::QuorumUnreachable { .. })), "{lost:?}: {:?}", adopted.err());
            for node in &lost {
                proxied.proxies[*node].set(Direction::Replies, Flow::Forward);
                proxied.proxies[*node].cut();
            }
            let guard = adopt_again(&there, &token).await;
            is_not_held(&here.adopt(token.clone()).await);
            guard
        };
        assert!(guard.fencing_token() > token.fencing_token(), "{lost:?}");
        assert!(guard.is_valid(), "{lost:?}");
        guard.release().await.unwrap();
        for node in &lost {
            proxied.proxies[*node].set(Direction::Replies, Flow::Forward);
            proxied.proxies[*node].cut();
        }
        eventually_async("nothing is left", async || proxied.servers.holding(&key("x")) == 0).await;
    }
}

#[tokio::test]
async fn an_adoption_whose_answers_are_lost_asks_again_and_finds_the_lock_its_own() {
    for lost in combinations() {
        let proxied = Proxied::start();
        let (here, there) = (proxied.manager(Duration::from_secs(10)), manager(&proxied.servers));
        let token = detached(&here).await;
        eventually_async("every node has it", async || proxied.servers.holding(&key("x")) == 3).await;
        let before = proxied.servers.values(&key("x"));
        for node in &lost {
            proxied.proxies[*node].set(Direction::Replies, Flow::Hold);
        }
        let adopting = {
            let (here, token) = (here.clone(), token.clone());
            tokio::spawn(async move { here.adopt(token).await })
        };
        eventually_async("they have given it", async || proxied.is_given_on(&lost, &before)).await;
        // What they answered is gone with the connections.
        for node in &lost {
            proxied.proxies[*node].cut();
            proxied.proxies[*node].set(Direction::Replies, Flow::Forward);
        }
        let guard = adopting.await.unwrap().unwrap_or_else(|error| panic!("{lost:?}: {error:?}"));
        is_not_held(&there.adopt(token.clone()).await);
        assert!(guard.fencing_token() > token.fencing_token(), "{lost:?}");
        guard.release().await.unwrap();
        eventually_async("nothing is left", async || proxied.servers.holding(&key("x")) == 0).await;
    }
}

#[tokio::test]
async fn an_adoption_that_is_dropped_anywhere_gives_the_lock_back_to_the_token() {
    let servers = Servers::start(3);
    let (here, there) = (manager(&servers), manager(&servers));
    let mut token = detached(&here).await;
    for polls in 0.. {
        let adopted = {
            let mut adopting = pin!(here.adopt(token.clone()));
            let mut polled = 0;
            poll_fn(|cx| match adopting.as_mut().poll(cx) {
                Poll::Ready(adopted) => Poll::Ready(Some(adopted)),
                Poll::Pending if polled == polls => Poll::Ready(None),
                Poll::Pending => {
                    polled += 1;
                    Poll::Pending
                }
            })
            .await
        };
        if let Some(adopted) = adopted {
            adopted.unwrap().release().await.unwrap();
            assert!(polls > 1, "it was never dropped");
            break;
        }
        token = adopt_again(&there, &token).await.detach();
    }
    eventually_async("nothing is left", async || servers.holding(&key("x")) == 0).await;
}

#[tokio::test]
async fn what_a_hung_node_still_had_of_the_token_is_released_with_the_guard() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    let token = detached(&locks).await;
    eventually_async("every node has it", async || servers.holding(&key("x")) == 3).await;
    servers[2].hang();
    let guard = locks.adopt(token).await.unwrap();
    guard.release().await.unwrap();
    servers[2].resume();
    eventually_async("nothing is left", async || servers.holding(&key("x")) == 0).await;
}

#[tokio::test]
async fn what_a_node_that_could_not_be_reached_still_had_of_the_token_is_released_with_the_guard() {
    let proxied = Proxied::start();
    let locks = proxied.manager(Duration::from_millis(250));
    let token = detached(&locks).await;
    eventually_async("every node has it", async || proxied.servers.holding(&key("x")) == 3).await;
    proxied.proxies[2].refuse();
    let guard = locks.adopt(token).await.unwrap();
    guard.release().await.unwrap();
    proxied.proxies[2].take();
    eventually_async("nothing is left", async || proxied.servers.holding(&key("x")) == 0).await;
}

/// What is wrong with a node of memory while a lock is adopted.
const FAULTS: [fn(&MemoryNode); 5] = [
    MemoryNode::recover,
    |node| node.fail("as the test wants"),
    |node| node.fail_afterwards("as the test wants"),
    MemoryNode::hang,
    MemoryNode::go_down,
];

#[tokio::test]
async fn whatever_is_wrong_with_the_nodes_one_holds_the_lock_or_the_token_is_good_again() {
    let names = ["a", "b", "c"].map(|name| format!("adoption-faults-{name}"));
    let nodes = names.clone().map(|name| MemoryNode::named(&name));
    let urls = || names.iter().map(|name| format!("memory://{name}"));
    let impatient = LockManager::builder().nodes(urls()).node_timeout(Duration::from_millis(5)).build().unwrap();
    let there = LockManager::builder().nodes(urls()).build().unwrap();
    let mut last = 0;
    for faults in 0..125_usize {
        let faults = [faults % 5, faults / 5 % 5, faults / 25];
        let token = detached(&there).await;
        assert!(token.fencing_token() > last, "{faults:?}");
        nodes.iter().zip(faults).for_each(|(node, fault)| FAULTS[fault](node));
        let adopted = impatient.adopt(token.clone()).await;
        nodes.iter().for_each(MemoryNode::recover);
        let guard = match adopted {
            Ok(guard) => {
                is_not_held(&there.adopt(token.clone()).await);
                guard
            }
            Err(error) => {
                let well = faults.iter().filter(|fault| **fault == 0).count();
                assert!(matches!(error, Error::QuorumUnreachable { .. }) && well < 3, "{faults:?}: {error:?}");
                adopt_again(&there, &token).await
            }
        };
        assert!(guard.fencing_token() > token.fencing_token(), "{faults:?}");
        last = guard.fencing_token();
        guard.release().await.unwrap();
        let is_free = async || nodes.iter().all(|node| node.owner_of(&key("x")).is_none());
        eventually_async("nothing is left", is_free).await;
    }
}

#[tokio::test]
async fn what_a_token_says_of_fencing_is_not_believed() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    let token = detached(&locks).await;
    let wild = token.to_string().replacen(&token.fencing_token().to_string(), &u64::MAX.to_string(), 1);
    let guard = locks.adopt(wild.parse().unwrap()).await.unwrap();
    assert!(guard.fencing_token() > token.fencing_token() && guard.fencing_token() < 1 << 52);
    let counters = servers.values(COUNTER);
    assert!(counters.iter().flatten().all(|counter| counter.parse::<u64>().unwrap() < 1 << 52), "{counters:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_adoption_that_a_shutdown_overtakes_gives_the_lock_back_to_its_token() {
    let proxied = Proxied::start();
    let (here, there) = (proxied.manager(Duration::from_secs(10)), manager(&proxied.servers));
    let token = detached(&here).await;
    eventually_async("every node has it", async || proxied.servers.holding(&key("x")) == 3).await;
    let before = proxied.servers.values(&key("x"));
    proxied.proxies.iter().for_each(|proxy| proxy.set(Direction::Replies, Flow::Hold));
    let adopting = tokio::spawn({
        let (here, token) = (here.clone(), token.clone());
        async move { here.adopt(token).await }
    });
    eventually_async("they have given it", async || proxied.is_given_on(&[0, 1, 2], &before)).await;
    let ending = tokio::spawn({
        let here = here.clone();
        async move { here.shutdown_within(TTL).await }
    });
    let is_ending = async || matches!(here.lock("y").try_acquire().await, Err(Error::ShutDown));
    eventually_async("it is shut down", is_ending).await;
    proxied.proxies.iter().for_each(|proxy| proxy.set(Direction::Replies, Flow::Forward));
    assert!(matches!(adopting.await.unwrap(), Err(Error::ShutDown)));
    let _ = ending.await.unwrap();
    assert!(there.lock("x").try_acquire().await.unwrap().is_none(), "the lock was left to nobody");
    there.adopt(token).await.expect("it is the token's again").release().await.unwrap();
}
