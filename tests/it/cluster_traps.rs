//! What broke elsewhere, on a Redis Cluster: servers that hang, or give a slot or their place away. What it shares with a service of
//! Sentinels is in `traps`.

use std::time::Duration;

use redlock_runtime::LockManager;
use redlock_tests::wait::{eventually, eventually_async};
use redlock_tests::{Cluster, RedisServer, Servers};

use crate::common::cycles::{PATIENT, cycle_at_once, cycle_soon, patient, unreachable};
use crate::common::{key, unhurried};

/// One that gives a hung server up before the cluster does.
fn hasty(urls: impl IntoIterator<Item = String>) -> LockManager {
    LockManager::builder().nodes(urls).build().unwrap()
}

fn owner_of<'a>(cluster: &'a Cluster, name: &str) -> &'a RedisServer {
    cluster.owner(cluster.slot_of(&key(name)))
}

fn another<'a>(cluster: &'a Cluster, than: &RedisServer) -> &'a RedisServer {
    cluster.masters().into_iter().find(|master| master.port() != than.port()).expect("there are three")
}

/// A name whose lock this master does not decide about.
fn name_elsewhere(cluster: &Cluster, than: &RedisServer) -> String {
    let mut names = (0..).map(|number| format!("elsewhere {number}"));
    names.find(|name| owner_of(cluster, name).port() != than.port()).expect("two thirds are")
}

#[tokio::test]
async fn a_master_that_hangs_or_has_no_memory_keeps_nobody_from_the_locks_of_others() {
    let cluster = Cluster::start();
    let (locks, hasty) = (patient([cluster.url()]), hasty([cluster.url()]));
    let owner = owner_of(&cluster, "x");
    let elsewhere = name_elsewhere(&cluster, owner);
    // Who gets it next does so when this is released: a busy machine may be late to confirm that to somebody hasty.
    drop(hasty.lock("x").timeout(PATIENT).acquire().await.expect("it is free"));
    cycle_soon(&locks, "x").await;
    cycle_soon(&locks, &elsewhere).await;
    owner.hang();
    unreachable(&hasty, "x").await;
    // The cluster has not noticed yet.
    cycle_at_once(&locks, &elsewhere).await;
    owner.resume();
    cycle_soon(&locks, "x").await;
    // Its replica may have its place by now, if the machine is busy.
    owner_of(&cluster, "x").probe().config_set("maxmemory", "1");
    unreachable(&locks, "x").await;
    cycle_at_once(&locks, &elsewhere).await;
}

#[tokio::test]
async fn a_master_that_gives_its_place_away_is_followed_and_forgets_nothing() {
    let cluster = Cluster::start();
    let (locks, others) = (patient([cluster.url()]), patient([cluster.url()]));
    let held = locks.lock("x").acquire().await.unwrap();
    let mut token = held.fencing_token();
    let waiting = tokio::spawn(others.lock("x").timeout(Duration::from_secs(30)).acquire());
    eventually_async("it waits", async || locks.inspect("x").await.unwrap().waiting == 1).await;
    let new = cluster.fail_over(owner_of(&cluster, "x"));
    held.extend(Duration::from_secs(60)).await.expect("the replica had it, and its place is known soon");
    assert!(others.lock("x").try_acquire().await.unwrap().is_none());
    held.release().await.unwrap();
    let got = waiting.await.unwrap().unwrap();
    assert!(got.fencing_token() > token, "{} after {token}", got.fencing_token());
    token = got.fencing_token();
    assert!(new.probe().exists(&key("x")));
    got.release().await.unwrap();

    let slot = cluster.slot_of(&key("x"));
    cluster.migrate(slot, another(&cluster, new)).finish();
    let again = cycle_soon(&locks, "x").await;
    assert!(again > token, "{again} after {token}");
    let counter = owner_of(&cluster, "x").probe().pttl("redlock-fence:{redlock:ConfigurableLock.x}");
    assert!(counter.remaining().is_some(), "{counter:?}");
}

#[tokio::test]
async fn tokens_grow_without_any_clock_across_a_migration_there_and_back() {
    let cluster = Cluster::start();
    let trusting = patient([cluster.url()]);
    let careful = unhurried().nodes([cluster.url()]).max_clock_skew(None).build().unwrap();
    let mut tokens = vec![cycle_soon(&trusting, "x").await];
    let slot = cluster.slot_of(&key("x"));
    for _ in 0..2 {
        let to = another(&cluster, cluster.owner(slot));
        let migration = cluster.migrate(slot, to);
        // The counter is still here, and the lock is not: servers do nothing for such a pair, so nobody guesses a token.
        let says_so = async || unreachable(&trusting, "x").await.contains("is being moved");
        eventually_async("it says that the slot is being moved", says_so).await;
        migration.move_keys();
        tokens.push(cycle_soon(&careful, "x").await);
        migration.finish();
        tokens.push(cycle_soon(&careful, "x").await);
    }
    assert!(tokens.is_sorted_by(|one, next| one < next), "{tokens:?}");
}

#[tokio::test]
async fn replicas_are_counted_while_a_slot_moves() {
    let cluster = Cluster::start();
    let builder = unhurried().nodes([cluster.url()]);
    let locks = builder.wait_replicas(1, Duration::from_secs(2)).build().unwrap();
    let held = locks.lock("{moving}held").acquire().await.unwrap();
    let slot = cluster.slot_of(&key("{moving}"));
    let migration = cluster.migrate(slot, another(&cluster, cluster.owner(slot)));
    eventually("nothing but the lock and what belongs to it is left", || {
        migration.keys().iter().all(|key| !key.contains("replicated"))
    });
    held.extend(Duration::from_secs(60)).await.expect("it is here, and so are the replicas");
    let fresh = locks.lock("{moving}fresh").acquire().await.expect("it is there, and so are the replicas");
    fresh.extend(Duration::from_secs(60)).await.unwrap();
    migration.move_keys();
    held.extend(Duration::from_secs(90)).await.unwrap();
    held.release().await.unwrap();
    fresh.release().await.unwrap();
    migration.finish();
    cycle_soon(&locks, "{moving}held").await;
}

#[tokio::test]
async fn a_server_of_a_cluster_that_is_named_as_one_by_itself_is_told_how_to_be_written() {
    let cluster = Cluster::start();
    let other = another(&cluster, owner_of(&cluster, "x"));
    let said = unreachable(&patient([cluster.url(), other.url()]), "x").await;
    assert!(said.contains("redis+cluster://"), "{said}");
}

#[tokio::test]
async fn seeds_that_hang_or_are_gone_hold_nobody_up() {
    let cluster = Cluster::start();
    let owner = owner_of(&cluster, "x");
    let [hung, gone] = [0, 1].map(|index| cluster.replicas_of(cluster.masters()[index])[0]);
    hung.hang();
    gone.kill();
    let hosts = [hung.address(), gone.address(), owner.address()].join(",");
    let locks = patient([format!("redis+cluster://{hosts}")]);
    cycle_soon(&locks, "x").await;
    cycle_at_once(&locks, "x").await;
    // Those that were named are not asked any more once the cluster is known.
    let named = patient([format!("redis+cluster://{}", cluster.servers()[0].address())]);
    let elsewhere = name_elsewhere(&cluster, &cluster.servers()[0]);
    cycle_soon(&named, &elsewhere).await;
    cluster.servers()[0].hang();
    cycle_at_once(&named, &elsewhere).await;
    cluster.servers()[0].resume();
    hung.resume();
}

#[tokio::test]
async fn clusters_and_servers_form_a_quorum_that_goes_on_at_once_without_a_deciding_master() {
    let (first, second, third) = (Cluster::start(), Cluster::start(), Servers::start(1));
    let locks = patient([first.url(), second.url(), third[0].url()]);
    let others = patient([first.url(), second.url(), third[0].url()]);
    cycle_soon(&locks, "x").await;
    let held = locks.lock("held").acquire().await.unwrap();
    owner_of(&first, "x").kill();
    for _ in 0..20 {
        cycle_at_once(&locks, "x").await;
    }
    let guard = locks.lock("x").acquire().await.unwrap();
    assert!(others.lock("x").try_acquire().await.unwrap().is_none());
    let have_it = async || owner_of(&second, "x").probe().exists(&key("x")) && third[0].probe().exists(&key("x"));
    eventually_async("both have it", have_it).await;
    guard.extend(Duration::from_secs(60)).await.unwrap();
    guard.release().await.unwrap();
    held.release().await.unwrap();
}
