//! Whoever waits while nodes and connections fail gets the lock as soon as it is released.

use std::time::Duration;

use redlock_runtime::LockManager;
use redlock_tests::probe::CommandCounts;
use redlock_tests::wait::{as_promised, eventually_async};
use redlock_tests::{RedisServer, Servers, clock};

use crate::common::seen::Seen;
use crate::common::waiters::{
    Asked, How, LONG, Named, PROMPT, promptly, somebody_holds, starts_to_wait, watched, watched_of,
};
use crate::common::{RARE_POLL, key, manager, none_has_x, prompt};

/// What happens to a node, and whether it can be asked and looked at afterwards.
const FAULTS: [(Named<RedisServer>, bool); 4] = [
    (("killed", RedisServer::kill), false),
    (("hung", RedisServer::hang), false),
    (("restarted", RedisServer::restart), true),
    (("cut off", |server| server.probe().client_kill_all()), true),
];

/// Heals a node.
fn heal(server: &RedisServer) {
    if server.is_running() {
        server.resume();
    } else {
        server.restart();
    }
}

/// Deletes somebody's key on these nodes, as its owner would: not that of a waiter who has it there already.
fn release_on(servers: &Servers, nodes: &[usize], owner: &str) {
    let script = "if redis.call('get', KEYS[1]) == ARGV[1] then redis.call('del', KEYS[1]) end";
    for &node in nodes {
        let command = redis::cmd("EVAL").arg(script).arg(1).arg(key("x")).arg(owner).take();
        servers[node].probe().run::<()>(&command).unwrap();
    }
}

/// A manager for which nodes that restart vote again soon, and which tells how nodes stand.
fn forgetful(seen: &Seen, servers: &Servers) -> LockManager {
    // Long enough for a busy machine, and so short that it is soon noticed that a node hangs.
    let builder = LockManager::builder().nodes(servers.urls()).node_timeout(Duration::from_secs(1));
    let builder = builder.longest_ttl(LONG).slow_poll(RARE_POLL);
    builder.observer(seen.clone()).build().unwrap()
}

/// Returns when it is known what happened to a node: that it does not answer, or that it does again.
async fn until_noticed(seen: &Seen, node: &RedisServer, answers: bool) {
    let now = if answers { "votes" } else { "unreachable" };
    eventually_async(format!("it is noticed: {now}"), async || {
        let told = seen.standings(node);
        told.iter().any(|standing| standing == "unreachable") && told.last().is_some_and(|last| last == now)
    })
    .await;
}

/// Somebody who does not wait wants another lock, so that all nodes are asked.
async fn somebody_asks(locks: &LockManager, how: How) {
    let request = locks.lock("y");
    // Whether there is a majority is not the point.
    match how {
        How::InATask => drop(request.try_acquire().await),
        How::BlockingAThread => drop(tokio::task::spawn_blocking(|| request.try_acquire_blocking()).await.unwrap()),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_of_one_node_during_the_wait_delays_nobody() {
    for faulty in 0..3 {
        for ((what, fault), is_there) in FAULTS {
            for how in [How::InATask, How::BlockingAThread] {
                let (servers, seen) = (Servers::start(3), Seen::default());
                let locks = forgetful(&seen, &servers);
                somebody_holds(&servers, LONG);
                let waiter = starts_to_wait(&servers, &locks, how).await;
                fault(&servers[faulty]);
                // Soon enough that nothing has been noticed, or not. Of a node that hangs, only who asks it notices anything.
                if faulty == 1 {
                    somebody_asks(&locks, how).await;
                    until_noticed(&seen, &servers[faulty], is_there).await;
                }
                let well: Vec<_> = (0..3).filter(|node| is_there || *node != faulty).collect();
                release_on(&servers, &well, "somebody");
                let what = format!("node {faulty} {what}, {how:?}");
                promptly(&what, waiter).await.release().await.unwrap();
                heal(&servers[faulty]);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_of_one_node_before_the_wait_delays_nobody() {
    for ((what, fault), is_there) in FAULTS {
        let (servers, seen) = (Servers::start(3), Seen::default());
        let locks = forgetful(&seen, &servers);
        locks.lock("x").acquire().await.unwrap().release().await.unwrap();
        none_has_x(&servers).await;
        somebody_holds(&servers, LONG);
        fault(&servers[0]);
        let asked = Asked::so_far_of(&servers, [1, 2]);
        let waiter = tokio::spawn(locks.lock("x").ttl(LONG).acquire());
        asked.again().await;
        until_noticed(&seen, &servers[0], is_there).await;
        release_on(&servers, if is_there { &[0, 1, 2] } else { &[1, 2] }, "somebody");
        promptly(what, waiter).await.release().await.unwrap();
        heal(&servers[0]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_node_than_at_the_failed_attempt_may_be_away_at_the_release() {
    let (servers, seen) = (Servers::start(3), Seen::default());
    let locks = forgetful(&seen, &servers);
    locks.lock("x").acquire().await.unwrap().release().await.unwrap();
    none_has_x(&servers).await;
    somebody_holds(&servers, LONG);
    servers[0].hang();
    let asked = Asked::so_far_of(&servers, [1, 2]);
    let waiter = tokio::spawn(locks.lock("x").ttl(LONG).acquire());
    asked.again().await;
    until_noticed(&seen, &servers[0], false).await;
    servers[0].resume();
    until_noticed(&seen, &servers[0], true).await;
    servers[1].kill();
    release_on(&servers, &[0, 2], "somebody");
    promptly("nodes 0 and 2 are free", waiter).await.release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiter_whose_connections_are_killed_makes_them_anew_and_is_woken() {
    for count in [1, 3] {
        let servers = Servers::start(count);
        let locks = prompt(&servers);
        for is_noticed in [false, true] {
            for how in [How::InATask, How::BlockingAThread] {
                somebody_holds(&servers, LONG);
                let waiter = starts_to_wait(&servers, &locks, how).await;
                let asked = Asked::so_far(&servers);
                servers.iter().for_each(|server| server.probe().client_kill_all());
                if is_noticed {
                    asked.again().await;
                }
                let all: Vec<_> = (0..count).collect();
                release_on(&servers, &all, "somebody");
                let what = format!("N = {count}, noticed: {is_noticed}, {how:?}");
                let guard = promptly(&what, waiter).await;
                // The connections of this runtime, which a blocking waiter did not use, may be in the making still: then the
                // release goes on in the background.
                drop(guard.release().await);
                none_has_x(&servers).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_that_comes_back_empty_or_wakes_up_is_noticed_at_once() {
    let faults: [Named<RedisServer>; 2] = [("restarted", RedisServer::restart), ("hung", RedisServer::hang)];
    for (what, fault) in faults {
        for count in [1, 3] {
            let (servers, seen) = (Servers::start(count), Seen::default());
            let locks = forgetful(&seen, &servers);
            // One that expired before the last server is down could be acquired, and then forgotten.
            let ttl = if what == "hung" { Duration::from_secs(4) } else { LONG };
            somebody_holds(&servers, ttl);
            let held_since = clock::now();
            let waiter = starts_to_wait(&servers, &locks, How::InATask).await;
            servers.iter().for_each(fault);
            if what == "hung" {
                // The key expires meanwhile, and the waiter finds nobody who answers.
                eventually_async("the key has expired", async || held_since.elapsed() > ttl).await;
                for server in &servers {
                    until_noticed(&seen, server, false).await;
                }
                servers.iter().for_each(RedisServer::resume);
            }
            promptly(&format!("{what}, N = {count}"), waiter).await.release().await.unwrap();
        }
    }
}

/// Gives the key to somebody else in one step, so that whoever is woken by it comes too late. How many attempts each node got before
/// that step.
fn pass_on(servers: &Servers, owner: &str) -> Vec<u64> {
    let script = "redis.call('DEL', KEYS[1])
        redis.call('SET', KEYS[1], ARGV[1], 'PX', 60000)
        return redis.call('INFO', 'commandstats')";
    let step = |server: &RedisServer| {
        let command = redis::cmd("EVAL").arg(script).arg(1).arg(key("x")).arg(owner).take();
        watched_of(&CommandCounts::parse(&server.probe().run::<String>(&command).unwrap()))
    };
    servers.iter().map(step).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_node_that_is_asked_first_after_a_lost_race_may_die() {
    for dies in 0..3 {
        let (servers, seen) = (Servers::start(3), Seen::default());
        let locks = forgetful(&seen, &servers);
        somebody_holds(&servers, LONG);
        let waiter = starts_to_wait(&servers, &locks, How::InATask).await;
        let is_asked_since = |before: &[u64], node: usize| watched(&servers[node].probe()) > before[node];
        let mut before = Vec::new();
        for owner in ["first", "second", "third"] {
            before = pass_on(&servers, owner);
            as_promised(PROMPT, "it asks again", || (0..3).any(|node| is_asked_since(&before, node)));
        }
        servers[dies].kill();
        let well: Vec<_> = (0..3).filter(|node| *node != dies).collect();
        until_noticed(&seen, &servers[dies], false).await;
        as_promised(PROMPT, "it has asked one that is there", || {
            well.iter().any(|node| is_asked_since(&before, *node))
        });
        release_on(&servers, &well, "third");
        promptly(&format!("node {dies} died"), waiter).await.release().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_that_passes_from_hand_to_hand_elsewhere_is_had_when_it_is_free_at_last() {
    for count in [1, 3] {
        let servers = Servers::start(count);
        let locks = manager(&servers);
        somebody_holds(&servers, LONG);
        let waiter = starts_to_wait(&servers, &locks, How::InATask).await;
        for owner in 0..20 {
            pass_on(&servers, &format!("owner {owner}"));
            tokio::time::sleep(Duration::from_millis(owner % 4)).await;
        }
        assert!(!waiter.is_finished());
        let all: Vec<_> = (0..count).collect();
        release_on(&servers, &all, "owner 19");
        promptly(&format!("N = {count}"), waiter).await.release().await.unwrap();
    }
}
