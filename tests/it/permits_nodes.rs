//! Locks with permits where the nodes differ: in what they grant, in what they remember, and in how fast they answer.

use std::time::Duration;

use redlock_runtime::testing::MemoryNode;
use redlock_runtime::{LockGuard, LockManager, LockManagerBuilder, LockRequest, Timeout};
use redlock_tests::Servers;
use redlock_tests::wait::{LIMIT, eventually_async, eventually_some_async};

use crate::common::kinds::slot;
use crate::common::waiters::LONG;
use crate::common::{key, manager};

/// A manager of three nodes in memory, and these.
fn nodes(prefix: &str) -> (LockManagerBuilder, [MemoryNode; 3]) {
    let names = ["a", "b", "c"].map(|node| format!("{prefix}-{node}"));
    let builder = LockManager::builder().nodes(names.each_ref().map(|name| format!("memory://{name}")));
    (builder, names.each_ref().map(|name| MemoryNode::named(name)))
}

/// Gets this permit of two, after `before` each try.
async fn permit_of_two(locks: &LockManager, permit: u32, before: impl Fn()) -> LockGuard {
    loop {
        before();
        let one = locks.lock("x").permits(2).ttl(Duration::from_secs(120)).timeout(Timeout::Skip);
        let guard = one.acquire().await.expect("one is free on two nodes");
        if guard.permit() == permit {
            return guard;
        }
        guard.release().await.unwrap();
    }
}

/// One node refuses for a stale key, and one of those that grant has forgotten the fencing counters: the counters of a majority are
/// there, so that no clock is needed, for a permit as for any lock.
#[tokio::test]
async fn who_refuses_a_permit_tells_what_its_fencing_token_has_to_surpass() {
    let second = Duration::from_secs(1);
    for permits in [Some(1), Some(2), None] {
        let (builder, [_a, b, c]) = nodes(&format!("tokens-{permits:?}"));
        let locks = builder.ttl(second).longest_ttl(second).max_clock_skew(None).build().unwrap();
        let one = || match permits {
            Some(permits) => locks.lock("x").permits(permits),
            None => locks.lock("x"),
        };
        let mut tokens = Vec::new();
        for _ in 0..8 {
            let guard = one().acquire().await.unwrap();
            tokens.push((guard.fencing_token(), permits.map(|_| guard.permit())));
            guard.release().await.unwrap();
        }
        c.restart_empty();
        b.give_to(&permits.map_or_else(|| key("x"), |_| slot("x", 0)), "stale", Duration::from_secs(3600));
        for _ in 0..4 {
            let guard =
                eventually_some_async("it is acquired", async || one().try_acquire().await.ok().flatten()).await;
            let permit = permits.map(|_| guard.permit());
            let before = tokens.iter().filter(|(_, other)| *other == permit).map(|(token, _)| *token).max();
            assert!(Some(guard.fencing_token()) > before, "{permits:?}");
            tokens.push((guard.fencing_token(), permit));
            guard.release().await.unwrap();
        }
    }
}

/// What a node grants when the majority is there already, and of another permit than the others, is given back at once: not only when
/// the lock is released.
#[tokio::test]
async fn a_late_grant_of_another_permit_is_given_back_while_the_lock_is_held() {
    let (builder, [_a, b, c]) = nodes("late-stray");
    let locks = builder.build().unwrap();
    c.give_to(&slot("x", 0), "old", Duration::from_secs(3600));
    c.answer_after(Duration::from_millis(50));
    let first = permit_of_two(&locks, 0, || {}).await;
    eventually_async("the node has answered, and has nothing any more", async || {
        // What it is asked next it answers behind that.
        let _ = locks.inspect("x").await;
        c.owner_of(&slot("x", 1)).is_none()
    })
    .await;
    c.recover();
    b.go_down();
    let one = || locks.lock("x").permits(2).try_acquire();
    let second = eventually_some_async("it is acquired", async || one().await.ok().flatten()).await;
    assert_eq!((first.permit(), second.permit()), (0, 1));
    assert!(first.is_valid());
}

/// A permit that was won by a bare majority, because the third node granted another one, is set there as well: long before it is
/// renewed.
#[tokio::test]
async fn a_permit_that_one_node_did_not_grant_is_set_there_at_once() {
    let (builder, [_a, _b, c]) = nodes("astray");
    let locks = builder.build().unwrap();
    let (slot, other) = (slot("x", 0), slot("x", 1));
    // Somebody else's, which is gone a moment later.
    let guard = permit_of_two(&locks, 0, || c.give_to(&slot, "another", Duration::from_millis(15))).await;
    eventually_async("all nodes have it", async || c.owner_of(&slot).is_some_and(|owner| owner != "another")).await;
    assert_eq!(c.owner_of(&other), None);
    guard.release().await.unwrap();
    eventually_async("it is released", async || c.owner_of(&slot).is_none()).await;
}

/// Two nodes grant different permits and the third is hung: nobody waits for that one.
#[tokio::test]
async fn a_hung_node_slows_nobody_where_the_others_disagree() {
    let (builder, [a, b, c]) = nodes("hung");
    let locks = builder.node_timeout(LIMIT).build().unwrap();
    c.hang();
    a.give_to(&slot("x", 1), "old", Duration::from_secs(3600));
    b.give_to(&slot("x", 0), "old", Duration::from_secs(3600));
    let one = || locks.lock("x").permits(3);
    let many = async {
        for _ in 0..20 {
            one().try_acquire().await.unwrap().expect("one is free on two nodes").release().await.unwrap();
        }
        one().timeout(LIMIT / 3).acquire().await.expect("one is free on two nodes")
    };
    let guard = tokio::time::timeout(LIMIT / 2, many).await.expect("nobody waits for the node");
    assert_eq!(guard.permit(), 2);
    c.recover();
}

/// A number of permits counts for no longer than the nodes keep it, also in processes that were told of it.
#[tokio::test]
async fn a_greater_number_of_permits_is_remembered_no_longer_than_the_nodes_keep_it() {
    let servers = Servers::start(3);
    let (old, new) = (manager(&servers), manager(&servers));
    let line = format!("redlock-permits:{{{}}}", key("x"));
    let one_of = |locks: &LockManager, permits| -> LockRequest {
        locks.lock("x").permits(permits).ttl(LONG).timeout(Timeout::Skip)
    };
    let once = async |locks: &LockManager, permits| {
        one_of(locks, permits).acquire().await.expect("all are free").release().await.unwrap();
    };
    let at_once = async || {
        let mut guards = Vec::new();
        while let Some(guard) = one_of(&new, 2).try_acquire().await.unwrap() {
            guards.push(guard);
        }
        let count = guards.len();
        for guard in guards {
            guard.release().await.unwrap();
        }
        count
    };
    once(&old, 5).await;
    assert_eq!(at_once().await, 5, "the greater number counts");
    // Nobody has said it for long.
    servers.iter().for_each(|server| assert!(server.probe().pexpire(&line, Duration::from_secs(3))));
    once(&new, 2).await;
    eventually_async("it is over", async || servers.iter().all(|server| !server.probe().exists(&line))).await;
    assert_eq!(at_once().await, 2, "whoever was told of it has forgotten it as well");

    once(&old, 5).await;
    assert_eq!(at_once().await, 5);
    // A majority does not know it any more.
    servers.iter().take(2).for_each(|server| server.probe().set(&line, "2"));
    servers[2].probe().del(&line);
    once(&new, 2).await;
    assert_eq!(at_once().await, 2);
}

/// Whoever says a number keeps it alive.
#[tokio::test]
async fn a_number_of_permits_lives_on_with_each_that_says_it() {
    let servers = Servers::start(1);
    let locks = manager(&servers);
    let line = format!("redlock-permits:{{{}}}", key("x"));
    let acquire = || locks.lock("x").permits(5).acquire();
    acquire().await.unwrap().release().await.unwrap();
    let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
    assert!(servers[0].probe().pexpire(&line, minutes(8)));
    acquire().await.unwrap().release().await.unwrap();
    assert!(servers[0].probe().pttl(&line).remaining() > Some(minutes(9)));
}
