//! A lock that was acquired in one place is released, extended and taken over in another.

use std::time::Duration;

use redlock_runtime::{Error, LockManager, LockToken};
use redlock_tests::proxy::{Direction, Flow};
use redlock_tests::wait::eventually_async;
use redlock_tests::{Proxy, Servers};

use crate::common::{all_have_x, key, manager, none_has_x, unhurried};

const TTL: Duration = Duration::from_secs(20);

async fn detached(locks: &LockManager) -> LockToken {
    locks.lock("x").ttl(TTL).acquire().await.unwrap().detach()
}

/// The token as another process has it: from text, with a manager of its own.
fn passed_on(token: &LockToken) -> LockToken {
    token.to_string().parse().unwrap()
}

#[tokio::test]
async fn a_detached_lock_is_held_until_it_is_released_by_its_token() {
    for count in [1, 3] {
        let servers = Servers::start(count);
        let (here, there) = (manager(&servers), manager(&servers));
        let token = passed_on(&detached(&here).await);
        assert!(there.lock("x").try_acquire().await.unwrap().is_none());
        there.release(&token).await.unwrap();
        there.lock("x").try_acquire().await.unwrap().expect("it is free").release().await.unwrap();
        assert!(matches!(there.release(&token).await, Err(Error::NotHeld { .. })));
    }
}

#[tokio::test]
async fn a_release_by_token_wakes_whoever_waits_where_it_was_detached() {
    let servers = Servers::start(3);
    let (here, there) = (manager(&servers), manager(&servers));
    let token = passed_on(&detached(&here).await);
    let waiting = tokio::spawn(here.lock("x").acquire());
    there.release(&token).await.unwrap();
    waiting.await.unwrap().unwrap().release().await.unwrap();
}

#[tokio::test]
async fn whoever_does_not_own_the_lock_changes_nothing() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    let token = detached(&locks).await;
    locks.release(&token).await.unwrap();
    let guard = locks.lock("x").ttl(TTL).acquire().await.unwrap();
    all_have_x(&servers).await;
    let before = servers.values(&key("x"));
    assert!(matches!(locks.release(&token).await, Err(Error::NotHeld { .. })));
    assert!(matches!(locks.extend(&token, TTL * 2).await, Err(Error::NotHeld { .. })));
    assert!(matches!(locks.adopt(token).await, Err(Error::NotHeld { .. })));
    assert_eq!(servers.values(&key("x")), before);
    for server in &*servers {
        assert!(server.probe().pttl(&key("x")).remaining().is_some_and(|remaining| remaining <= TTL));
    }
    assert!(guard.is_valid());
    guard.release().await.unwrap();
}

#[tokio::test]
async fn a_detached_lock_is_extended_by_its_token_and_never_shortened() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    let token = detached(&locks).await;
    locks.extend(&token, TTL * 3).await.unwrap();
    locks.extend(&token, TTL).await.unwrap();
    let is_longer = |remaining: Duration| remaining > TTL * 2;
    eventually_async("all nodes were extended", async || {
        servers.iter().all(|server| server.probe().pttl(&key("x")).remaining().is_some_and(is_longer))
    })
    .await;
    assert!(matches!(locks.extend(&token, Duration::ZERO).await, Err(Error::Config { .. })));
    locks.release(&token).await.unwrap();
    assert!(matches!(locks.extend(&token, TTL).await, Err(Error::NotHeld { .. })));
}

#[tokio::test]
async fn an_adopted_lock_is_renewed_and_released_with_its_guard() {
    let servers = Servers::start(3);
    let (here, there) = (manager(&servers), manager(&servers));
    // A busy machine may be two seconds late with a renewal.
    let ttl = Duration::from_secs(3);
    let guard = here.lock("x").ttl(ttl).acquire().await.unwrap();
    let fencing_token = guard.fencing_token();
    let adopted = there.adopt(passed_on(&guard.detach())).await.unwrap();
    assert!(adopted.fencing_token() > fencing_token, "it is another holder");
    tokio::time::sleep(ttl * 2).await;
    assert!(adopted.is_valid());
    assert!(here.lock("x").try_acquire().await.unwrap().is_none());
    adopted.release().await.unwrap();
    none_has_x(&servers).await;
}

#[tokio::test]
async fn a_detached_lock_ends_with_its_ttl_if_nobody_takes_it_over() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    let token = locks.lock("x").ttl(Duration::from_secs(3)).acquire().await.unwrap().detach();
    eventually_async("it has expired", async || servers.holding(&key("x")) == 0).await;
    assert!(matches!(locks.adopt(token).await, Err(Error::NotHeld { .. })));
}

#[tokio::test]
async fn a_release_that_could_not_be_confirmed_is_repeated() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    let token = detached(&locks).await;
    servers[0].hang();
    servers[1].hang();
    assert!(matches!(locks.release(&token).await, Err(Error::QuorumUnreachable { .. })));
    servers[0].resume();
    servers[1].resume();
    eventually_async("the release went on", async || servers.holding(&key("x")) == 0).await;
    // A node that was late is asked again once it has answered.
    eventually_async("it is confirmed", async || locks.release(&token).await.is_ok()).await;
    assert!(matches!(locks.release(&token).await, Err(Error::NotHeld { .. })));
}

#[test]
fn every_call_has_a_blocking_twin() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    let token = locks.lock("x").acquire_blocking().unwrap().detach();
    locks.extend_blocking(&token, TTL).unwrap();
    let token = locks.adopt_blocking(token).unwrap().detach();
    locks.release_blocking(&token).unwrap();
}

#[tokio::test]
async fn a_release_by_token_that_was_dropped_may_be_repeated() {
    let servers = Servers::start(3);
    let proxies: Vec<_> = servers.iter().map(Proxy::start).collect();
    let urls = proxies.iter().map(Proxy::url);
    let locks = unhurried().nodes(urls).node_timeout(Duration::from_secs(5)).build().unwrap();
    let token = detached(&locks).await;
    set_all(&proxies, Flow::Hold);
    assert!(tokio::time::timeout(Duration::from_millis(100), locks.release(&token)).await.is_err());
    set_all(&proxies, Flow::Forward);
    none_has_x(&servers).await;
    locks.release(&token).await.expect("it was this caller's own release");
    let again = locks.release(&token).await;
    assert!(matches!(again, Err(Error::NotHeld { .. })), "{again:?}");
}

#[tokio::test]
async fn of_releases_at_the_same_time_none_is_told_that_a_lock_was_its_own_which_was_not() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    let token = detached(&locks).await;
    locks.reset("x").await.unwrap();
    let all = tokio::join!(locks.release(&token), locks.release(&token), locks.release(&token));
    for released in [all.0, all.1, all.2] {
        assert!(matches!(released, Err(Error::NotHeld { .. })), "{released:?}");
    }
}

fn set_all(proxies: &[Proxy], flow: Flow) {
    for proxy in proxies {
        proxy.set(Direction::Replies, flow);
    }
}
