//! A node that restarted empty does not make a second majority, and one server does not count twice.

use std::time::Duration;

use redlock_runtime::testing::MemoryNode;
use redlock_runtime::{Error, LockManager, LockManagerBuilder};
use redlock_tests::clock::{now, timed};
use redlock_tests::wait::eventually_async;
use redlock_tests::{RedisServer, Servers};

use crate::common::{key, manager, none_has_x, unhurried};

const LONGEST: Duration = Duration::from_secs(6);

fn careful(urls: Vec<String>) -> LockManagerBuilder {
    unhurried().nodes(urls).ttl(LONGEST).longest_ttl(LONGEST)
}

fn uptime(server: &RedisServer) -> Duration {
    Duration::from_secs(server.probe().info("server")["uptime_in_seconds"].parse().unwrap())
}

#[tokio::test]
async fn a_restarted_node_does_not_vote_while_an_older_one_can_be_reached() {
    let servers = Servers::start(3);
    let grown = LONGEST + LONGEST / 4 + Duration::from_secs(2);
    eventually_async("all servers are old", async || servers.iter().all(|server| uptime(server) >= grown)).await;
    let locks = careful(servers.urls()).build().unwrap();
    locks.lock("x").acquire().await.unwrap().release().await.unwrap();
    none_has_x(&servers).await;

    servers[0].restart();
    servers[1].kill();
    for _ in 0..3 {
        // Also with connections that are made for this attempt.
        // It is asked again for as long as a node may take, and all three times while the node is young.
        let locks = careful(servers.urls()).node_timeout(Duration::from_secs(1)).build().unwrap();
        let error = locks.lock("x").try_acquire().await.unwrap_err();
        assert!(matches!(error, Error::QuorumUnreachable { .. }), "{error}");
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains("restarted"), "{source}");
    }
    let guard = locks.lock("x").timeout(Duration::from_secs(20)).acquire().await.unwrap();
    assert!(uptime(&servers[0]) >= LONGEST);
    guard.release().await.unwrap();
}

#[tokio::test]
async fn a_fleet_that_was_just_started_votes_at_once() {
    let servers = Servers::start(3);
    let guard = manager(&servers).lock("x").try_acquire().await.unwrap().expect("it is free");
    guard.release().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_fleet_whose_nodes_were_not_started_at_once_never_stands_still() {
    let names = ["skew-1", "skew-2", "skew-3"];
    let longest = Duration::from_secs(60);
    let urls = names.map(|name| format!("memory://{name}"));
    let locks = LockManager::builder().nodes(urls).longest_ttl(longest).build().unwrap();
    for name in names {
        MemoryNode::named(name).restart_empty();
        tokio::time::sleep(longest / 10).await;
    }
    for second in 0..longest.as_secs() * 2 {
        let acquired = locks.lock("x").try_acquire().await;
        acquired.unwrap_or_else(|error| panic!("after {second} s: {error}")).expect("free").release().await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

#[tokio::test]
async fn a_node_that_hangs_from_the_first_connection_on_keeps_a_young_fleet_no_longer_than_a_reply_may_take() {
    let servers = Servers::start(3);
    servers[1].hang();
    let patient = Duration::from_secs(16);
    let builder = LockManager::builder().nodes(servers.urls());
    let locks = builder.node_timeout(Duration::from_secs(2)).connect_timeout(patient).build().unwrap();
    let (acquired, took) = timed(locks.lock("x").try_acquire()).await;
    acquired.unwrap().expect("it is free").release().await.unwrap();
    assert!(took < patient / 2, "{took:?}");
    servers[1].resume();
}

#[tokio::test]
async fn young_nodes_win_nothing_for_somebody_who_has_no_time_to_look_for_older_ones() {
    let servers = Servers::start(3);
    servers[2].hang();
    let patient = Duration::from_secs(8);
    let builder = LockManager::builder().nodes(servers.urls());
    let locks = builder.node_timeout(patient).connect_timeout(patient).build().unwrap();
    let error = locks.lock("x").timeout(Duration::from_secs(2)).acquire().await.unwrap_err();
    let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
    assert!(source.contains("no time to look for older nodes"), "{error}: {source}");
    servers[2].resume();
    eventually_async("nothing is left", async || {
        servers.iter().all(|server| server.probe().keys_like("redlock:*").is_empty())
    })
    .await;
}

#[tokio::test]
async fn nodes_restarted_one_after_the_other_never_give_a_held_lock_away() {
    let nodes = ["restarts-1", "restarts-2", "restarts-3"];
    let urls = nodes.map(|name| format!("memory://{name}"));
    let [locks, others] = [(); 2].map(|()| careful(urls.to_vec()).build().unwrap());
    let nodes = nodes.map(MemoryNode::named);
    nodes[2].go_down();
    let guard = locks.lock("x").renew(false).acquire().await.unwrap();
    nodes[2].recover();
    nodes[1].restart_empty();
    // Two of three have no key now; only one of them may say so.
    let acquired = others.lock("x").try_acquire().await;
    assert!(!matches!(acquired, Ok(Some(_))), "{acquired:?}");
    assert!(guard.is_valid());
}

#[tokio::test]
async fn one_server_under_two_names_is_refused_with_both() {
    let servers = Servers::start(2);
    let twin = format!("redis://localhost:{}", servers[0].port());
    for urls in [vec![servers[0].url(), twin.clone()], vec![servers[0].url(), servers[1].url(), twin.clone()]] {
        let locks = unhurried().nodes(urls).build().unwrap();
        let error = locks.lock("x").try_acquire().await.unwrap_err();
        let Error::Config { reason } = &error else { panic!("{error}") };
        assert!(reason.contains(&twin) && reason.contains(&servers[0].url()), "{reason}");
        none_has_x(&servers).await;
    }
}

#[tokio::test]
async fn a_replica_does_not_vote_even_if_it_can_be_written_to() {
    let servers = Servers::start(3);
    let replica = servers[2].probe();
    replica.config_set("replica-read-only", "no");
    replica.replica_of(servers[0].port());
    servers[1].kill();
    let error = manager(&servers).lock("x").try_acquire().await.unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("is a replica") && source.contains(&servers[2].url()), "{source}");
}

#[tokio::test]
async fn a_ttl_beyond_the_longest_is_refused_with_the_cure() {
    let server = RedisServer::start();
    // On one node too, or it would be found out in production, where there are three.
    for nodes in [vec!["memory://".to_owned(); 3], vec!["memory://".to_owned()], vec![server.url()]] {
        let locks = careful(nodes.clone()).build().unwrap();
        let error = locks.lock("x").ttl(LONGEST * 2).acquire().await.unwrap_err();
        assert!(
            matches!(&error, Error::Config { reason } if reason.contains("`longest_ttl` of the builder")),
            "{error}"
        );
        let guard = locks.lock("x").acquire().await.unwrap();
        let error = guard.extend(LONGEST * 2).await.unwrap_err();
        assert!(matches!(&error, Error::Config { reason } if reason.contains("longest_ttl")), "{error}");
        guard.release().await.unwrap();
        let error = LockManager::builder().nodes(nodes).ttl(Duration::from_secs(301)).build().unwrap_err();
        assert!(matches!(&error, Error::Config { reason } if reason.contains("longest_ttl")), "{error}");
    }
}

#[tokio::test]
async fn a_min_hold_beyond_the_longest_ttl_keeps_the_key_but_is_no_validity() {
    let servers = Servers::start(3);
    let locks = careful(servers.urls()).build().unwrap();
    let least = LONGEST * 100;
    let guard = locks.lock("x").renew(false).min_hold(least).acquire().await.unwrap();
    assert!(guard.remaining() <= LONGEST, "a node that restarts now votes after that time: {:?}", guard.remaining());
    for server in &servers {
        eventually_async("it is kept on all", async || server.probe().exists(&key("x"))).await;
        assert!(server.probe().pttl(&key("x")).remaining().unwrap() > LONGEST * 50);
    }
    guard.release().await.unwrap();
    assert!(locks.lock("x").try_acquire().await.unwrap().is_none());

    // Renewed, it is held for as long as any.
    let guard = locks.lock("y").min_hold(least).acquire().await.unwrap();
    let began = now();
    eventually_async("it outlives what was granted at first", async || now() - began > LONGEST * 3 / 2).await;
    assert!(guard.is_valid());
    guard.release().await.unwrap();
}
