//! Connections that break, hang and are cut: what they carried is found again, and others take their place.

use std::time::Duration;

use redlock_runtime::{Error, LockManager, Timeout};
use redlock_tests::clock::timed;
use redlock_tests::proxy::{Direction, Flow};
use redlock_tests::wait::{LIMIT, eventually, eventually_async};
use redlock_tests::{Proxy, RedisServer, Servers};
use tokio::runtime::Builder;

use crate::common::{all_have_x, connections, key, none_has_x, unhurried};

#[tokio::test]
async fn a_half_open_connection_holds_nobody_up_and_another_takes_its_place() {
    let server = RedisServer::start();
    let proxy = Proxy::start(&server);
    let node_timeout = Duration::from_millis(150);
    let locks = LockManager::builder()
        .nodes([proxy.url()])
        .node_timeout(node_timeout)
        .connect_timeout(Duration::from_secs(1))
        .build()
        .unwrap();
    let guard = locks.lock("x").acquire().await.unwrap();
    // The connection by which releases are sent again is there, too.
    drop(locks.lock("y").acquire().await.unwrap());
    eventually_async("the other lock is released", async || server.probe().keys_like("redlock:*").len() == 1).await;
    let dropped = locks.lock("z").renew(false).acquire().await.unwrap();
    let before = proxy.accepted();

    // Nothing comes through any more, and neither side is told.
    proxy.set_both(Flow::Swallow);
    drop(dropped);
    let (acquired, took) = timed(locks.lock("y").timeout(Timeout::Skip).acquire()).await;
    assert!(matches!(acquired, Err(Error::QuorumUnreachable { .. })), "{acquired:?}");
    let (extended, took_again) = timed(guard.extend(Duration::from_secs(30))).await;
    assert!(matches!(extended, Err(Error::QuorumUnreachable { .. })), "{extended:?}");
    let (released, took_at_last) = timed(guard.release()).await;
    assert!(matches!(released, Err(Error::QuorumUnreachable { .. })), "{released:?}");
    let longest = took.max(took_again).max(took_at_last);
    assert!(longest < node_timeout * 20, "{longest:?}");

    eventually_async("both connections are replaced", async || proxy.accepted() >= before + 4).await;
    proxy.set_both(Flow::Forward);
    eventually_async("the locks are released by other connections", async || {
        server.probe().keys_like("redlock:*").is_empty()
    })
    .await;
    drop(locks.lock("y").timeout(LIMIT).acquire().await.unwrap());
    // It gives a busy machine little time to confirm.
    eventually_async("it is released, too", async || server.probe().keys_like("redlock:*").is_empty()).await;
}

#[tokio::test]
async fn a_half_open_connection_that_only_renewals_use_is_replaced() {
    let servers = Servers::start(3);
    let proxy = Proxy::start(&servers[0]);
    let urls = [proxy.url(), servers[1].url(), servers[2].url()];
    let limits = (Duration::from_millis(500), Duration::from_secs(1));
    let locks = LockManager::builder().nodes(urls).node_timeout(limits.0).connect_timeout(limits.1).build().unwrap();
    let guard = locks.lock("x").ttl(Duration::from_secs(6)).acquire().await.unwrap();
    // The background's connection is there as well.
    drop(locks.lock("y").acquire().await.unwrap());
    eventually_async("the other is released", async || servers.holding(&key("y")) == 0).await;
    let before = proxy.accepted();
    proxy.set_both(Flow::Swallow);
    eventually_async("the renewals' connection is replaced", async || proxy.accepted() > before).await;
    eventually_async("the key has expired there", async || !servers[0].probe().exists(&key("x"))).await;
    proxy.set_both(Flow::Forward);
    eventually_async("it is set again", async || servers.holding(&key("x")) == 3).await;
    assert!(guard.is_valid());
    guard.release().await.unwrap();
}

#[test]
fn an_acquire_that_a_cut_connection_still_carries_leaves_nothing_behind_its_release() {
    let servers = Servers::start(3);
    let proxies = [Proxy::start(&servers[0]), Proxy::start(&servers[1])];
    let urls = [proxies[0].url(), proxies[1].url(), servers[2].url()];
    let locks = unhurried().nodes(urls).node_timeout(Duration::from_secs(5)).build().unwrap();
    let request = || locks.lock("x").ttl(Duration::from_secs(60)).renew(false);
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let guard = runtime.block_on(async {
        request().acquire().await.unwrap().release().await.unwrap();
        eventually_async("nothing is on its way", async || servers.holding(&key("x")) == 0).await;
        for proxy in &proxies {
            proxy.set(Direction::Requests, Flow::Hold);
        }
        let acquiring = tokio::spawn(request().acquire());
        let is_under_way = async || proxies.iter().all(|proxy| proxy.waiting(Direction::Requests) == 1);
        eventually_async("two acquires are on their way", is_under_way).await;
        let before = proxies[0].accepted();
        proxies[0].strand();
        eventually_async("its end was noticed", async || proxies[0].accepted() > before).await;
        proxies[1].set(Direction::Requests, Flow::Forward);
        acquiring.await.unwrap().unwrap()
    });
    // Nobody is left whose new connection would have closed the old one.
    drop(runtime);
    proxies[0].set(Direction::Requests, Flow::Forward);
    drop(guard);
    eventually("what was granted is released", || servers.holding(&key("x")) == 0);
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(locks.shutdown());
    proxies[0].land();
    // Whatever came through has been carried out when something behind it has.
    eventually("what was kept went its way", || proxies[0].waiting(Direction::Requests) == 0);
    let after = |_: u8| servers[0].probe().exists(&key("x"));
    assert!(!(0..20).any(after), "the acquire arrived behind its release");
}

#[tokio::test]
async fn a_release_does_not_wait_for_a_renewal_whose_connections_are_still_being_made() {
    let servers = Servers::start(3);
    let patient = Duration::from_secs(8);
    // Nothing is asked in the background but the renewal, which is due after three seconds.
    let locks = LockManager::builder().nodes(servers.urls()).connect_timeout(patient).owner_label("").build().unwrap();
    let guard = locks.lock("x").ttl(Duration::from_secs(9)).acquire().await.unwrap();
    let connections = || connections(&servers[0].probe());
    all_have_x(&servers).await;
    servers[1].hang();
    servers[2].hang();
    let before = connections();
    eventually_async("the renewal has begun", async || connections() > before).await;
    let (released, took) = timed(guard.release()).await;
    assert!(matches!(released, Err(Error::QuorumUnreachable { .. })), "{released:?}");
    assert!(took < patient / 4, "{took:?}");
    servers[1].resume();
    servers[2].resume();
    none_has_x(&servers).await;
}
