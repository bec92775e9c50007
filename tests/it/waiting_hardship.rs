//! Whoever waits gets the lock also where a server is odd: with rules of its own, with strange things under our keys.

use std::future::Future;
use std::task::{Context, Waker};
use std::time::Duration;

use futures::future::join_all;
use redis::cmd;
use redlock_runtime::{Error, LockManager, Timeout};
use redlock_tests::clock::timed;
use redlock_tests::probe::Expiry;
use redlock_tests::wait::eventually_async;
use redlock_tests::{Probe, RedisServer, Servers};

use crate::common::waiters::in_line;
use crate::common::waiters::{How, LONG, promptly, somebody_holds, starts_to_wait, watched};
use crate::common::{key, manager, none_has_x, unhurried};

fn marks(probe: &Probe) -> String {
    let found = probe.keys_like("redlock-waiting:*");
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].clone()
}

fn spoil(probe: &Probe, key: &str) {
    probe.del(key);
    probe.set(key, "something else");
}

/// Lets processes of this name wait, so that the keys of those who wait are there.
async fn until_somebody_waited(servers: &Servers, locks: &LockManager) {
    somebody_holds(servers, LONG);
    let waiter = starts_to_wait(servers, locks, How::InATask).await;
    servers.iter().for_each(|server| _ = server.probe().del(&key("x")));
    promptly("an unspoilt node", waiter).await.release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_stands_where_waiting_processes_are_noted_keeps_nobody_from_the_lock() {
    for count in [1, 3] {
        let servers = Servers::start(count);
        let locks = manager(&servers);
        until_somebody_waited(&servers, &locks).await;
        for server in &servers {
            let probe = server.probe();
            spoil(&probe, &marks(&probe));
        }
        somebody_holds(&servers, LONG);
        let waiter = starts_to_wait(&servers, &locks, How::InATask).await;
        servers.iter().for_each(|server| _ = server.probe().del(&key("x")));
        promptly(&format!("N = {count}"), waiter).await.release().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_waits_no_longer_is_forgotten_when_another_is_refused() {
    let servers = Servers::start(1);
    let locks = manager(&servers);
    until_somebody_waited(&servers, &locks).await;
    let probe = servers.iter().next().expect("there is one").probe();
    let marks = marks(&probe);
    let run = |command: &str, arguments: &[&str]| probe.run::<Vec<String>>(cmd(command).arg(&marks).arg(arguments));
    probe.run::<i64>(cmd("ZADD").arg(&marks).arg(1).arg("gone")).unwrap();
    assert_eq!(run("ZRANGE", &["0", "0"]).unwrap(), ["gone"]);
    somebody_holds(&servers, LONG);
    let waiter = starts_to_wait(&servers, &locks, How::InATask).await;
    let noted = run("ZRANGE", &["0", "-1"]).unwrap();
    assert!(noted.len() == 1 && noted[0] != "gone", "{noted:?}");
    waiter.abort();
}

async fn check_rules(rules: &[&str]) {
    let server = RedisServer::start();
    let mut rule = cmd("ACL");
    rule.arg("SETUSER").arg("app").arg(&["on", ">pass", "~*", "&*", "+@all"]).arg(rules);
    server.probe().run::<()>(&rule).unwrap();
    let url = format!("redis://app:pass@127.0.0.1:{}", server.port());
    let locks = unhurried().nodes([url]).build().unwrap();
    server.probe().set_for(&key("x"), "somebody", LONG);
    // Connected, so that the time goes by in waiting alone.
    locks.lock("free").acquire().await.unwrap().release().await.unwrap();
    let until = Timeout::After(Duration::from_secs(1));
    let error = locks.lock("x").timeout(until).acquire().await.unwrap_err();
    assert!(matches!(error, Error::NotAcquired { .. }), "{rules:?}: {error}");
    let asked = watched(&server.probe());
    let waiter = tokio::spawn(locks.lock("x").ttl(LONG).acquire());
    eventually_async("somebody waits", async || watched(&server.probe()) > asked).await;
    server.probe().del(&key("x"));
    let guard = promptly(&format!("{rules:?}"), waiter).await;
    guard.release().await.unwrap();
}

#[tokio::test]
async fn whoever_may_not_note_waiting_processes_waits_all_the_same() {
    for command in ["-zadd", "-zrange", "-zremrangebyscore", "-time", "-@sortedset"] {
        check_rules(&[command]).await;
    }
}

#[tokio::test]
async fn whoever_may_use_the_keys_of_locks_and_their_counters_only_waits_all_the_same() {
    check_rules(&["resetkeys", "~redlock:*", "~redlock-fence:*"]).await;
}

#[tokio::test]
async fn no_key_of_ours_stays_for_ever_beside_a_counter_that_is_none() {
    for is_list in [true, false] {
        let server = RedisServer::start();
        let probe = server.probe();
        let counter = "Waiting.ConfigurableLock.x";
        if is_list {
            probe.append(counter, "a list");
        } else {
            probe.set(counter, "no number");
        }
        let locks = unhurried().nodes([server.url()]).build().unwrap();
        probe.set_for(&key("x"), "somebody", LONG);
        let waiter = tokio::spawn(locks.lock("x").ttl(LONG).acquire());
        // The script that counts is sent with its source the first time; the others are known from the start.
        eventually_async("somebody tried to count", async || probe.command_counts().of("eval") > 0).await;
        for key in probe.keys().into_iter().filter(|key| key != counter) {
            assert_ne!(probe.pttl(&key), Expiry::Never, "{key}, the counter is a list: {is_list}");
        }
        waiter.abort();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_that_is_dropped_after_any_number_of_polls_lets_the_next_in_line_have_the_lock() {
    for count in [1, 3] {
        let servers = Servers::start(count);
        let locks = manager(&servers);
        for how in [How::InATask, How::BlockingAThread] {
            for polls in 0..8 {
                let guard = locks.lock("x").ttl(LONG).acquire().await.unwrap();
                let request = locks.lock("x").ttl(LONG);
                let waiter = match how {
                    How::InATask => tokio::spawn(in_line(&locks)),
                    How::BlockingAThread => tokio::task::spawn_blocking(|| request.acquire_blocking()),
                };
                tokio::time::sleep(Duration::from_millis(5)).await;
                let mut releasing = Box::pin(guard.release());
                for _ in 0..polls {
                    let mut cx = Context::from_waker(Waker::noop());
                    if releasing.as_mut().poll(&mut cx).is_ready() {
                        break;
                    }
                    tokio::time::sleep(Duration::from_micros(200)).await;
                }
                drop(releasing);
                promptly(&format!("N = {count}, {how:?}, {polls} polls"), waiter).await.release().await.unwrap();
            }
        }
        none_has_x(&servers).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_thousands_of_waiters_cost_each_of_them_no_more_than_a_few() {
    const WAITERS: usize = 20_000;
    let locks = LockManager::builder().nodes(["memory://"]).build().unwrap();
    let guard = locks.lock("x").ttl(LONG).acquire().await.unwrap();
    let limit = Duration::from_secs(2);
    let waiters: Vec<_> = (0..WAITERS).map(|_| tokio::spawn(locks.lock("x").timeout(limit).acquire())).collect();
    let (refused, took) = timed(join_all(waiters)).await;
    assert!(refused.into_iter().all(|refused| matches!(refused.unwrap(), Err(Error::NotAcquired { .. }))));
    println!("{WAITERS} gave up within {took:?}");
    // Where each of them looked at all others, it took seven times the limit.
    assert!(took < 3 * limit, "{took:?}");
    guard.release().await.unwrap();
}
