//! Locks on Redis Clusters: each is one voter, whichever of its servers has the slot.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use redlock_runtime::{LockManager, Timeout};
use redlock_tests::clock::{self, timed};
use redlock_tests::proxy::{Direction, Flow};
use redlock_tests::wait::{LIMIT, eventually_async};
use redlock_tests::{Certificates, Cluster, Proxy, RedisServer, Setup};
use tokio::runtime::{Builder, Runtime};

use crate::common::{a_lock_lives, causes, key, listed, unhurried, waiting};

fn manager(cluster: &Cluster) -> LockManager {
    unhurried().nodes([cluster.url()]).build().unwrap()
}

/// A server that does not answer is a reason to ask who has what; a busy one is not.
fn patient(cluster: &Cluster) -> LockManager {
    unhurried().nodes([cluster.url()]).node_timeout(Duration::from_secs(5)).build().unwrap()
}

#[tokio::test]
async fn a_lock_lives_on_a_cluster_with_a_password() {
    let cluster = Cluster::start_as(&Setup::new().with_password("se/c:r@t,%"));
    a_lock_lives(unhurried().nodes([cluster.url()])).await;
}

#[tokio::test]
async fn a_lock_lives_on_an_encrypted_cluster() {
    let certificates = Certificates::new();
    let cluster = Cluster::start_as(&Setup::new().with_tls(&certificates));
    let locks = unhurried().nodes([cluster.url()]).tls_roots(certificates.authority());
    a_lock_lives(locks).await;
}

#[tokio::test]
async fn locks_of_all_masters_are_held_waited_for_and_listed() {
    let cluster = Cluster::start();
    let (locks, others) = (manager(&cluster), manager(&cluster));
    let names: Vec<_> = (0..30).map(|number| format!("job {number}")).collect();
    let mut guards = Vec::new();
    for name in &names {
        guards.push(locks.lock(name).acquire().await.unwrap());
    }
    for master in cluster.masters() {
        assert!(!master.probe().keys_like("redlock:*").is_empty(), "every master has some");
    }
    assert_eq!(listed(&locks).await.len(), names.len());
    let waiters: Vec<_> = names
        .iter()
        .map(|name| {
            let waiting = locks.lock(name).timeout(Duration::from_secs(30));
            tokio::spawn(async move { waiting.acquire().await })
        })
        .collect();
    eventually_async("all waiters are counted", async || {
        let statistics = others.statistics().await.unwrap();
        names.iter().all(|name| statistics.get(name).is_some_and(|waiting| waiting.everywhere == 1))
    })
    .await;
    for guard in guards {
        guard.release().await.unwrap();
    }
    for waiter in waiters {
        waiter.await.unwrap().unwrap().release().await.unwrap();
    }
    assert!(listed(&locks).await.is_empty());
}

#[tokio::test]
async fn a_lock_is_taken_held_and_released_while_its_slot_moves() {
    let cluster = Cluster::start();
    let locks = manager(&cluster);
    let held = locks.lock("{moving}held").acquire().await.unwrap();
    locks.lock("{moving}used").acquire().await.unwrap().release().await.unwrap();
    let slot = cluster.slot_of(&key("{moving}held"));
    let to = cluster.masters().into_iter().find(|master| master.port() != cluster.owner(slot).port()).unwrap();
    let migration = cluster.migrate(slot, to);

    // What was never there is nowhere yet, so it begins where the slot goes.
    let fresh = locks.lock("{moving}fresh").acquire().await.expect("nothing of it is here");
    assert!(to.probe().keys().contains(&key("{moving}fresh")));
    assert!(locks.lock("{moving}fresh").try_acquire().await.unwrap().is_none());
    held.extend(Duration::from_secs(60)).await.expect("its key is still here");

    for key in migration.keys().iter().filter(|key| key.contains("held")) {
        migration.move_key(key);
    }
    held.extend(Duration::from_secs(90)).await.expect("its key is there already");
    assert!(locks.lock("{moving}held").try_acquire().await.unwrap().is_none());
    held.release().await.expect("its key is there already");

    migration.move_keys();
    let again = locks.lock("{moving}held").acquire().await.expect("all of it is there");
    again.release().await.unwrap();
    migration.finish();
    let used = locks.lock("{moving}used").acquire().await.expect("the slot has moved");
    fresh.release().await.unwrap();
    used.release().await.unwrap();
    assert!(listed(&locks).await.is_empty());
}

#[tokio::test]
async fn a_waiter_gets_a_lock_whose_slot_moved_meanwhile() {
    let cluster = Cluster::start();
    let (locks, others) = (patient(&cluster), patient(&cluster));
    let held = locks.lock("x").acquire().await.unwrap();
    let request = others.lock("x").timeout(Duration::from_secs(30));
    let waiter = tokio::spawn(async move { request.acquire().await });
    eventually_async("it waits", async || waiting(&locks, "x").await == 1).await;
    let slot = cluster.slot_of(&key("x"));
    let to = cluster.masters().into_iter().find(|master| master.port() != cluster.owner(slot).port()).unwrap();
    let migration = cluster.migrate(slot, to);
    migration.move_keys();
    migration.finish();
    held.release().await.unwrap();
    let guard = waiter.await.unwrap().unwrap();
    guard.release().await.unwrap();
}

#[tokio::test]
async fn a_cluster_whose_master_dies_votes_again_once_its_replica_has_taken_over() {
    let cluster = Cluster::start();
    let locks = manager(&cluster);
    locks.lock("x").acquire().await.unwrap().release().await.unwrap();
    let owner = cluster.owner(cluster.slot_of(&key("x")));
    cluster.crash(owner);
    let guard = locks.lock("x").timeout(Timeout::After(Duration::from_secs(10))).acquire().await.unwrap();
    guard.release().await.unwrap();
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn a_runtime_that_stands_still_keeps_nobody_from_the_cluster() {
    let cluster = Cluster::start();
    let locks = manager(&cluster);
    let standing_still = runtime();
    standing_still.block_on(async {
        let mut acquiring = pin!(locks.lock("x").acquire());
        let is_begun = poll_fn(|cx| Poll::Ready(acquiring.as_mut().poll(cx).is_pending())).await;
        assert!(is_begun);
    });
    let guard =
        runtime().block_on(locks.lock("x").try_acquire()).expect("who has which slots can be asked for elsewhere");
    drop(guard.expect("nobody has it"));
    drop(standing_still);
}

#[test]
fn a_lost_attempt_on_a_moving_slot_is_settled_although_its_runtime_stands_still() {
    let cluster = Cluster::start();
    // After nine of these an answer comes no more.
    let locks = unhurried().nodes([cluster.url()]).node_timeout(Duration::from_secs(1)).build().unwrap();
    let standing_still = runtime();
    standing_still.block_on(async { locks.lock("x").acquire().await.unwrap().release().await.unwrap() });
    let slot = cluster.slot_of(&key("x"));
    let to = cluster.masters().into_iter().find(|master| master.port() != cluster.owner(slot).port()).unwrap();
    // The counter is still here, the lock is nowhere: it is to be tried again, and again.
    let migration = cluster.migrate(slot, to);
    let attempt = standing_still.block_on(async {
        tokio::time::timeout(Duration::from_millis(5), locks.lock("x").timeout(Timeout::Forever).acquire()).await
    });
    assert!(attempt.is_err(), "{attempt:?}");
    let ((), took) = runtime().block_on(timed(locks.shutdown()));
    assert!(took < LIMIT, "{took:?}");
    migration.finish();
    drop(standing_still);
}

#[tokio::test]
async fn a_cluster_that_does_not_change_is_not_asked_who_has_what() {
    let cluster = Cluster::start();
    let (locks, others) = (patient(&cluster), patient(&cluster));
    let held = locks.lock("x").acquire().await.unwrap();
    let request = others.lock("x").timeout(Duration::from_secs(30));
    let waiter = tokio::spawn(async move { request.acquire().await });
    eventually_async("it waits", async || waiting(&locks, "x").await == 1).await;
    let asked =
        || cluster.masters().into_iter().map(|node| node.probe().command_counts().of("cluster|slots")).sum::<u64>();
    let (before, began) = (asked(), clock::now());
    while began.elapsed() < Duration::from_secs(1) {
        assert_eq!(waiting(&locks, "x").await, 1);
    }
    assert_eq!(asked(), before);
    held.release().await.unwrap();
    waiter.await.unwrap().unwrap().release().await.unwrap();
}

#[tokio::test]
async fn a_server_that_left_the_cluster_hides_it_from_nobody() {
    let cluster = Cluster::start();
    let left = RedisServer::start_as(&Setup::new().in_cluster());
    let slower = Proxy::start(cluster.masters()[0]);
    slower.set(Direction::Replies, Flow::Delay(Duration::from_millis(50)));
    let url = format!("redis+cluster://{},127.0.0.1:{}", left.address(), slower.port());
    let locks = unhurried().nodes([url]).build().unwrap();
    let guard = locks.lock("x").try_acquire().await.expect("another server knows").expect("nobody has it");
    guard.release().await.unwrap();
}

#[tokio::test]
async fn a_lock_that_replicas_must_have_is_kept_while_its_slot_moves() {
    let cluster = Cluster::start();
    let builder = unhurried().nodes([cluster.url()]);
    let locks = builder.wait_replicas(1, Duration::from_secs(2)).build().unwrap();
    let held = locks.lock("x").acquire().await.unwrap();
    let slot = cluster.slot_of(&key("x"));
    let to = cluster.masters().into_iter().find(|master| master.port() != cluster.owner(slot).port()).unwrap();
    let migration = cluster.migrate(slot, to);
    held.extend(Duration::from_secs(60)).await.expect("its key is still here");
    migration.move_key(&key("x"));
    held.extend(Duration::from_secs(90)).await.expect("its key is there already");
    migration.finish();
    held.release().await.unwrap();
}

/// Servers before version 7 forget nothing only because we ask them; later ones by themselves.
#[tokio::test]
async fn a_counter_that_has_not_moved_yet_is_not_begun_anew() {
    let cluster = Cluster::start();
    let locks = manager(&cluster);
    let first = locks.lock("x").acquire().await.unwrap();
    let token = first.fencing_token();
    first.release().await.unwrap();
    let slot = cluster.slot_of(&key("x"));
    let from = cluster.owner(slot).probe();
    let to = cluster.masters().into_iter().find(|master| master.port() != cluster.owner(slot).port()).unwrap();
    // As by a clock that is half a day ahead.
    let half_a_day = Duration::from_secs(12 * 3600);
    let ahead = token + u64::try_from(half_a_day.as_micros()).unwrap();
    let counter = from.keys_like("redlock-fence:*").pop().unwrap();
    from.set_for(&counter, &ahead.to_string(), Duration::from_secs(80_000));
    let migration = cluster.migrate(slot, to);
    let request = locks.lock("x").timeout(Timeout::Skip);
    let refused = request.acquire().await.expect_err("its counter is still here, and it would be there");
    assert!(causes(&refused).contains("being moved"), "{}", causes(&refused));
    migration.finish();
    let guard = locks.lock("x").acquire().await.unwrap();
    assert!(guard.fencing_token() > ahead, "{}", guard.fencing_token());
    guard.release().await.unwrap();
}

/// As the one above: servers before version 7 would let others have it where its slot goes.
#[tokio::test]
async fn a_lock_that_has_not_moved_yet_is_held_although_its_counter_has_moved() {
    let cluster = Cluster::start();
    let (locks, others) = (manager(&cluster), manager(&cluster));
    let held = locks.lock("x").acquire().await.unwrap();
    let slot = cluster.slot_of(&key("x"));
    let to = cluster.masters().into_iter().find(|master| master.port() != cluster.owner(slot).port()).unwrap();
    let migration = cluster.migrate(slot, to);
    let keys = migration.keys();
    migration.move_key(keys.iter().find(|key| key.starts_with("redlock-fence:")).unwrap());
    let second = others.lock("x").timeout(Timeout::Skip).acquire().await;
    assert!(second.is_err(), "{second:?}");
    held.extend(Duration::from_secs(60)).await.expect("its key is still here");
    migration.finish();
    held.release().await.unwrap();
}

#[tokio::test]
async fn those_who_wait_keep_no_slot_from_moving() {
    let cluster = Cluster::start();
    let (locks, others) = (patient(&cluster), patient(&cluster));
    let held = locks.lock("x").acquire().await.unwrap();
    let request = others.lock("x").timeout(Duration::from_secs(30));
    let waiter = tokio::spawn(async move { request.acquire().await });
    let slot = cluster.slot_of(&key("x"));
    let noted = || cluster.owner(slot).probe().keys_like("redlock-waiting:*");
    eventually_async("it is noted that it waits", async || noted().len() == 1).await;
    let to = cluster.masters().into_iter().find(|master| master.port() != cluster.owner(slot).port()).unwrap();
    let migration = cluster.migrate(slot, to);
    let refused = || to.probe().command_counts().of("asking");
    let before = refused();
    for key in migration.keys().iter().filter(|key| !key.starts_with("redlock-waiting:")) {
        migration.move_key(key);
    }
    eventually_async("it is refused there", async || refused() > before).await;
    migration.finish();
    held.release().await.unwrap();
    waiter.await.unwrap().unwrap().release().await.unwrap();
}

#[tokio::test]
async fn a_master_that_hangs_keeps_no_other_from_noting_owners() {
    let cluster = Cluster::start();
    let locks = manager(&cluster);
    let name_at = |master: u16| {
        (0..1000)
            .map(|number| format!("x{number}"))
            .find(|name| cluster.owner(cluster.slot_of(&key(name))).port() == master)
    };
    let masters = cluster.masters();
    let names: Vec<String> = masters.iter().map(|master| name_at(master.port()).unwrap()).collect();
    for name in &names {
        locks.lock(name).acquire().await.unwrap().release().await.unwrap();
    }
    let mut held = Vec::new();
    for name in &names {
        held.push(locks.lock(name).acquire().await.unwrap());
    }
    masters[0].hang();
    for name in &names[1..] {
        eventually_async("its owner is noted", async || {
            locks.inspect(name).await.is_ok_and(|lock| lock.owner_label.is_some())
        })
        .await;
    }
    masters[0].resume();
}
