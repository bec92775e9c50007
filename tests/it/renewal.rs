//! A held lock stays held, and its loss is told.

use std::time::Duration;

use redlock_runtime::{Error, LockManager, LostReason};
use redlock_tests::proxy::{Direction, Flow};
use redlock_tests::wait::{LIMIT, eventually, eventually_async};
use redlock_tests::{Monitor, Proxy, RedisServer, Servers};

use crate::common::{all_have_x, key, manager, none_has_x, unhurried};

/// Shorter than a test may take, and longer than a busy machine leaves a task alone.
const SHORT: Duration = Duration::from_millis(1500);

#[tokio::test]
async fn a_lock_is_held_for_many_times_its_ttl_and_nothing_is_sent_after_its_release() {
    let servers = Servers::start(3);
    let (locks, others) = (manager(&servers), manager(&servers));
    let guard = locks.lock("x").ttl(SHORT).acquire().await.unwrap();
    for _ in 0..16 {
        tokio::time::sleep(SHORT / 6).await;
        assert!(guard.is_valid());
        assert!(others.lock("x").try_acquire().await.unwrap().is_none());
    }
    guard.release().await.unwrap();
    locks.shutdown().await;
    // What was sent before may still be counted; then it is quiet.
    let mut before = sent_to(&servers);
    eventually_async("what was sent has been counted", async || {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let counted = sent_to(&servers);
        std::mem::replace(&mut before, counted.clone()) == counted
    })
    .await;
    tokio::time::sleep(SHORT * 2).await;
    assert_eq!(sent_to(&servers), before);
}

/// It takes its time once.
#[tokio::test]
async fn a_body_of_ten_ttls_keeps_its_lock_and_only_its_release_is_sent_behind_it() {
    let servers = Servers::start(3);
    let (locks, others) = (manager(&servers), manager(&servers));
    let (ttl, body) = (SHORT, 10 * SHORT);
    let guard = locks.lock("x").ttl(ttl).acquire().await.unwrap();
    all_have_x(&servers).await;
    let owner = servers[0].probe().get(&key("x")).unwrap();
    for _ in 0..100 {
        tokio::time::sleep(body / 100).await;
        assert!(guard.is_valid());
        assert!(guard.remaining() <= ttl);
        assert!(others.lock("x").try_acquire().await.unwrap().is_none());
    }
    let monitors: Vec<_> = servers.iter().map(Monitor::start).collect();
    guard.release().await.unwrap();
    locks.shutdown().await;
    tokio::time::sleep(ttl * 2).await;

    let release = redis::Script::new(include_str!("../../redlock-runtime/src/node/redis/lua/release.lua"));
    for monitor in monitors {
        let sent = monitor.sent_about(&owner);
        let first = sent.iter().position(|line| line.contains(release.get_hash()));
        let behind = &sent[first.expect("the release was sent")..];
        assert!(behind.iter().all(|line| line.contains(release.get_hash())), "{sent:?}");
        assert!(behind.len() <= 2, "{sent:?}");
    }
}

fn sent_to(servers: &Servers) -> Vec<u64> {
    servers.iter().map(|server| server.probe().command_counts().of("evalsha")).collect()
}

#[test]
fn a_body_that_computes_without_awaiting_keeps_its_lock() {
    let servers = Servers::start(3);
    let (locks, others) = (manager(&servers), manager(&servers));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let guard = locks.lock("x").ttl(SHORT).acquire().await.unwrap();
        // Blocks the only thread of the runtime for longer than the TTL.
        std::thread::sleep(SHORT * 3);
        assert!(guard.is_valid());
        assert!(others.lock("x").try_acquire_blocking().unwrap().is_none());
        guard.release().await.unwrap();
    });
}

#[tokio::test]
async fn without_renewal_a_lock_expires_after_its_ttl_and_says_so() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    let guard = locks.lock("x").ttl(SHORT).renew(false).acquire().await.unwrap();
    let error = guard.lost().await;
    assert!(matches!(error, Error::Lost { reason: LostReason::Expired, .. }), "{error}");
    assert!(!guard.is_valid());
    assert_eq!(guard.remaining(), Duration::ZERO);
    eventually_async("the keys expire", async || servers.holding(&key("x")) == 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_loss_is_told_while_the_keys_are_still_there() {
    let locks = LockManager::builder().nodes(["memory://told"]).build().unwrap();
    let node = redlock_runtime::testing::MemoryNode::named("told");
    for ttl in [Duration::from_millis(10), SHORT, Duration::from_secs(60)] {
        let guard = locks.lock("x").ttl(ttl).renew(false).acquire().await.unwrap();
        guard.lost().await;
        assert!(node.owner_of(&key("x")).is_some(), "told after the key of {ttl:?} was gone");
        tokio::time::sleep(ttl).await;
        assert!(node.owner_of(&key("x")).is_none());
    }
}

#[tokio::test]
async fn deleting_the_keys_is_told_as_a_loss_and_not_revived() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    let guard = locks.lock("x").ttl(SHORT).acquire().await.unwrap();
    servers.iter().for_each(|server| server.probe().flush_all());
    let error = guard.lost().await;
    assert!(matches!(error, Error::Lost { reason: LostReason::Taken, .. }), "{error}");
    assert!(matches!(guard.extend(SHORT).await, Err(Error::Lost { .. })));
    // At most the one whose key was set again while the two others still had theirs.
    assert!(servers.holding(&key("x")) < 2);
    drop(guard);
    none_has_x(&servers).await;
}

#[tokio::test]
async fn a_majority_that_hangs_is_told_as_a_loss_in_time_and_the_waiter_progresses() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    let guard = locks.lock("x").ttl(SHORT).acquire().await.unwrap();
    servers[0].hang();
    servers[2].hang();
    let error = guard.lost().await;
    assert!(matches!(error, Error::Lost { reason: LostReason::Expired, .. }), "{error}");
    servers[0].resume();
    servers[2].resume();
}

#[tokio::test]
async fn nodes_restarted_empty_one_after_the_other_get_the_key_again() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    let guard = locks.lock("x").ttl(Duration::from_secs(5)).acquire().await.unwrap();
    for server in &servers {
        server.restart();
        all_have_x(&servers).await;
        assert!(guard.is_valid());
    }
    guard.release().await.unwrap();
    locks.shutdown().await;
    assert_eq!(servers.holding(&key("x")), 0);
}

#[tokio::test]
async fn a_key_that_was_set_again_is_released_however_the_guard_ends() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    for round in 0..12_u8 {
        let guard = locks.lock("x").ttl(SHORT).acquire().await.unwrap();
        servers[usize::from(round % 3)].probe().flush_all();
        // Somewhere before, in or behind the renewal that finds it.
        tokio::time::sleep(SHORT / 3 * 97 / 100 + Duration::from_millis(round.into())).await;
        if round % 2 == 0 {
            drop(guard);
        } else {
            guard.release().await.unwrap();
        }
        none_has_x(&servers).await;
    }
    locks.shutdown().await;
    tokio::time::sleep(SHORT / 2).await;
    assert_eq!(servers.holding(&key("x")), 0);
}

#[tokio::test]
async fn errors_that_pass_do_not_end_renewal() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    let ttl = Duration::from_secs(5);
    let guard = locks.lock("x").ttl(ttl).acquire().await.unwrap();
    for server in &servers {
        server.hang();
    }
    tokio::time::sleep(ttl / 2).await;
    for server in &servers {
        server.resume();
    }
    tokio::time::sleep(ttl).await;
    assert!(guard.is_valid());
    guard.release().await.unwrap();
}

#[tokio::test]
async fn max_hold_ends_renewal_and_counts_as_a_loss() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    let guard = locks.lock("x").ttl(SHORT).max_hold(SHORT * 2).acquire().await.unwrap();
    let error = guard.lost().await;
    assert!(matches!(error, Error::Lost { reason: LostReason::MaxHold, .. }), "{error}");
    assert!(guard.extend(SHORT).await.is_err());
}

#[tokio::test]
async fn no_extension_reaches_beyond_max_hold_and_none_follows_it() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    let most = Duration::from_secs(5);
    for renews in [true, false] {
        let guard = locks.lock("x").ttl(SHORT).renew(renews).max_hold(most).acquire().await.unwrap();
        for _ in 0..3 {
            guard.extend(Duration::from_secs(60)).await.unwrap();
            assert!(guard.remaining() > SHORT && guard.remaining() <= most, "{:?}", guard.remaining());
            for server in &servers {
                let remaining = server.probe().pttl(&key("x")).remaining().unwrap();
                assert!(remaining <= most + SHORT, "{remaining:?}");
            }
        }
        let error = guard.lost().await;
        assert!(matches!(error, Error::Lost { reason: LostReason::MaxHold, .. }), "{error}");
        for extension in [SHORT, Duration::from_secs(60)] {
            let error = guard.extend(extension).await.unwrap_err();
            assert!(matches!(error, Error::Lost { reason: LostReason::MaxHold, .. }), "{error}");
        }
        // Not granted anew either: the keys expire, and another owner has them.
        eventually_async("the keys expire", async || servers.holding(&key("x")) == 0).await;
        assert!(matches!(guard.extend(SHORT).await, Err(Error::Lost { .. })));
        assert_eq!(servers.holding(&key("x")), 0);
    }
}

#[tokio::test]
async fn extending_lets_the_key_live_longer() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    let guard = locks.lock("x").ttl(SHORT).acquire().await.unwrap();
    guard.extend(Duration::from_secs(60)).await.unwrap();
    assert!(guard.remaining() > Duration::from_secs(50));
    tokio::time::sleep(SHORT).await;
    assert!(guard.remaining() > Duration::from_secs(50), "renewal must not shorten what was extended");
    guard.release().await.unwrap();
}

#[test]
fn a_crashed_holder_blocks_for_its_ttl_and_no_longer() {
    let server = RedisServer::start();
    let locks = unhurried().nodes([server.url()]).build().unwrap();
    server.probe().set_for(&key("x"), "a holder that is gone", SHORT * 2);
    assert!(locks.lock("x").try_acquire_blocking().unwrap().is_none());
    let guard = locks.lock("x").timeout(LIMIT).acquire_blocking().unwrap();
    guard.release_blocking().unwrap();
    eventually("nothing is left", || !server.probe().exists(&key("x")));
}

#[tokio::test]
async fn an_extension_that_nobody_waits_for_never_shortens_the_lock() {
    let servers = Servers::start(3);
    let (locks, others) = (manager(&servers), manager(&servers));
    let guard = locks.lock("x").renew(false).acquire().await.unwrap();
    let short = Duration::from_millis(200);
    // Polled once and dropped; then once to its end.
    let _ = tokio::time::timeout(Duration::ZERO, guard.extend(short)).await;
    // So short an extension leaves a busy server little time to answer.
    eventually_async("it is extended", async || guard.extend(short).await.is_ok()).await;
    tokio::time::sleep(short * 2).await;
    assert!(guard.is_valid());
    assert!(others.lock("x").try_acquire().await.unwrap().is_none());
    guard.release().await.unwrap();
}

#[tokio::test]
async fn one_node_without_the_key_and_one_that_hangs_are_no_loss() {
    let names = ["no-loss-1", "no-loss-2", "no-loss-3"];
    let locks = LockManager::builder().nodes(names.map(|name| format!("memory://{name}"))).build().unwrap();
    let nodes = names.map(redlock_runtime::testing::MemoryNode::named);
    let guard = locks.lock("x").renew(false).acquire().await.unwrap();
    nodes[0].flush();
    nodes[1].fail("LOADING as the test wants");
    let error = guard.extend(Duration::from_secs(60)).await.unwrap_err();
    assert!(matches!(error, Error::QuorumUnreachable { .. }), "{error}");
    assert!(guard.is_valid());
    nodes[1].recover();
    guard.extend(Duration::from_secs(60)).await.unwrap();
    guard.release().await.unwrap();
}

#[tokio::test]
async fn an_extension_that_is_not_polled_to_its_end_does_not_stop_renewal() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    let guard = locks.lock("x").ttl(SHORT).acquire().await.unwrap();
    let mut extension = Box::pin(guard.extend(SHORT));
    let _ = futures::poll!(&mut extension);
    tokio::time::sleep(SHORT * 3).await;
    assert!(guard.is_valid());
    drop(extension);
    guard.release().await.unwrap();
}

#[tokio::test]
async fn an_extension_neither_revives_a_lock_that_expired_nor_touches_one_that_was_taken() {
    let servers = Servers::start(3);
    let (locks, others) = (manager(&servers), manager(&servers));
    let guard = locks.lock("x").ttl(SHORT).renew(false).acquire().await.unwrap();
    guard.lost().await;
    eventually_async("the keys expire", async || servers.holding(&key("x")) == 0).await;
    assert!(matches!(guard.extend(Duration::from_secs(60)).await, Err(Error::Lost { .. })));
    assert_eq!(servers.holding(&key("x")), 0);

    let taken = others.lock("x").ttl(Duration::from_secs(20)).renew(false).acquire().await.unwrap();
    assert!(matches!(guard.extend(Duration::from_secs(60)).await, Err(Error::Lost { .. })));
    assert!(matches!(guard.release().await, Err(Error::NotHeld { .. })));
    for server in &servers {
        let remaining = server.probe().pttl(&key("x")).remaining();
        assert!(remaining.is_none_or(|remaining| remaining <= Duration::from_secs(20)), "{remaining:?}");
    }
    assert!(taken.is_valid() && servers.holding(&key("x")) >= 2);
    taken.release().await.unwrap();
}

#[tokio::test]
async fn an_extension_of_a_lock_that_was_taken_leaves_the_keys_of_who_took_it() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    let guard = locks.lock("x").renew(false).acquire().await.unwrap();
    for server in &servers {
        server.probe().set_for(&key("x"), "somebody", Duration::from_secs(20));
    }
    let error = guard.extend(Duration::from_secs(60)).await.unwrap_err();
    assert!(matches!(error, Error::Lost { reason: LostReason::Taken, .. }), "{error}");
    assert_eq!(servers.values(&key("x")), vec![Some("somebody".to_owned()); 3]);
    for server in &servers {
        assert!(server.probe().pttl(&key("x")).remaining().unwrap() <= Duration::from_secs(20));
    }
}

/// An extension that has begun on a runtime which nobody drives any more: it must not be in the way of the renewal.
#[test]
fn an_extension_under_way_on_a_runtime_that_stands_still_does_not_stop_the_renewal() {
    for is_inside in [true, false] {
        let servers = Servers::start(3);
        let proxies: Vec<_> = servers.iter().map(Proxy::start).collect();
        let locks = LockManager::builder().nodes(proxies.iter().map(Proxy::url)).build().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let guard = runtime.block_on(async {
            let guard = locks.lock("x").ttl(SHORT).acquire().await.unwrap();
            set_all(&proxies, Flow::Hold);
            {
                let mut extension = Box::pin(guard.extend(SHORT));
                assert!(futures::poll!(&mut extension).is_pending());
                // Its task has begun now.
                tokio::task::yield_now().await;
            }
            set_all(&proxies, Flow::Forward);
            if is_inside {
                std::thread::sleep(SHORT * 3);
                assert!(guard.is_valid());
            }
            guard
        });
        std::thread::sleep(SHORT * 3);
        assert!(guard.is_valid());
    }
}

fn set_all(proxies: &[Proxy], flow: Flow) {
    for proxy in proxies {
        proxy.set(Direction::Replies, flow);
    }
}
