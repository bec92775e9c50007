//! Locks under load while the servers that decide about them are replaced.

use std::time::Duration;

use redlock_runtime::LockManager;
use redlock_tests::load::check;
use redlock_tests::wait::long_eventually_some;
use redlock_tests::{Cluster, Load, Sentinel};

use crate::common::{key, unhurried};

/// So many tasks want locks.
const TASKS: usize = 8;

/// How often each lock has to be held again until that counts as going on.
const AGAIN: usize = 20;

/// Two managers whose locks count once so many replicas have them.
fn managers(url: &str, replicas: usize) -> Vec<LockManager> {
    let builder = unhurried().nodes([url]);
    let builder = match replicas {
        0 => builder,
        _ => builder.wait_replicas(replicas, Duration::from_millis(100)),
    };
    (0..2).map(|_| builder.clone().build().unwrap()).collect()
}

fn names() -> Vec<String> {
    (0..4).map(|number| format!("name-{number}")).collect()
}

/// Names of the same slot, so that they move together.
fn tagged_names() -> Vec<String> {
    (0..4).map(|number| format!("{{tag}}name-{number}")).collect()
}

/// Waits until every lock is held again and again.
#[track_caller]
fn goes_on(load: &Load, names: &[String]) {
    let before = load.counts(names);
    long_eventually_some("every lock is held again and again", || {
        let is_more = |(now, before): (&usize, &usize)| *now >= before + AGAIN;
        load.counts(names).iter().zip(&before).all(is_more).then_some(())
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_fails_over_by_order_under_load_and_no_lock_is_held_twice() {
    let (service, names) = (Sentinel::start(), names());
    // All of them: while it fails over, a replica that is not promoted still follows the old master.
    let load = Load::start(&managers(&service.url(), 2), &names, TASKS);
    goes_on(&load, &names);
    service.force_failover();
    goes_on(&load, &names);
    check(&load.stop().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_whose_master_dies_under_load_goes_on_and_no_lock_is_held_twice() {
    let (service, names) = (Sentinel::start(), names());
    let load = Load::start(&managers(&service.url(), 1), &names, TASKS);
    goes_on(&load, &names);
    let old = service.master();
    old.kill();
    service.wait_for_other_master(old.port());
    goes_on(&load, &names);
    check(&load.stop().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_fails_over_and_moves_a_slot_there_and_back_under_load_and_no_lock_is_held_twice() {
    let (cluster, names) = (Cluster::start(), tagged_names());
    let load = Load::start(&managers(&cluster.url(), 1), &names, TASKS);
    goes_on(&load, &names);
    let slot = cluster.slot_of(&key(&names[0]));
    let first = cluster.owner(slot);
    let second = cluster.fail_over(first);
    goes_on(&load, &names);
    let third = cluster.masters().into_iter().find(|master| master.port() != second.port()).unwrap();
    for to in [third, second] {
        cluster.migrate(slot, to).finish_under_load();
        goes_on(&load, &names);
    }
    check(&load.stop().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_whose_master_dies_under_load_goes_on() {
    let (cluster, names) = (Cluster::start(), tagged_names());
    let load = Load::start(&managers(&cluster.url(), 0), &names, TASKS);
    goes_on(&load, &names);
    let old = cluster.owner(cluster.slot_of(&key(&names[0])));
    cluster.crash(old);
    goes_on(&load, &names);
    let held = load.stop().await;
    assert!(!held.is_empty());
}
