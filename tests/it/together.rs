//! What many tasks of a runtime send in the same turn travels as one script, and nothing that is promised changes by it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::future::join_all;
use redis::cmd;
use redlock_runtime::{Error, LockManager};
use redlock_tests::wait::{LIMIT, eventually_async};
use redlock_tests::{Monitor, RedisServer, Servers};
use tokio::runtime::Builder;

use crate::common::cycles::{cycle_soon, patient};
use crate::common::{causes, key, unhurried};

/// So many tasks are many.
const TASKS: usize = 64;

/// Each of many tasks takes and gives back a lock of its own so often.
async fn crowd(locks: &LockManager, cycles: usize) {
    join_all((0..TASKS).map(|task| {
        let locks = locks.clone();
        async move {
            let cycles = async move {
                let mut token = None;
                for _ in 0..cycles {
                    let next = cycle_soon(&locks, &format!("crowd-{task}")).await;
                    assert!(token.is_none_or(|token| token < next), "{task}: {next} behind {token:?}");
                    token = Some(next);
                }
            };
            tokio::spawn(cycles).await.unwrap();
        }
    }))
    .await;
}

/// The keys of locks that are held.
fn held(server: &RedisServer) -> Vec<String> {
    server.probe().keys_like("redlock:ConfigurableLock.*")
}

async fn nothing_is_left(servers: &Servers) {
    eventually_async("nothing is left", async || servers.answering().all(|server| held(server).is_empty())).await;
}

/// How many scripts a server was asked for.
fn scripts(server: &RedisServer) -> u64 {
    server.probe().command_counts().of("evalsha") + server.probe().command_counts().of("eval")
}

#[tokio::test]
async fn many_locks_are_taken_and_given_back_with_fewer_scripts_than_locks() {
    for nodes in [1, 3] {
        for is_fenced in [true, false] {
            let servers = Servers::start(nodes);
            let locks = unhurried().nodes(servers.urls()).fencing(is_fenced).build().unwrap();
            let acquire = async |name: &str| locks.lock(name).timeout(LIMIT).acquire().await.unwrap().release().await;
            acquire("first").await.unwrap();
            let before: Vec<_> = servers.iter().map(scripts).collect();
            let rounds = 20;
            for _ in 0..rounds {
                let acquired =
                    join_all((0..TASKS).map(|task| acquire(Box::leak(format!("lock-{task}").into_boxed_str()))));
                acquired.await.into_iter().for_each(|released| released.unwrap());
            }
            // An acquire and a release each, of which the first few of a turn go by themselves.
            for (server, before) in servers.iter().zip(before) {
                let sent = scripts(server) - before;
                assert!(sent < (rounds * TASKS) as u64, "{nodes} nodes: {sent} scripts for {rounds} × {TASKS} locks");
            }
            nothing_is_left(&servers).await;
        }
    }
}

#[tokio::test]
async fn a_lone_lock_waits_for_nobody() {
    let server = RedisServer::start();
    let locks = patient([server.url()]);
    cycle_soon(&locks, "x").await;
    let monitor = Monitor::start(&server);
    for _ in 0..10 {
        cycle_soon(&locks, "x").await;
    }
    let sent = monitor.sent_about(&key("x"));
    assert_eq!(sent.len(), 20, "{sent:#?}");
    // How many there are of each kind stands behind the keys of a script for several.
    assert!(sent.iter().all(|line| line.contains("EVALSHA")), "{sent:#?}");
    assert!(!sent.iter().any(|line| line.contains(r#""1" "0" "0" "0""#) || line.contains(r#""0" "0" "1" "0""#)));
}

#[tokio::test]
async fn what_is_released_and_wanted_again_in_the_same_turn_is_released_first() {
    let server = RedisServer::start();
    let locks = patient([server.url()]);
    for round in 0..20 {
        let name = |task: usize| format!("again-{round}-{task}");
        let guards = join_all((0..TASKS).map(|task| locks.lock(name(task)).timeout(LIMIT).acquire())).await;
        let again = guards.into_iter().enumerate().map(|(task, guard)| {
            let locks = locks.clone();
            async move {
                // Both are on their way at once, in this order.
                let (released, again) =
                    tokio::join!(guard.unwrap().release(), locks.lock(name(task)).timeout(Duration::ZERO).acquire());
                released.unwrap();
                again.map(|again| async { again.release().await.unwrap() })
            }
        });
        let again = join_all(again).await;
        let refused = again.iter().filter(|again| again.is_err()).count();
        // Who is refused in the process itself is so before anything is sent.
        for again in again.into_iter().flatten() {
            again.await;
        }
        assert!(refused == 0 || held(&server).is_empty(), "{refused}");
    }
    eventually_async("nothing is left", async || held(&server).is_empty()).await;
}

#[tokio::test]
async fn scripts_that_a_server_forgets_are_told_once_more() {
    let servers = Servers::start(3);
    let locks = patient(servers.urls());
    let forgetting = async {
        for _ in 0..20 {
            servers.iter().for_each(|server| server.probe().script_flush());
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(crowd(&locks, 20), forgetting);
    nothing_is_left(&servers).await;
}

#[tokio::test]
async fn keys_that_the_user_may_not_touch_spoil_no_other_lock() {
    let server = RedisServer::start();
    let mut rule = cmd("ACL");
    let rules = ["reset", "on", ">s3cret", "+@all", "&*", "~redlock:ConfigurableLock.may-*", "~redlock-*"];
    rule.arg("SETUSER").arg("app").arg(&rules);
    server.probe().run::<()>(&rule).unwrap();
    let locks = patient([format!("redis://app:s3cret@{}", server.address())]);
    for _ in 0..5 {
        let all = join_all((0..TASKS).map(|task| {
            let name = if task % 8 == 3 { format!("not-{task}") } else { format!("may-{task}") };
            let acquire = locks.lock(name.clone()).timeout(LIMIT.min(Duration::ZERO)).acquire();
            async move { (name, acquire.await) }
        }));
        for (name, acquired) in all.await {
            match acquired {
                Ok(guard) => {
                    assert!(name.starts_with("may-"), "{name}");
                    guard.release().await.unwrap();
                }
                Err(error) => {
                    assert!(name.starts_with("not-"), "{name}: {}", causes(&error));
                    assert!(causes(&error).to_lowercase().contains("perm"), "{}", causes(&error));
                }
            }
        }
    }
    eventually_async("nothing is left", async || held(&server).is_empty()).await;
}

#[tokio::test]
async fn a_user_who_may_not_read_several_keys_at_once_has_locks_all_the_same() {
    let server = RedisServer::start();
    let mut rule = cmd("ACL");
    rule.arg("SETUSER").arg("app").arg(&["reset", "on", ">s3cret", "+@all", "-mget", "&*", "~*"]);
    server.probe().run::<()>(&rule).unwrap();
    let locks = patient([format!("redis://app:s3cret@{}", server.address())]);
    crowd(&locks, 10).await;
    eventually_async("nothing is left", async || held(&server).is_empty()).await;
}

#[tokio::test]
async fn strange_values_spoil_no_other_lock() {
    let server = RedisServer::start();
    let locks = patient([server.url()]);
    let probe = server.probe();
    probe.append(&key("strange-1"), "entry");
    probe.append(&format!("redlock-fence:{{{}}}", key("strange-2")), "entry");
    probe.set(&format!("redlock-fence:{{{}}}", key("strange-3")), "text");
    for _ in 0..5 {
        let all = join_all((0..TASKS).map(|task| {
            let acquire = locks.lock(format!("strange-{task}")).timeout(Duration::ZERO).acquire();
            async move { (task, acquire.await) }
        }));
        for (task, acquired) in all.await {
            match (task, acquired) {
                (1..=3, Err(Error::QuorumUnreachable { .. })) => {}
                (_, Ok(guard)) if !(1..=3).contains(&task) => guard.release().await.unwrap(),
                (_, other) => panic!("{task}: {other:?}"),
            }
        }
    }
    assert_eq!(probe.list(&key("strange-1")), ["entry"]);
    assert_eq!(probe.get(&format!("redlock-fence:{{{}}}", key("strange-3"))).as_deref(), Some("text"));
    eventually_async("the rest is gone", async || held(&server).len() == 1).await;
}

#[tokio::test]
async fn acquisitions_that_are_dropped_at_any_poll_leave_nothing() {
    let servers = Servers::start(3);
    let locks = patient(servers.urls());
    for polls in 1..=12 {
        let mut all: Vec<_> = (0..TASKS)
            .map(|task| Box::pin(locks.lock(format!("dropped-{polls}-{task}")).timeout(LIMIT).acquire()))
            .collect();
        let mut guards = Vec::new();
        for _ in 0..polls {
            all.retain_mut(|acquire| match acquire.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(guard) => {
                    guards.push(guard.unwrap());
                    false
                }
                Poll::Pending => true,
            });
            tokio::task::yield_now().await;
        }
        drop(all);
        drop(guards);
    }
    nothing_is_left(&servers).await;
}

#[tokio::test]
async fn a_node_that_hangs_or_is_killed_stops_none_of_many() {
    let servers = Servers::start(3);
    let locks = LockManager::builder().nodes(servers.urls()).build().unwrap();
    crowd(&locks, 5).await;
    servers[0].hang();
    crowd(&locks, 5).await;
    servers[0].resume();
    servers[1].kill();
    crowd(&locks, 5).await;
    servers[1].restart();
    crowd(&locks, 5).await;
    nothing_is_left(&servers).await;
}

#[test]
fn a_runtime_that_ends_leaves_nobody_waiting_and_nothing_behind() {
    let server = RedisServer::start();
    let locks = patient([server.url()]);
    let begun = Arc::new(AtomicU64::new(0));
    for _ in 0..10 {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        for task in 0..TASKS {
            let (locks, begun) = (locks.clone(), Arc::clone(&begun));
            runtime.spawn(async move {
                loop {
                    cycle_soon(&locks, &format!("ended-{task}")).await;
                    begun.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let before = begun.load(Ordering::Relaxed);
        redlock_tests::wait::eventually("they are at it", || begun.load(Ordering::Relaxed) > before + 200);
        drop(runtime);
    }
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        eventually_async("nothing is left", async || held(&server).is_empty()).await;
        crowd(&locks, 3).await;
    });
}
