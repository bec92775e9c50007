//! One run per fire on a Redis Cluster whose slots move: the lock and the mark are two keys, of which one may have gone ahead.

use std::time::Duration;

use redis::cmd;
use redlock_runtime::{Error, InDoubt, LockManager, LockManagerBuilder, Run};
use redlock_tests::gateway::Answer;
use redlock_tests::wait::{LIMIT, eventually, eventually_async};
use redlock_tests::{Cluster, Gateway, RedisServer};

use crate::common::once::{already_ran, job, mark, run};
use crate::common::{causes, key, unhurried, waiting};

/// Servers that are busy are no reason to ask who has which slots. A completion is tried again for some times as long.
fn builder(cluster: &Cluster) -> LockManagerBuilder {
    unhurried().nodes([cluster.url()]).node_timeout(Duration::from_secs(5)).in_doubt(InDoubt::Run)
}

fn manager(cluster: &Cluster) -> LockManager {
    builder(cluster).build().unwrap()
}

/// The slot of the job, who has it, and who is to get it.
fn ways(cluster: &Cluster) -> (u16, &RedisServer, &RedisServer) {
    let slot = cluster.slot_of(&key("job"));
    let from = cluster.owner(slot);
    let to = cluster.masters().into_iter().find(|master| master.port() != from.port()).unwrap();
    (slot, from, to)
}

/// How often the server said that the keys are partly elsewhere.
fn refused(server: &RedisServer) -> u64 {
    let said = server.probe().info("errorstats");
    let count = said.get("errorstat_TRYAGAIN").and_then(|said| said.strip_prefix("count="));
    count.map_or(0, |count| count.parse().unwrap())
}

/// Whether the key is with this server, also while its slot is on its way.
fn has(server: &RedisServer, key: &str) -> bool {
    server.probe().keys().iter().any(|other| other == key)
}

async fn last_fire(locks: &LockManager) -> Option<u64> {
    locks.last_run("job").await.unwrap().map(|last| last.fire)
}

#[tokio::test]
async fn the_first_fire_of_a_job_is_completed_although_its_lock_moves_and_there_is_no_mark_yet() {
    let cluster = Cluster::start();
    let (locks, others) = (manager(&cluster), manager(&cluster));
    // It knows who has the slot, and nobody will tell it.
    others.lock("job").acquire().await.unwrap().release().await.unwrap();
    let (slot, from, to) = ways(&cluster);
    let guard = job(&locks, 7).acquire().await.unwrap();
    let migration = cluster.migrate(slot, to);
    let completing = tokio::spawn(guard.complete());
    eventually_async("the lock is here and the mark would be there", async || refused(from) > 0).await;
    assert!(!completing.is_finished());
    migration.move_key(&key("job"));
    completing.await.unwrap().expect("both are there, or nowhere");
    assert!(has(to, &mark("job")) && !has(to, &key("job")), "marked, and released");
    migration.finish();
    assert_eq!(last_fire(&locks).await, Some(7));
    assert_eq!(run(job(&others, 7).timeout(LIMIT)).await.unwrap(), already_ran(7));
}

#[tokio::test]
async fn a_mark_that_stays_behind_its_lock_is_neither_overwritten_nor_overlooked() {
    let cluster = Cluster::start();
    let (locks, others) = (manager(&cluster), manager(&cluster));
    assert_eq!(run(job(&locks, 7)).await.unwrap(), Run::Ran(Some(7)));
    let (slot, from, to) = ways(&cluster);
    let guard = job(&locks, 8).acquire().await.unwrap();
    let migration = cluster.migrate(slot, to);
    migration.move_key(&key("job"));
    let completing = tokio::spawn(guard.complete());
    eventually_async("the lock is there and the mark is here", async || refused(from) > 0).await;
    for fire in [7, 8] {
        let attempt = run(job(&others, fire)).await;
        assert!(!matches!(attempt, Ok(Run::Ran(_))), "{attempt:?}");
    }
    assert!(!completing.is_finished());
    assert!(has(from, &mark("job")) && !has(to, &mark("job")));
    migration.move_keys();
    completing.await.unwrap().expect("all of it is there");
    assert_eq!(run(job(&others, 8).timeout(LIMIT)).await.unwrap(), already_ran(8));
    migration.finish();
    assert_eq!(run(job(&others, 8).timeout(LIMIT)).await.unwrap(), already_ran(8));
    assert_eq!(run(job(&others, 9).timeout(LIMIT)).await.unwrap(), Run::Ran(Some(9)));
}

#[tokio::test]
async fn who_stands_by_while_the_slot_moves_learns_of_the_completion_there() {
    let cluster = Cluster::start();
    let (locks, others) = (manager(&cluster), manager(&cluster));
    assert_eq!(run(job(&locks, 7)).await.unwrap(), Run::Ran(Some(7)));
    let (slot, _, to) = ways(&cluster);
    let guard = job(&locks, 8).acquire().await.unwrap();
    let standing_by = tokio::spawn(run(job(&others, 8).timeout(LIMIT)));
    eventually_async("it waits", async || waiting(&others, "job").await == 1).await;
    cluster.migrate(slot, to).finish();
    guard.complete().await.unwrap();
    assert_eq!(standing_by.await.unwrap().unwrap(), already_ran(8));
    assert!(has(to, &mark("job")));
}

#[tokio::test]
async fn the_last_run_of_a_slot_that_moves_is_told_or_an_error() {
    let cluster = Cluster::start();
    let locks = manager(&cluster);
    assert_eq!(run(job(&locks, 7)).await.unwrap(), Run::Ran(Some(7)));
    let (slot, _, to) = ways(&cluster);
    let migration = cluster.migrate(slot, to);
    let mut told = 0;
    for key in migration.keys() {
        match locks.last_run("job").await {
            Ok(last) => {
                assert_eq!(last.map(|last| last.fire), Some(7));
                told += 1;
            }
            Err(error) => assert!(matches!(error, Error::QuorumUnreachable { .. }), "{error}"),
        }
        migration.move_key(&key);
    }
    assert!(told > 0);
    let between = locks.last_run("job").await;
    assert!(matches!(&between, Err(Error::QuorumUnreachable { .. }) | Ok(Some(_))), "{between:?}");
    migration.finish();
    eventually_async("it is known again", async || {
        locks.last_run("job").await.is_ok_and(|last| last.map(|last| last.fire) == Some(7))
    })
    .await;
}

/// A manager for which this server of the cluster is behind the gateway, though everybody else knows it as it is.
fn behind(cluster: &Cluster, server: &RedisServer, gateway: &Gateway, fenced: bool) -> LockManager {
    let announce = |port: u16| server.probe().config_set("cluster-announce-port", &port.to_string());
    announce(gateway.port());
    let url = gateway.url().replace("redis:", "redis+cluster:");
    let builder = builder(cluster).nodes([url]).fencing(fenced);
    let locks = builder.build().unwrap();
    assert!(locks.last_run_blocking("job").unwrap().is_some(), "now it knows where the slot is");
    announce(0);
    eventually("all others know it as it is", || {
        cluster.servers().iter().all(|other| {
            let view: String = other.probe().run(cmd("CLUSTER").arg("NODES")).unwrap();
            !view.contains(&format!(":{}@", gateway.port()))
        })
    });
    locks
}

/// What Redis 6 answers for a slot that it gives away, as soon as one of the keys is not with it.
fn send_on(gateway: &Gateway, from: &RedisServer, script: &str, slot: u16, to: &RedisServer) {
    let hash: String = from.probe().run(cmd("SCRIPT").arg("LOAD").arg(script)).unwrap();
    gateway.answer(&format!("EVALSHA {hash}"), Answer::raw(format!("-ASK {slot} {}\r\n", to.address())));
}

const ACQUIRE: &str = concat!(
    include_str!("../../redlock-runtime/src/node/redis/lua/acquire.lua"),
    include_str!("../../redlock-runtime/src/node/redis/lua/raise.lua"),
    include_str!("../../redlock-runtime/src/node/redis/lua/contend.lua"),
    include_str!("../../redlock-runtime/src/node/redis/lua/acquire_told.lua")
);
const COMPLETE: &str = include_str!("../../redlock-runtime/src/node/redis/lua/complete.lua");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_before_version_7_send_no_completion_past_a_lock_that_has_not_moved_yet() {
    let cluster = Cluster::start();
    let direct = manager(&cluster);
    assert_eq!(run(job(&direct, 7)).await.unwrap(), Run::Ran(Some(7)));
    let (slot, from, to) = ways(&cluster);
    let gateway = Gateway::start(from);
    let locks = behind(&cluster, from, &gateway, true);
    let guard = job(&locks, 8).acquire().await.unwrap();
    let migration = cluster.migrate(slot, to);
    send_on(&gateway, from, COMPLETE, slot, to);
    let asked = gateway.asked("EVALSHA");
    let completing = tokio::spawn(guard.complete());
    eventually_async("it is sent on, and asked what is left", async || gateway.asked("EVALSHA") > asked + 1).await;
    assert!(has(from, &key("job")) && !has(to, &mark("job")), "its lock is still here");
    migration.move_keys();
    completing.await.unwrap().expect("all of it is there");
    migration.finish();
    assert_eq!(last_fire(&direct).await, Some(8));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_before_version_7_send_no_attempt_past_a_mark_that_has_not_moved_yet() {
    for fenced in [true, false] {
        let cluster = Cluster::start();
        assert_eq!(run(job(&manager(&cluster), 7)).await.unwrap(), Run::Ran(Some(7)));
        let (slot, from, to) = ways(&cluster);
        // As if it had not been used for a day.
        for counter in from.probe().keys_like("redlock-fence:*") {
            from.probe().del(&counter);
        }
        let gateway = Gateway::start(from);
        let locks = behind(&cluster, from, &gateway, fenced);
        let migration = cluster.migrate(slot, to);
        send_on(&gateway, from, ACQUIRE, slot, to);
        let asked = gateway.asked("EVALSHA");
        let attempt = run(job(&locks, 7)).await.expect_err("its mark is still here, and it would run there");
        assert!(causes(&attempt).contains("being moved"), "{}", causes(&attempt));
        assert!(gateway.asked("EVALSHA") > asked);
        migration.finish();
        assert_eq!(run(job(&locks, 7).timeout(LIMIT)).await.unwrap(), already_ran(7));
    }
}
