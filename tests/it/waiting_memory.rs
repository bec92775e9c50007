//! Waiting on `memory://` nodes is what it is on servers.

use std::time::Duration;

use redlock_runtime::testing::MemoryNode;
use redlock_runtime::{Error, LockManager};
use redlock_tests::clock::timed;
use redlock_tests::wait::eventually_async;

use crate::common::key;
use crate::common::waiters::{LONG, Named, Waiter, promptly};

/// Nodes, and managers as two processes would have them.
struct Fleet {
    nodes: Vec<MemoryNode>,
    locks: LockManager,
    others: LockManager,
}

fn fleet(label: &str, count: usize) -> Fleet {
    let names: Vec<_> = (0..count).map(|node| format!("waiting-{label}-{count}-{node}")).collect();
    let nodes = names.iter().map(|name| MemoryNode::named(name)).collect();
    let manager = || {
        let urls = names.iter().map(|name| format!("memory://{name}"));
        LockManager::builder().nodes(urls).build().unwrap()
    };
    Fleet { nodes, locks: manager(), others: manager() }
}

/// Waits for "x", and has been refused.
async fn starts_to_wait(locks: &LockManager) -> Waiter {
    let waiter = tokio::spawn(locks.lock("x").ttl(LONG).acquire());
    // Nodes in this process answer without a pause, so one turn of the runtime is all it takes.
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    waiter
}

#[tokio::test]
async fn a_release_wakes_whoever_waits_here_and_elsewhere() {
    for count in [1, 3] {
        let Fleet { locks, others, .. } = fleet("release", count);
        for holds in [&locks, &others] {
            for is_dropped in [true, false] {
                let guard = holds.lock("x").ttl(LONG).acquire().await.unwrap();
                let waiter = starts_to_wait(&locks).await;
                if is_dropped {
                    drop(guard);
                } else {
                    guard.release().await.unwrap();
                }
                promptly(&format!("N = {count}, dropped: {is_dropped}"), waiter).await.release().await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn a_key_that_expires_or_is_gone_wakes_whoever_waits() {
    let ends: [Named<MemoryNode>; 3] = [
        ("flushed", MemoryNode::flush),
        ("restarted", MemoryNode::restart_empty),
        ("expired", |node| node.give_to(&key("x"), "somebody", Duration::from_millis(100))),
    ];
    for count in [1, 3] {
        for (what, end) in ends {
            let Fleet { nodes, locks, .. } = fleet(what, count);
            for node in &nodes {
                node.give_to(&key("x"), "somebody", LONG);
            }
            let waiter = starts_to_wait(&locks).await;
            nodes.iter().for_each(end);
            promptly(&format!("{what}, N = {count}"), waiter).await.release().await.unwrap();
        }
    }
}

#[tokio::test]
async fn whoever_is_given_the_key_by_hand_keeps_it_from_whoever_waits() {
    let Fleet { nodes, locks, .. } = fleet("given", 3);
    let guard = locks.lock("x").ttl(LONG).acquire().await.unwrap();
    let waiter = starts_to_wait(&locks).await;
    let began = redlock_tests::clock::now();
    for node in &nodes {
        node.give_to(&key("x"), "somebody", Duration::from_millis(400));
    }
    let released = guard.release().await;
    assert!(matches!(released, Err(Error::NotHeld { .. })), "{released:?}");
    let next = promptly("it expires", waiter).await;
    let took = began.elapsed();
    assert!(took > Duration::from_millis(350), "{took:?}");
    next.release().await.unwrap();
}

#[tokio::test]
async fn faults_of_one_node_delay_nobody() {
    let faults: [Named<MemoryNode>; 3] =
        [("down", MemoryNode::go_down), ("hung", MemoryNode::hang), ("restarted", MemoryNode::restart_empty)];
    for (what, fault) in faults {
        for faulty in 0..3 {
            // Never the same ones: a node that restarted must not be met again by the next round.
            let Fleet { nodes, locks, others } = fleet(&format!("{what}-{faulty}"), 3);
            let guard = others.lock("x").ttl(LONG).acquire().await.unwrap();
            let waiter = starts_to_wait(&locks).await;
            fault(&nodes[faulty]);
            guard.release().await.unwrap();
            promptly(&format!("node {faulty} {what}"), waiter).await.release().await.unwrap();
            nodes[faulty].recover();
            let is_free = async || nodes.iter().all(|node| node.owner_of(&key("x")).is_none());
            eventually_async("nothing is left", is_free).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_comes_too_late_again_and_again_pauses_before_none_of_his_attempts() {
    for count in [1, 3, 5] {
        let Fleet { nodes, locks, .. } = fleet("late", count);
        for node in &nodes {
            node.give_to(&key("x"), "somebody", LONG);
        }
        let waiter = starts_to_wait(&locks).await;
        // Each time all nodes report a change, and somebody else has it already.
        for owner in 0..20 {
            for node in &nodes {
                node.give_to(&key("x"), &format!("owner {owner}"), LONG);
            }
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
        }
        nodes.iter().for_each(MemoryNode::flush);
        let (guard, took) = timed(waiter).await;
        // A timer is up to a millisecond late.
        assert!(took < Duration::from_millis(2), "{took:?}, N = {count}");
        guard.unwrap().unwrap().release().await.unwrap();
    }
}
