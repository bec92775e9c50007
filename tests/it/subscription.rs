//! Waiters are woken where the server does not track keys for its clients: it may not be asked to, or does not know how.

use std::time::Duration;

use redis::cmd;
use redlock_runtime::{Error, LockGuard, LockManager};
use redlock_tests::proxy::Flow;
use redlock_tests::wait::{LIMIT, eventually_async};
use redlock_tests::{Cluster, Proxy, RedisServer, Sentinel, Setup};
use tokio::task::JoinHandle;

use crate::common::counters::counter;
use crate::common::waiters::{in_line_for, promptly};
use crate::common::{RARE_POLL, unhurried};

const KEY: &str = "redlock:ConfigurableLock.x";

/// A server of a time before there was tracking.
fn old_server() -> (RedisServer, String) {
    let server = RedisServer::start_with(&["--rename-command", "HELLO", ""]);
    let url = server.url();
    (server, url)
}

/// A server with a user who may do everything but this.
fn server_without(command: &str) -> (RedisServer, String) {
    let server = RedisServer::start();
    let mut rule = cmd("ACL");
    rule.arg("SETUSER").arg("app").arg(&["on", ">pass", "~*", "&*", "+@all", &format!("-{command}")]);
    server.probe().run::<()>(&rule).unwrap();
    let url = format!("redis://app:pass@127.0.0.1:{}", server.port());
    (server, url)
}

fn manager(url: &str) -> LockManager {
    unhurried().nodes([url]).slow_poll(RARE_POLL).build().unwrap()
}

async fn until_subscribed(server: &RedisServer) {
    eventually_async("the waiter has subscribed", async || {
        server.probe().client_list().iter().any(|client| client.contains(" sub=2 "))
    })
    .await;
}

/// Frees the lock, and checks that the waiter has it soon.
async fn check_woken(what: &str, frees: impl Future<Output = ()>, waiting: JoinHandle<Result<LockGuard, Error>>) {
    frees.await;
    promptly(what, waiting).await.release().await.unwrap();
}

#[tokio::test]
async fn a_release_wakes_a_waiter_without_tracking() {
    for (server, url) in [server_without("client|tracking"), old_server()] {
        let (holder, waiter) = (manager(&url), manager(&url));
        let guard = holder.lock("x").acquire().await.unwrap();
        let waiting = tokio::spawn(waiter.lock("x").acquire());
        until_subscribed(&server).await;
        check_woken(&url, async { guard.release().await.unwrap() }, waiting).await;
    }
}

#[tokio::test]
async fn a_deletion_wakes_a_waiter_without_tracking_where_the_server_tells_of_it() {
    let (server, url) = server_without("client|tracking");
    server.probe().config_set("notify-keyspace-events", "Kg");
    server.probe().set_for(KEY, "somebody", Duration::from_secs(30));
    let waiting = tokio::spawn(manager(&url).lock("x").acquire());
    until_subscribed(&server).await;
    check_woken("deleted", async { assert!(server.probe().del(KEY)) }, waiting).await;
}

#[tokio::test]
async fn a_subscription_that_was_cut_is_made_again() {
    let (server, url) = server_without("client|tracking");
    let (holder, waiter) = (manager(&url), manager(&url));
    let guard = holder.lock("x").acquire().await.unwrap();
    let waiting = tokio::spawn(waiter.lock("x").acquire());
    until_subscribed(&server).await;
    server.probe().run::<()>(cmd("CLIENT").arg(&["KILL", "TYPE", "pubsub"])).unwrap();
    until_subscribed(&server).await;
    check_woken("cut", async { guard.release().await.unwrap() }, waiting).await;
}

#[tokio::test]
async fn a_subscription_that_falls_silent_keeps_nobody_from_the_lock() {
    let (server, _) = server_without("client|tracking");
    let proxy = Proxy::start(&server);
    let url = format!("redis://app:pass@127.0.0.1:{}", proxy.port());
    let locks = LockManager::builder().nodes([url]).build().unwrap();
    server.probe().set_for(KEY, "somebody", Duration::from_secs(60));
    let asked = || server.probe().command_counts().of("set");
    let before = asked();
    let first = tokio::spawn(locks.lock("x").acquire());
    until_subscribed(&server).await;
    // A connection that is made from here on would have the waiter ask, and subscribe, at once. When the first one has asked again,
    // it knows that it has subscribed, and who is counted or shows up as a holder has a connection for that, too.
    eventually_async("it asks again", async || asked() >= before + 2).await;
    let is_counted = async |name: &str| server.probe().get(&counter(name)).as_deref() == Some("1");
    eventually_async("it is counted", async || is_counted("x").await).await;
    first.abort();

    let guard = locks.lock("y").acquire().await.unwrap();
    let is_noted = || !server.probe().keys_like("redlock-holder:*").is_empty();
    eventually_async("its owner is noted", async || is_noted()).await;
    // Behind a holder of this process nobody subscribes before the first slow poll, one second later.
    let waiting = tokio::spawn(in_line_for(&locks, "y"));
    eventually_async("it is counted", async || is_counted("y").await).await;
    // What is lost now never arrives, and the subscription's connection stays open.
    proxy.set_both(Flow::Swallow);
    tokio::time::sleep(Duration::from_secs(2)).await;
    proxy.set_both(Flow::Forward);
    let y = "redlock:ConfigurableLock.y";
    server.probe().set_for(y, "somebody", Duration::from_secs(60));
    let before = asked();
    drop(guard);
    eventually_async("the waiter was refused", async || asked() > before).await;
    server.probe().del(y);
    let got = tokio::time::timeout(LIMIT, waiting).await;
    drop(got.expect("the lock is free, and its node answers").unwrap().unwrap());
    // It gives a busy machine little time to confirm.
    eventually_async("it is released, too", async || !server.probe().exists(y)).await;
}

/// Servers that do not track keys: one user may not have them do it, and the others speak an older protocol.
fn without_tracking() -> [Setup; 2] {
    let forbidden = Setup::new().with_user("app", "pass", "~* &* +@all -client|tracking");
    [forbidden, Setup::new().with_arguments(&["--rename-command", "HELLO", ""])]
}

#[tokio::test]
async fn a_release_wakes_a_waiter_without_tracking_on_a_service_also_behind_a_failover() {
    for setup in without_tracking() {
        let service = Sentinel::start_as(&setup, &Setup::new());
        let (holder, waiter) = (manager(&service.url()), manager(&service.url()));
        for _ in 0..2 {
            let guard = holder.lock("x").timeout(Duration::from_secs(20)).acquire().await.unwrap();
            let waiting = tokio::spawn(waiter.lock("x").acquire());
            until_subscribed(service.master()).await;
            check_woken("released", async { guard.release().await.unwrap() }, waiting).await;
            service.force_failover();
        }
    }
}

#[tokio::test]
async fn a_release_wakes_a_waiter_without_tracking_on_a_cluster_also_where_its_slot_moved_to() {
    for setup in without_tracking() {
        let cluster = Cluster::start_as(&setup);
        let (holder, waiter) = (manager(&cluster.url()), manager(&cluster.url()));
        let slot = cluster.slot_of(KEY);
        for _ in 0..2 {
            let guard = holder.lock("x").timeout(Duration::from_secs(20)).acquire().await.unwrap();
            let waiting = tokio::spawn(waiter.lock("x").acquire());
            let owner = cluster.owner(slot);
            until_subscribed(owner).await;
            check_woken("released", async { guard.release().await.unwrap() }, waiting).await;
            let to = cluster.masters().into_iter().find(|master| master.port() != owner.port()).unwrap();
            cluster.migrate(slot, to).finish();
        }
    }
}
