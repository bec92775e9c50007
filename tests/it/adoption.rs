//! A token is adopted once, by whoever comes first, and the lock is never left to nobody on the way.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use redlock_runtime::testing::MemoryNode;
use redlock_runtime::{Error, LockGuard, LockManager, LockToken};
use redlock_tests::gateway::Answer;
use redlock_tests::proxy::{Direction, Flow};
use redlock_tests::wait::eventually_async;
use redlock_tests::{Cluster, Gateway, Proxy, Servers};

use crate::common::{NODE_TIMEOUT, all_have_x, key, manager, none_has_x, unhurried};

const TTL: Duration = Duration::from_secs(60);
const COUNTER: &str = "redlock-fence:{redlock:ConfigurableLock.x}";

async fn detached(locks: &LockManager) -> LockToken {
    locks.lock("x").ttl(TTL).acquire().await.unwrap().detach()
}

#[track_caller]
fn is_not_held<T>(result: &Result<T, Error>) {
    assert!(matches!(result, Err(Error::NotHeld { .. })), "{:?}", result.as_ref().err());
}

/// The same of somebody who gives a busy machine little time to answer.
async fn eventually_not_held(locks: &LockManager, token: &LockToken) {
    eventually_async("it is not held", async || match locks.adopt(token.clone()).await {
        Err(Error::QuorumUnreachable { .. }) => false,
        adopted => {
            is_not_held(&adopted);
            true
        }
    })
    .await;
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
        none_has_x(&servers).await;
    }
}

#[tokio::test]
async fn a_token_is_adopted_once_on_nodes_of_memory_on_clusters_and_without_fencing() {
    let names = ["a", "b", "c"].map(|name| format!("adoption-{name}"));
    let _nodes = names.clone().map(|name| MemoryNode::named(&name));
    let memory = || LockManager::builder().nodes(names.iter().map(|name| format!("memory://{name}"))).build().unwrap();
    check_adopted_once(&memory(), &memory()).await;
    let cluster = Cluster::start();
    let clustered = || unhurried().nodes([cluster.url()]).build().unwrap();
    check_adopted_once(&clustered(), &clustered()).await;
    let servers = Servers::start(3);
    let unfenced = || unhurried().nodes(servers.urls()).fencing(false).build().unwrap();
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
        none_has_x(&servers).await;
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
        unhurried().nodes(urls).node_timeout(node_timeout).build().unwrap()
    }

    fn is_given_on(&self, lost: &[usize], before: &[Option<String>]) -> bool {
        let values = self.servers.values(&key("x"));
        lost.iter().all(|node| values[*node].is_some() && values[*node] != before[*node])
    }
}

/// Every combination of nodes whose answers are lost behind a swap that they carried out.
fn combinations() -> impl Iterator<Item = Vec<usize>> {
    combinations_of(3)
}

fn combinations_of(nodes: usize) -> impl Iterator<Item = Vec<usize>> {
    (1..1 << nodes).map(move |bits| (0..nodes).filter(|node| bits >> node & 1 == 1).collect())
}

#[tokio::test]
async fn whichever_answers_are_lost_for_good_the_lock_is_the_guards_or_the_tokens_again() {
    for lost in combinations() {
        let proxied = Proxied::start();
        // Where no majority is heard it is tried for four times as long as that; else nobody is waited for.
        let node_timeout = if lost.len() < 2 { NODE_TIMEOUT } else { Duration::from_millis(100) };
        let (here, there) = (proxied.manager(node_timeout), manager(&proxied.servers));
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
            eventually_not_held(&here, &token).await;
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

/// A lock on all of these servers, which is detached from a manager that reaches them through gateways.
async fn detached_through_gateways(
    servers: &Servers,
    node_timeout: Duration,
) -> (Vec<Gateway>, LockManager, LockToken) {
    let gateways: Vec<_> = servers.iter().map(Gateway::start).collect();
    let urls = gateways.iter().map(Gateway::url);
    let builder = unhurried().nodes(urls);
    // What a node grants behind a detached lock is given back: whoever detaches it waits for all of them.
    let token = detached(&builder.clone().build().unwrap()).await;
    let here = builder.node_timeout(node_timeout).build().unwrap();
    eventually_async("every node has it", async || servers.holding(&key("x")) == servers.iter().count()).await;
    (gateways, here, token)
}

/// The command that commits a fencing token.
fn commit() -> String {
    let script = redis::Script::new(include_str!("../../redlock-runtime/src/node/redis/lua/commit.lua"));
    format!("EVALSHA {}", script.get_hash())
}

/// The swap is heard of from every node, and that the new token is committed is not heard from some of them.
#[tokio::test]
async fn whichever_answers_to_the_commit_are_lost_the_lock_is_the_guards_or_the_tokens_again() {
    for (nodes, lost) in [1, 2, 3].into_iter().flat_map(|nodes| combinations_of(nodes).map(move |lost| (nodes, lost))) {
        let what = format!("{lost:?} of {nodes}");
        let servers = Servers::start(nodes);
        // Where no majority is heard it is tried for four times as long as that; else nobody is waited for.
        let is_heard = lost.len() <= (nodes - 1) / 2;
        let node_timeout = if is_heard { NODE_TIMEOUT } else { Duration::from_millis(500) };
        let (gateways, here, token) = detached_through_gateways(&servers, node_timeout).await;
        let there = manager(&servers);
        for node in &lost {
            gateways[*node].answer(&commit(), Answer::Swallowed);
        }
        let before: Vec<_> = gateways.iter().map(|gateway| gateway.asked(&commit())).collect();
        let adopted = here.adopt(token.clone()).await;
        let hear_again = || {
            for node in &lost {
                gateways[*node].answer(&commit(), Answer::Passed);
                gateways[*node].cut();
            }
        };
        let guard = if is_heard {
            is_not_held(&there.adopt(token.clone()).await);
            adopted.unwrap_or_else(|error| panic!("{what}: {error:?}"))
        } else {
            assert!(matches!(adopted, Err(Error::QuorumUnreachable { .. })), "{what}: {:?}", adopted.err());
            let is_asked = |node: &usize| gateways[*node].asked(&commit()) > before[*node];
            assert!(lost.iter().any(is_asked), "{what}: nothing was committed");
            hear_again();
            let guard = adopt_again(&there, &token).await;
            eventually_not_held(&here, &token).await;
            guard
        };
        assert!(guard.fencing_token() > token.fencing_token() && guard.is_valid(), "{what}");
        guard.release().await.unwrap();
        hear_again();
        none_has_x(&servers).await;
    }
}

#[tokio::test]
async fn an_adoption_whose_answers_to_the_commit_are_lost_once_finds_the_lock_its_own() {
    for (nodes, lost) in [1, 2, 3].into_iter().flat_map(|nodes| combinations_of(nodes).map(move |lost| (nodes, lost))) {
        let what = format!("{lost:?} of {nodes}");
        let servers = Servers::start(nodes);
        let (gateways, here, token) = detached_through_gateways(&servers, Duration::from_secs(10)).await;
        let there = manager(&servers);
        let counters = servers.values(COUNTER);
        for node in &lost {
            gateways[*node].answer(&commit(), Answer::Swallowed);
        }
        let adopting = {
            let (here, token) = (here.clone(), token.clone());
            tokio::spawn(async move { here.adopt(token).await })
        };
        // What a majority has not asked for when it is complete is not waited for.
        let is_committed = |node: &usize| servers.values(COUNTER)[*node] > counters[*node];
        let are_committed = async || lost.iter().any(is_committed) || adopting.is_finished();
        eventually_async(format!("{what}: one is committed"), are_committed).await;
        // What they answered is gone with the connections.
        for node in &lost {
            gateways[*node].answer(&commit(), Answer::Passed);
            gateways[*node].cut();
        }
        let guard = adopting.await.unwrap().unwrap_or_else(|error| panic!("{what}: {error:?}"));
        is_not_held(&there.adopt(token.clone()).await);
        assert!(guard.fencing_token() > token.fencing_token() && guard.is_valid(), "{what}");
        guard.release().await.unwrap();
        none_has_x(&servers).await;
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
    none_has_x(&servers).await;
}

/// Servers, and two ways to them on which requests can be kept.
struct TwoWays {
    servers: Servers,
    ways: [Vec<Proxy>; 2],
}

impl TwoWays {
    fn start() -> Self {
        let servers = Servers::start(3);
        let ways = [(); 2].map(|()| servers.iter().map(Proxy::start).collect());
        Self { servers, ways }
    }

    fn manager(&self, way: usize) -> LockManager {
        let urls = self.ways[way].iter().map(Proxy::url);
        // Nothing is asked in the background but what is looked for here.
        unhurried().nodes(urls).node_timeout(Duration::from_secs(20)).owner_label("").build().unwrap()
    }

    /// How many scripts this server has carried out.
    fn scripts(&self, node: usize) -> u64 {
        let counts = self.servers[node].probe().command_counts();
        counts.of("evalsha") + counts.of("eval")
    }

    fn requests(&self, way: usize, node: usize, flow: Flow) {
        self.ways[way][node].set(Direction::Requests, flow);
    }

    /// Adopts, and gives the lock back to the token, of which the last node does not learn yet.
    async fn give_back_but_for_the_last(&self, locks: &LockManager, token: &LockToken) {
        eventually_async("every node has it", async || self.servers.holding(&key("x")) == 3).await;
        let before = self.servers.values(&key("x"));
        self.ways[0].iter().for_each(|proxy| proxy.set(Direction::Replies, Flow::Hold));
        let adopting = tokio::spawn({
            let (locks, token) = (locks.clone(), token.clone());
            async move { locks.adopt(token).await }
        });
        let values = || self.servers.values(&key("x"));
        let are_given = async || values().iter().zip(&before).all(|(now, before)| now.is_some() && now != before);
        eventually_async("it is given", are_given).await;
        self.requests(0, 2, Flow::Hold);
        adopting.abort();
        let _ = adopting.await;
        self.ways[0].iter().for_each(|proxy| proxy.set(Direction::Replies, Flow::Forward));
        eventually_async("the others gave it back", async || values()[..2] == before[..2]).await;
        assert_ne!(values()[2], before[2]);
    }

    async fn nothing_is_left(&self) {
        eventually_async("nothing is left", async || self.servers.holding(&key("x")) == 0).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_token_got_back_late_is_released_though_its_next_owner_passed_the_lock_on() {
    let ways = TwoWays::start();
    let (here, there) = (ways.manager(0), ways.manager(1));
    there.lock("y").acquire().await.unwrap().release().await.unwrap();
    let token = detached(&here).await;
    ways.give_back_but_for_the_last(&here, &token).await;

    // The next adoption is refused by the last node, and on its way to the others.
    let before = ways.scripts(2);
    ways.requests(1, 0, Flow::Hold);
    ways.requests(1, 1, Flow::Hold);
    let adopting = tokio::spawn({
        let (there, token) = (there.clone(), token.clone());
        async move { there.adopt(token).await }
    });
    eventually_async("it was refused there", async || ways.scripts(2) > before).await;
    // Now the last node learns of it, too, and all have the token's key.
    ways.requests(0, 2, Flow::Forward);
    here.shutdown().await;
    assert_eq!(ways.servers.values(&key("x"))[2], ways.servers.values(&key("x"))[0]);
    ways.requests(1, 0, Flow::Forward);
    ways.requests(1, 1, Flow::Forward);
    let passed_on = adopting.await.unwrap().unwrap().detach();
    there.release(&passed_on).await.unwrap();
    ways.nothing_is_left().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_token_got_back_late_is_released_though_two_others_have_a_node_each() {
    let ways = TwoWays::start();
    let (here, there) = (ways.manager(0), ways.manager(1));
    there.lock("y").acquire().await.unwrap().release().await.unwrap();
    let token = detached(&here).await;
    ways.give_back_but_for_the_last(&here, &token).await;
    let next = unhurried().nodes(ways.servers.urls()).owner_label("").build().unwrap();
    let passed_on = next.adopt(token.clone()).await.unwrap().detach();
    next.shutdown().await;

    // Whoever adopts it from there has the first node, and is on his way to the second.
    let before = ways.servers.values(&key("x"));
    ways.requests(1, 1, Flow::Hold);
    let adopting = tokio::spawn({
        let there = there.clone();
        async move { there.adopt(passed_on).await }
    });
    let has_first = async || ways.servers.values(&key("x"))[0] != before[0];
    eventually_async("it is given there", has_first).await;
    let before_look = ways.scripts(1);
    ways.requests(0, 2, Flow::Forward);
    // Three owners, one on each node.
    eventually_async("it was looked who has it", async || ways.scripts(1) > before_look).await;
    ways.requests(1, 1, Flow::Forward);
    adopting.await.unwrap().unwrap().release().await.unwrap();
    ways.nothing_is_left().await;
}

#[tokio::test]
async fn what_a_hung_node_still_had_of_the_token_is_released_with_the_guard() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    let token = detached(&locks).await;
    all_have_x(&servers).await;
    servers[2].hang();
    let guard = locks.adopt(token).await.unwrap();
    guard.release().await.unwrap();
    servers[2].resume();
    none_has_x(&servers).await;
}

#[tokio::test]
async fn what_a_node_that_could_not_be_reached_still_had_of_the_token_is_released_with_the_guard() {
    let proxied = Proxied::start();
    let locks = proxied.manager(NODE_TIMEOUT);
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
