//! Servers that close connections: those that nobody uses, and those that are too many.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use redlock_runtime::{LockManager, Timeout};
use redlock_tests::clock::{now, timed};
use redlock_tests::wait::{LIMIT, eventually_async};
use redlock_tests::{Proxy, RedisServer, Servers};
use tracing::Level;

use crate::common::events::{Events, NO_BUSY_MACHINE, node_at};
use crate::common::{RARE_POLL, unhurried};

/// Has the servers hang up on clients that say nothing for three seconds, and locks after that.
async fn check_idle(nodes: usize, parameters: &str) {
    let events = Events::from_now();
    // Long enough that what was read late on a busy machine has been idle for a while, too.
    let servers = Servers::start_with(nodes, &["--timeout", "3"]);
    let proxies: Vec<_> = servers.iter().map(Proxy::start).collect();
    let (urls, names): (Vec<_>, Vec<_>) = proxies.iter().map(|proxy| node_at(proxy.port())).unzip();
    let urls = urls.into_iter().map(|url| url + parameters);
    let locks = unhurried().nodes(urls).node_timeout(NO_BUSY_MACHINE).build().unwrap();
    for times in 1..=2 {
        locks.lock("x").timeout(Timeout::Skip).acquire().await.unwrap().release().await.unwrap();
        let closed = |node: &String| events.count(Level::DEBUG, &[node, "was idle, and was closed"]) >= times;
        eventually_async("all connections are closed", async || names.iter().all(closed)).await;
        let is_alone = async || proxies.iter().all(|proxy| proxy.open() == 0);
        eventually_async("nothing is connected", is_alone).await;
        for (proxy, node) in proxies.iter().zip(&names) {
            // One of the background too, where a release followed an acquire that was late.
            assert!(proxy.accepted() <= 2 * times, "nobody wants another connection");
            let told = [Level::WARN, Level::INFO].map(|level| events.find(level, &[node]));
            assert_eq!(told, [const { Vec::<String>::new() }; 2], "nothing is wrong");
        }
    }
    locks.lock("x").timeout(Timeout::Skip).acquire().await.unwrap().release().await.unwrap();
}

#[tokio::test]
async fn an_idle_connection_that_was_closed_is_made_anew_for_the_next_lock_and_not_before() {
    check_idle(1, "").await;
}

#[tokio::test]
async fn so_are_those_of_three_nodes() {
    check_idle(3, "").await;
}

#[tokio::test]
async fn so_is_one_of_the_older_protocol_which_has_no_word_for_the_end() {
    check_idle(1, "?protocol=resp2").await;
}

/// Somebody waits on connections that the servers close again and again, since nothing moves on them.
async fn check_waiter(nodes: usize, parameters: &str) {
    let events = Events::from_now();
    let servers = Servers::start_with(nodes, &["--timeout", "1"]);
    let proxies: Vec<_> = servers.iter().map(Proxy::start).collect();
    let (urls, names): (Vec<_>, Vec<_>) = proxies.iter().map(|proxy| node_at(proxy.port())).unzip();
    let urls: Vec<_> = urls.into_iter().map(|url| url + parameters).collect();
    let builder = unhurried().nodes(urls).node_timeout(NO_BUSY_MACHINE).slow_poll(RARE_POLL);
    let locks = builder.build().unwrap();
    let holder =
        unhurried().nodes(servers.iter().map(|server| node_at(server.port()).0)).slow_poll(RARE_POLL).build().unwrap();
    for _ in 0..2 {
        let guard = holder.lock("x").ttl(Duration::from_secs(60)).acquire().await.unwrap();
        let (locks, before) = (locks.clone(), accepted(&proxies));
        let waiter = tokio::spawn(locks.lock("x").acquire());
        let are_made_anew =
            async || accepted(&proxies).iter().zip(&before).all(|(accepted, before)| *accepted >= before + 3);
        eventually_async("the connections were closed and made anew", are_made_anew).await;
        assert!(!waiter.is_finished());
        // Released also where the server closes the connection just then.
        drop(guard);
        let (next, took) = timed(waiter).await;
        let next = next.unwrap().unwrap();
        assert!(took < RARE_POLL / 2, "{took:?}");
        next.release().await.unwrap();
    }
    for node in &names {
        let closed = events.count(Level::DEBUG, &[node, "was idle, and was closed"]);
        let lost = events.count(Level::WARN, &[node, "connection lost"]);
        // One that was read from too late, on a busy machine, seems to be lost.
        assert!(closed >= 3 && 2 * lost < closed, "{lost} seemed to be lost beside {closed} that were idle");
    }
}

fn accepted(proxies: &[Proxy]) -> Vec<usize> {
    proxies.iter().map(Proxy::accepted).collect()
}

#[tokio::test]
async fn who_waits_on_connections_that_are_closed_when_they_are_idle_is_woken_all_the_same() {
    check_waiter(1, "").await;
}

#[tokio::test]
async fn so_is_who_waits_on_those_of_three_nodes() {
    check_waiter(3, "").await;
}

#[tokio::test]
async fn a_server_that_takes_no_more_clients_is_quoted() {
    let server = RedisServer::start();
    server.probe().config_set("maxclients", "1");
    // The only one.
    let mut only = eventually_connected(&server).await;
    for _ in 0..20 {
        let locks = LockManager::builder().nodes([server.url()]).build().unwrap();
        let error = locks.lock("x").timeout(Timeout::Skip).acquire().await.expect_err("there is no room");
        let told = format!("{error:?}");
        assert!(told.contains("max number of clients reached"), "{told}");
    }
    only.write_all(b"CONFIG SET maxclients 100\r\n").unwrap();
    only.read_exact(&mut [0; 5]).unwrap();
    let locks = LockManager::builder().nodes([server.url()]).build().unwrap();
    locks.lock("x").acquire().await.unwrap().release().await.unwrap();
}

/// A client that is let in once the others are gone.
async fn eventually_connected(server: &RedisServer) -> TcpStream {
    let mut connected = None;
    let is_in = async || {
        let mut client = TcpStream::connect(server.address()).unwrap();
        let mut answer = [0; 5];
        let is_in = client.write_all(b"PING\r\n").and_then(|()| client.read_exact(&mut answer)).is_ok();
        let is_in = is_in && answer == *b"+PONG";
        connected = is_in.then_some(client);
        is_in
    };
    eventually_async("there is room for one", is_in).await;
    let mut client = connected.unwrap();
    client.read_exact(&mut [0; 2]).unwrap();
    client
}

#[tokio::test]
async fn a_connection_that_is_ended_as_soon_as_it_is_made_is_made_less_and_less_often() {
    let server = RedisServer::start();
    let proxy = Proxy::start(&server);
    let locks = LockManager::builder().nodes([proxy.url()]).build().unwrap();
    locks.lock("x").acquire().await.unwrap().release().await.unwrap();
    let before = proxy.accepted();
    let began = now();
    while began.elapsed() < Duration::from_secs(2) {
        proxy.cut();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Every 20 ms it would be a hundred, on each of two connections.
    let made = proxy.accepted() - before;
    assert!(made < 50, "{made}");
    locks.lock("x").timeout(LIMIT).acquire().await.unwrap().release().await.unwrap();
}
