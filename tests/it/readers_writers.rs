//! Locks that readers share, on real servers: many readers or one writer, and no writer starves.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use redlock_runtime::{Error, LockGuard, LockManager, LockState, LostReason};
use redlock_tests::clock::timed;
use redlock_tests::wait::{LIMIT, eventually_async};
use redlock_tests::{Cluster, Servers};

use crate::common::kinds::{readers_key, writers_key};
use crate::common::waiters::LONG;
use crate::common::{RARE_POLL, manager, unhurried, waiting};

async fn try_read(locks: &LockManager) -> Option<LockGuard> {
    locks.read("x").ttl(LONG).try_acquire().await.unwrap()
}

async fn try_write(locks: &LockManager) -> Option<LockGuard> {
    locks.write("x").ttl(LONG).try_acquire().await.unwrap()
}

/// On how many of the servers something of a shared lock stands but for what expires by itself.
fn left(servers: &Servers) -> usize {
    let keys = ["redlock-rw:*", "redlock-readers:*"];
    servers.iter().map(|server| keys.map(|keys| server.probe().keys_like(keys).len()).iter().sum::<usize>()).sum()
}

async fn nothing_left(servers: &Servers) {
    eventually_async("nobody is left", async || left(servers) == 0).await;
}

#[tokio::test]
async fn many_read_or_one_writes() {
    for count in [1, 3, 5] {
        let servers = Servers::start(count);
        let (locks, others) = (manager(&servers), manager(&servers));
        let readers = [&locks, &others, &others].map(async |locks| try_read(locks).await.expect("readers share it"));
        let mut guards = Vec::new();
        for reader in readers {
            guards.push(reader.await);
        }
        for locks in [&locks, &others] {
            assert!(try_write(locks).await.is_none(), "on {count}");
        }
        while let Some(guard) = guards.pop() {
            assert!(try_write(&others).await.is_none(), "{} still read", guards.len() + 1);
            guard.release().await.unwrap();
        }
        let writer = try_write(&others).await.expect("nobody reads any more");
        for locks in [&locks, &others] {
            assert!(try_write(locks).await.is_none() && try_read(locks).await.is_none(), "on {count}");
        }
        assert!(locks.lock("x").try_acquire().await.unwrap().is_some(), "a plain lock is another");
        writer.release().await.unwrap();
        assert!(try_read(&locks).await.is_some());
        nothing_left(&servers).await;
    }
}

#[tokio::test]
async fn each_reader_is_renewed_and_expires_by_itself() {
    let servers = Servers::start(3);
    let (locks, others) = (manager(&servers), manager(&servers));
    let ttl = Duration::from_secs(2);
    let renewed = locks.read("x").ttl(ttl).acquire().await.unwrap();
    let left_alone = locks.read("x").ttl(ttl).renew(false).acquire().await.unwrap();
    left_alone.lost().await;
    tokio::time::timeout(2 * ttl, renewed.lost()).await.expect_err("it is renewed");
    assert!(try_write(&others).await.is_none());
    renewed.release().await.unwrap();
    let expired = others.read("x").ttl(ttl).renew(false).acquire().await.unwrap();
    let writer = locks.write("x").ttl(ttl).timeout(LIMIT).acquire().await.expect("the reader expires");
    assert!(!expired.is_valid() && writer.is_valid());
    tokio::time::timeout(2 * ttl, writer.lost()).await.expect_err("it is renewed");
}

#[tokio::test]
async fn a_reader_whom_a_majority_lost_is_told_and_a_node_that_lost_him_gets_him_again() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    let reader = locks.read("x").ttl(Duration::from_secs(6)).acquire().await.unwrap();
    let readers = readers_key("x");
    let on = async || servers.iter().filter(|server| server.probe().exists(&readers)).count();
    eventually_async("every node has him", async || on().await == 3).await;
    servers[0].probe().del(&readers);
    eventually_async("he is set again", async || on().await == 3).await;
    servers[0].probe().set_for(&writers_key("x"), "writer", LONG);
    servers[0].probe().del(&readers);
    tokio::time::timeout(Duration::from_secs(4), reader.lost()).await.expect_err("a majority has him");
    assert!(!servers[0].probe().exists(&readers), "not beside a writer");
    servers[1].probe().del(&readers);
    servers[1].probe().set_for(&writers_key("x"), "writer", LONG);
    let lost = tokio::time::timeout(LIMIT, reader.lost()).await.expect("a majority has a writer");
    assert!(matches!(lost, Error::Lost { .. }), "{lost}");
}

#[tokio::test]
async fn a_writer_who_waits_is_not_starved_by_readers_who_keep_coming() {
    let servers = Servers::start(3);
    let is_over = Arc::new(AtomicUsize::new(0));
    let readers: Vec<_> = (0..6)
        .map(|_| {
            let (locks, is_over) = (manager(&servers), Arc::clone(&is_over));
            tokio::spawn(async move {
                let mut turns = 0;
                while is_over.load(Ordering::SeqCst) == 0 {
                    let guard = locks.read("x").ttl(LONG).timeout(LIMIT).acquire().await.expect("readers get in, too");
                    tokio::time::sleep(Duration::from_millis(15)).await;
                    guard.release().await.unwrap();
                    turns += 1;
                }
                turns
            })
        })
        .collect();
    let locks = manager(&servers);
    for _ in 0..5 {
        let writer = locks.write("x").ttl(LONG).timeout(LIMIT).acquire().await.expect("it is not starved");
        writer.release().await.unwrap();
    }
    is_over.store(1, Ordering::SeqCst);
    for reader in readers {
        assert!(reader.await.unwrap() > 0);
    }
    nothing_left(&servers).await;
}

#[tokio::test]
async fn new_readers_wait_behind_a_writer_who_waits_and_get_in_when_he_has_had_it() {
    for servers in [Servers::start(1), Servers::start(3)] {
        let (locks, others) = (manager(&servers), manager(&servers));
        let first = try_read(&locks).await.expect("it is free");
        let writer = tokio::spawn(others.write("x").ttl(LONG).timeout(LIMIT).acquire());
        eventually_async("his intent stands", async || {
            let intends =
                |server: &&redlock_tests::RedisServer| !server.probe().keys_like("redlock-intent:*").is_empty();
            servers.iter().filter(intends).count() == servers.len()
        })
        .await;
        assert!(try_read(&locks).await.is_none(), "he waits");
        let second = tokio::spawn(locks.read("x").ttl(LONG).timeout(LIMIT).acquire());
        eventually_async("he waits", async || waiting(&locks, "x").await == 2).await;
        first.extend(LONG).await.unwrap();
        first.release().await.unwrap();
        let (writer, took) = timed(writer).await;
        let writer = writer.unwrap().unwrap();
        assert!(took < RARE_POLL / 2, "woken after {took:?}");
        assert!(!second.is_finished());
        writer.release().await.unwrap();
        let (second, took) = timed(second).await;
        let second = second.unwrap().unwrap();
        assert!(took < RARE_POLL / 2, "woken after {took:?}");
        assert!(try_read(&others).await.is_some(), "no intent is left");
        second.release().await.unwrap();
        nothing_left(&servers).await;
    }
}

#[tokio::test]
async fn a_writer_who_becomes_a_reader_lets_readers_in_and_no_writer() {
    for count in [1, 3] {
        let servers = Servers::start(count);
        let (locks, others) = (manager(&servers), manager(&servers));
        let ttl = Duration::from_secs(2);
        let writer = locks.write("x").ttl(ttl).acquire().await.unwrap();
        let token = writer.fencing_token();
        let waiter = tokio::spawn(others.read("x").ttl(LONG).timeout(LIMIT).acquire());
        let reader = writer.downgrade().await.unwrap();
        let other = waiter.await.unwrap().expect("readers get in");
        assert!(reader.is_valid() && try_write(&others).await.is_none());
        assert!(reader.fencing_token() == token && other.fencing_token() >= token);
        tokio::time::timeout(2 * ttl, reader.lost()).await.expect_err("it is renewed");
        assert_eq!(servers.holding(&writers_key("x")), 0);
        let reader = reader.downgrade().await.unwrap();
        reader.release().await.unwrap();
        assert!(try_write(&others).await.is_none());
        other.release().await.unwrap();
        assert!(try_write(&others).await.is_some());
        nothing_left(&servers).await;
    }
}

#[tokio::test]
async fn a_node_that_was_not_told_of_it_learns_with_the_renewal() {
    let servers = Servers::start(3);
    let (locks, others) = (manager(&servers), manager(&servers));
    let writer = locks.write("x").ttl(Duration::from_secs(6)).acquire().await.unwrap();
    eventually_async("every node has him", async || servers.holding(&writers_key("x")) == 3).await;
    servers[0].hang();
    let reader = writer.downgrade().await.unwrap();
    assert!(others.read("x").ttl(LONG).timeout(LIMIT).acquire().await.is_ok(), "the others let readers in");
    servers[0].resume();
    eventually_async("it is told", async || servers.holding(&writers_key("x")) == 0).await;
    assert!(reader.is_valid());
    reader.release().await.unwrap();
    nothing_left(&servers).await;
}

#[tokio::test]
async fn readers_share_a_token_that_is_between_those_of_writers() {
    for count in [1, 3] {
        let servers = Servers::start(count);
        let (locks, others) = (manager(&servers), manager(&servers));
        let mut last = 0;
        for _ in 0..6 {
            let writer = try_write(&locks).await.expect("it is free");
            assert!(writer.fencing_token() > last, "{} after {last}", writer.fencing_token());
            last = writer.fencing_token();
            writer.release().await.unwrap();
            let readers = [try_read(&locks).await.unwrap(), try_read(&others).await.unwrap()];
            for reader in readers {
                assert!(reader.fencing_token() >= last, "{} after {last}", reader.fencing_token());
                last = reader.fencing_token();
                reader.release().await.unwrap();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_reads_while_another_writes_on_real_servers_in_memory_and_in_a_cluster() {
    let (servers, cluster) = (Servers::start(3), Cluster::start());
    let memory: Vec<_> = (0..3).map(|node| format!("memory://rw-{node}")).collect();
    for nodes in [servers.urls(), memory, vec![cluster.url()]] {
        let (reading, writing) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let tasks: Vec<_> = (0..8)
            .map(|task| {
                let locks = unhurried().nodes(nodes.clone()).build().unwrap();
                let (reading, writing) = (Arc::clone(&reading), Arc::clone(&writing));
                tokio::spawn(async move {
                    for turn in 0..6 {
                        if (task + turn) % 3 == 0 {
                            let guard = locks.write("x").ttl(LONG).timeout(LIMIT).acquire().await.unwrap();
                            assert_eq!(writing.fetch_add(1, Ordering::SeqCst), 0, "two write");
                            assert_eq!(reading.load(Ordering::SeqCst), 0, "one reads while another writes");
                            tokio::task::yield_now().await;
                            writing.fetch_sub(1, Ordering::SeqCst);
                            guard.release().await.unwrap();
                        } else {
                            let guard = locks.read("x").ttl(LONG).timeout(LIMIT).acquire().await.unwrap();
                            reading.fetch_add(1, Ordering::SeqCst);
                            assert_eq!(writing.load(Ordering::SeqCst), 0, "one writes while another reads");
                            tokio::task::yield_now().await;
                            reading.fetch_sub(1, Ordering::SeqCst);
                            guard.release().await.unwrap();
                        }
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    }
    nothing_left(&servers).await;
}

#[tokio::test]
async fn a_reader_or_a_writer_who_is_dropped_at_any_moment_leaves_nothing() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    for polls in 1..12 {
        for is_read in [true, false] {
            let request = if is_read { locks.read("x") } else { locks.write("x") };
            let mut acquiring = Box::pin(request.ttl(LONG).acquire());
            for _ in 0..polls {
                if futures::poll!(&mut acquiring).is_ready() {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        nothing_left(&servers).await;
    }
    assert!(try_write(&locks).await.is_some());
}

#[tokio::test]
async fn what_cannot_be_asked_for_is_refused_in_helpful_words() {
    let locks = LockManager::builder().nodes(["memory://"]).build().unwrap();
    let check = |error: Error, expect: &str| assert!(error.to_string().contains(expect), "{error}");
    check(locks.read("x").permits(2).acquire().await.unwrap_err(), "`permits`");
    check(locks.write("").acquire().await.unwrap_err(), "empty");
    let plain = locks.lock("x").acquire().await.unwrap();
    check(plain.downgrade().await.unwrap_err(), "LockManager::write");
}

#[tokio::test]
async fn it_is_shown_who_reads_or_writes_and_a_reset_takes_it_from_all_of_them() {
    let servers = Servers::start(3);
    let cluster = Cluster::start();
    let memory = (0..3).map(|node| format!("memory://rw-shown-{node}")).collect();
    for nodes in [servers.urls(), memory, vec![cluster.url()]] {
        let builder = || unhurried().nodes(nodes.clone()).build().unwrap();
        let (locks, others) = (builder(), builder());
        assert!(locks.inspect("x").await.unwrap().shared.is_none());
        let readers = [try_read(&locks).await.unwrap(), try_read(&others).await.unwrap()];
        eventually_async("both are shown", async || {
            locks.inspect("x").await.unwrap().shared.is_some_and(|shared| shared.readers == 2)
        })
        .await;
        let info = others.inspect("x").await.unwrap();
        assert!(info.to_string().contains("as a shared lock: 2 read"), "{info}");
        let shared = info.shared.unwrap();
        assert!(shared.writer == LockState::Free && shared.remaining.is_some_and(|rest| rest > LONG / 2), "{shared:?}");
        assert!(!others.is_locked("x").await.unwrap(), "the plain lock is another");
        assert!(locks.reset("x").await.unwrap() > 0);
        let lost = readers[0].lost().await;
        assert!(matches!(lost, Error::Lost { reason: LostReason::Reset, .. }), "{lost}");
        let writer = others.write("x").ttl(LONG).owner_label("billing").timeout(LIMIT).acquire().await.unwrap();
        eventually_async("it is shown", async || {
            let shared = locks.inspect("x").await.unwrap().shared;
            shared.is_some_and(|shared| {
                shared.writer == LockState::Held && shared.owner_label.as_deref() == Some("billing")
            })
        })
        .await;
        assert!(others.reset("x").await.unwrap() > 0);
        let lost = writer.lost().await;
        assert!(matches!(lost, Error::Lost { reason: LostReason::Reset, .. }), "{lost}");
        assert!(locks.inspect("x").await.unwrap().shared.is_none());
    }
}
