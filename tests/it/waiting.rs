//! Waiters are woken: by whoever releases the lock, however he does it, and by its expiry.

use std::time::Duration;

use redlock_tests::clock::{monotonic_nanoseconds, timed};
use redlock_tests::wait::eventually_async;
use redlock_tests::{Probe, Servers};

use crate::common::waiters::{
    Asked, How, LONG, Named, PROMPT, UNHURRIED, eventually_had, fill, holder, promptly, run, somebody_holds,
    starts_to_wait, watched,
};
use crate::common::{connections, key, manager, unhurried};

/// What ends a lock from outside, node by node.
const ENDS: [Named<Probe>; 9] = [
    ("compare and delete", |probe| {
        let script = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0";
        run(probe, &["EVAL", script, "1", &key("x"), "somebody"]);
    }),
    ("DEL", |probe| run(probe, &["DEL", &key("x")])),
    ("UNLINK", |probe| run(probe, &["UNLINK", &key("x")])),
    ("FLUSHALL", |probe| run(probe, &["FLUSHALL"])),
    ("FLUSHALL ASYNC", |probe| run(probe, &["FLUSHALL", "ASYNC"])),
    ("FLUSHDB", |probe| run(probe, &["FLUSHDB"])),
    ("SET and DEL", |probe| {
        run(probe, &["SET", &key("x"), "somebody else"]);
        run(probe, &["DEL", &key("x")]);
    }),
    ("RENAME", |probe| run(probe, &["RENAME", &key("x"), "y"])),
    ("EXPIRE in the past", |probe| run(probe, &["PEXPIREAT", &key("x"), "1"])),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_ends_a_lock_from_outside_wakes_whoever_waits() {
    for count in [1, 3] {
        let servers = Servers::start(count);
        let locks = manager(&servers);
        for (what, end) in ENDS {
            for how in [How::InATask, How::BlockingAThread] {
                let what = format!("{what}, N = {count}, {how:?}");
                somebody_holds(&servers, LONG);
                let waiter = starts_to_wait(&servers, &locks, how).await;
                servers.iter().for_each(|server| end(&server.probe()));
                promptly(&what, waiter).await.release().await.unwrap();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_by_another_manager_wakes_whoever_waits_however_it_is_made() {
    for count in [1, 3] {
        let servers = Servers::start(count);
        let (locks, others) = (manager(&servers), manager(&servers));
        for how in [How::InATask, How::BlockingAThread] {
            for release in ["released", "released by a thread", "dropped", "shut down"] {
                let guard = others.lock("x").ttl(LONG).acquire().await.unwrap();
                let waiter = starts_to_wait(&servers, &locks, how).await;
                match release {
                    "released" => guard.release().await.unwrap(),
                    "released by a thread" => {
                        tokio::task::spawn_blocking(|| guard.release_blocking()).await.unwrap().unwrap();
                    }
                    _ => drop(guard),
                }
                let what = format!("{release}, N = {count}, {how:?}");
                promptly(&what, waiter).await.release().await.unwrap();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_by_another_process_wakes_whoever_waits() {
    for count in [1, 3] {
        let servers = Servers::start(count);
        let locks = manager(&servers);
        for how in [How::InATask, How::BlockingAThread] {
            let mut holder = holder(&servers, &["name=x", UNHURRIED]);
            assert_eq!(holder.line(), "acquired");
            let waiter = starts_to_wait(&servers, &locks, how).await;
            holder.tell("");
            assert_eq!(holder.line(), "released");
            promptly(&format!("N = {count}, {how:?}"), waiter).await.release().await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lock_of_a_holder_that_crashed_is_had_when_its_key_expires_also_on_a_busy_database() {
    for count in [1, 3] {
        let servers = Servers::start(count);
        let locks = manager(&servers);
        for is_busy in [false, true] {
            if is_busy {
                servers.iter().for_each(|server| fill(&server.probe()));
            }
            let mut holder = holder(&servers, &["name=x", "ttl_ms=3000"]);
            assert_eq!(holder.line(), "acquired");
            let waiter = starts_to_wait(&servers, &locks, How::InATask).await;
            holder.kill();
            let left = |server: &redlock_tests::RedisServer| server.probe().pttl(&key("x")).remaining();
            let expires = servers.iter().filter_map(left).max().unwrap_or_default();
            let (guard, took) = timed(promptly("expired", waiter)).await;
            println!("N = {count}, busy: {is_busy}: {:?} late", took.saturating_sub(expires));
            guard.release().await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_server_reports_is_found_by_the_slow_poll() {
    for count in [1, 3] {
        let servers = Servers::start(count);
        let locks = unhurried().nodes(servers.urls()).build().unwrap();
        somebody_holds(&servers, LONG);
        let waiter = starts_to_wait(&servers, &locks, How::InATask).await;
        servers.iter().for_each(|server| run(&server.probe(), &["SWAPDB", "0", "1"]));
        eventually_had("moved away", waiter).await.release().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_made_to_live_shorter_is_noticed() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    somebody_holds(&servers, LONG);
    let waiter = starts_to_wait(&servers, &locks, How::InATask).await;
    let asked = Asked::so_far(&servers);
    for server in &servers {
        fill(&server.probe());
        assert!(server.probe().pexpire(&key("x"), Duration::from_millis(600)));
    }
    asked.again().await;
    promptly("it lives shorter", waiter).await.release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_min_hold_that_still_runs_is_waited_out_by_whoever_waits_in_this_process_and_in_another() {
    let least = Duration::from_millis(700);
    for count in [1, 3] {
        let servers = Servers::start(count);
        let (locks, others) = (manager(&servers), manager(&servers));
        for waits in [&locks, &others] {
            let began = monotonic_nanoseconds();
            let guard = locks.lock("x").min_hold(least).acquire().await.unwrap();
            let waiter = tokio::spawn(waits.lock("x").acquire());
            guard.release().await.unwrap();
            let guard = promptly("its time is over", waiter).await;
            let past = Duration::from_nanos(monotonic_nanoseconds() - began);
            assert!(past >= least, "{past:?}, N = {count}");
            guard.release().await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_release_is_missed_between_a_failed_attempt_and_the_wait() {
    for count in [1, 3] {
        let servers = Servers::start(count);
        let managers = [manager(&servers), manager(&servers), manager(&servers)];
        let players = managers.map(|locks| {
            tokio::spawn(async move {
                let mut longest = Duration::ZERO;
                for _ in 0..200 {
                    let (guard, took) = timed(locks.lock("x").ttl(LONG).acquire()).await;
                    longest = longest.max(took);
                    guard.unwrap().release().await.unwrap();
                }
                longest
            })
        });
        for player in players {
            let longest = player.await.unwrap();
            println!("N = {count}: longest wait {longest:?}");
            assert!(longest < PROMPT, "{longest:?}, N = {count}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiters_of_many_names_share_one_connection_to_each_node() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    // Without labels, which are written over a connection of their own.
    let others = unhurried().nodes(servers.urls()).owner_label("").build().unwrap();
    let mut held = Vec::new();
    for name in 0..50 {
        held.push(others.lock(format!("name-{name}")).ttl(LONG).acquire().await.unwrap());
    }
    let before: Vec<_> = servers.iter().map(|server| connections(&server.probe())).collect();
    let asked: Vec<_> = servers.iter().map(|server| watched(&server.probe())).collect();
    let wait = |name: usize| tokio::spawn(locks.lock(format!("name-{}", name % 50)).ttl(LONG).acquire());
    let waiters: Vec<_> = (0..100).map(wait).collect();
    eventually_async("the first of every name waits", async || {
        servers.iter().zip(&asked).all(|(server, asked)| watched(&server.probe()) >= asked + 50)
    })
    .await;
    for (server, before) in servers.iter().zip(before) {
        // That of the waiters, and that of those who count them. Connections of probes that have ended may be listed for a moment.
        eventually_async("two connections more at most", async || connections(&server.probe()) <= before + 2).await;
    }
    for guard in held {
        guard.release().await.unwrap();
    }
    let served = waiters.into_iter().map(async |waiter| promptly("one of many", waiter).await.release().await.unwrap());
    futures::future::join_all(served).await;
}
