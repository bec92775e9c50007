//! Settings: from the environment, from what people have, and the words for those that cannot be.

use std::process::Command;
use std::time::Duration;

use redis::Client;
use redis::aio::ConnectionManager;
use redlock_runtime::{Error, LockManager, Timeout};
use redlock_tests::{Program, RedisServer, Servers};

use crate::common::waiters::UNHURRIED;
use crate::common::{key, none_has_x, unhurried};

/// The example of the documentation.
#[allow(unreachable_pub, reason = "it is as its readers have it")]
#[path = "../../redlock-runtime/doc/connection_manager_node.rs"]
mod connection_manager_node;

use self::connection_manager_node::Managed;

/// What a program says whose nodes come from the environment.
fn said_with(nodes: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_holder")).arg("name=x").env("REDLOCK_NODES", nodes).output().unwrap();
    assert!(!output.status.success(), "{nodes}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn nodes_in_the_environment_that_cannot_be_read_are_told_with_their_place_and_their_cure() {
    for (nodes, place, expect) in [
        ("redis://a,redis://u:secret@b:99999", "node 2 in REDLOCK_NODES", "above 65535"),
        ("redis://u:secret@a/abc", "node 1 in REDLOCK_NODES", "the database in its path is not a number"),
        ("redis://u:secret@a redis://b", "node 1 in REDLOCK_NODES", "two URLs"),
        ("redis://u:secret@a;redis://b", "node 1 in REDLOCK_NODES", "two URLs"),
        ("redis://a?db=x", "node 1 in REDLOCK_NODES", "db"),
        ("memory://a?b=c", "node 1 in REDLOCK_NODES", "`b`"),
        (" , ", "REDLOCK_NODES is set but names no node", ""),
    ] {
        let said = said_with(nodes);
        assert!(said.contains(place) && said.contains(expect), "{nodes}: {said}");
        assert!(!said.contains("secret"), "{said}");
    }
}

#[test]
fn a_variable_that_is_set_to_nothing_is_told_by_its_name() {
    for variable in
        ["USERNAME", "PASSWORD", "SENTINEL_USERNAME", "SENTINEL_PASSWORD", "TLS_ROOTS", "TLS_KEY", "LOCK_PREFIX"]
    {
        let variable = format!("REDLOCK_{variable}");
        let mut holder = Command::new(env!("CARGO_BIN_EXE_holder"));
        let output =
            holder.arg("name=x").env("REDLOCK_NODES", "redis://127.0.0.1:1").env(&variable, "").output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(&format!("{variable} is set but empty")), "{said}");
    }
}

#[test]
fn what_a_fleet_shares_may_stand_in_the_environment_and_what_cannot_be_read_there_is_told_with_its_cure() {
    let server = RedisServer::start();
    let holder = |variable: &str, value: &str, arguments: &[&str]| {
        let mut holder = Command::new(env!("CARGO_BIN_EXE_holder"));
        holder
            .args(["name=x", UNHURRIED])
            .args(arguments)
            .env("REDLOCK_NODES", server.url())
            .env(format!("REDLOCK_{variable}"), value);
        holder
    };
    let own = unhurried().nodes([server.url()]).lock_prefix("shop:").build().unwrap();
    let guard = own.lock("x").acquire_blocking().unwrap();
    let kept_out = holder("LOCK_PREFIX", "shop:", &["timeout=-1"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&kept_out.stdout), "skipped\n", "{kept_out:?}");
    guard.release_blocking().unwrap();
    let day = "ttl_ms=86400000";
    let refused = holder("MARKS_RETENTION", "8d", &[day]).output().unwrap();
    assert!(String::from_utf8_lossy(&refused.stdout).contains("REDLOCK_LONGEST_TTL"), "{refused:?}");
    let holds = Program::start(&mut holder("LONGEST_TTL", "2d", &[day]));
    assert_eq!(holds.line(), "acquired");
    assert!(server.probe().pttl(&key("x")).remaining().is_some_and(|left| left > Duration::from_secs(80_000)));
    drop(holds);
    assert!(server.probe().del(&key("x")));
    for (variable, value, expect) in [
        ("NODE_TIMEOUT", "soon", "write one such as 250ms"),
        ("LONGEST_TTL", "soon", "write one such as 250ms"),
        ("LONGEST_TTL", "366d", "impossible"),
        ("MARKS_RETENTION", "1d", "marks"),
        (
            "MAX_CLOCK_SKEW",
            "\u{1b}[2J",
            "`\\u{1b}[2J`, which is no length of time; write one such as 250ms, 10m or 32d or `none`",
        ),
        ("WAIT_REPLICAS", "1", "1/100ms"),
        ("WAIT_REPLICAS", "1/soon", "behind the slash"),
    ] {
        let output = holder(variable, value, &[]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(expect), "{variable}={value}: {said}");
    }
    let holds = Program::start(&mut holder("WAITING_LIST", "shop:waiting", &["timeout=-1"]));
    assert_eq!(holds.line(), "acquired");
}

#[tokio::test]
async fn the_environment_is_where_a_program_may_begin() {
    let locks =
        LockManager::builder_from_env().unwrap().nodes(["memory://"]).ttl(Duration::from_secs(7)).build().unwrap();
    let guard = locks.lock("x").acquire().await.unwrap();
    assert!(guard.remaining() <= Duration::from_secs(7));
    // Nodes that are given by hand stand nowhere else.
    let error = LockManager::builder_from_env().unwrap().nodes(["redis://h:0"]).build().unwrap_err().to_string();
    assert!(error.starts_with("node 1: "), "{error}");
}

/// A program's own setting.
struct Patience(u64);

impl From<Patience> for Timeout {
    fn from(Patience(seconds): Patience) -> Self {
        Self::After(Duration::from_secs(seconds))
    }
}

#[tokio::test]
async fn whatever_becomes_a_timeout_is_one() {
    let locks = LockManager::builder().nodes(["memory://"]).build().unwrap();
    for request in [
        locks.lock("x").timeout(Timeout::Forever),
        locks.lock("x").timeout(Duration::from_secs(5)),
        locks.lock("x").timeout(Patience(5)),
    ] {
        request.acquire().await.unwrap().release().await.unwrap();
    }
}

#[tokio::test]
async fn whoever_makes_one_attempt_is_told_that_it_did_not_wait() {
    let server = RedisServer::start();
    let locks = LockManager::builder().nodes([server.url()]).build().unwrap();
    let _held = locks.lock("x").acquire().await.unwrap();
    for one_attempt in [Timeout::Skip, Timeout::After(Duration::ZERO)] {
        let error = locks.lock("x").timeout(one_attempt).acquire().await.unwrap_err();
        assert!(matches!(error, Error::NotAcquired { waited: Duration::ZERO, .. }), "{error:?}");
        let said = error.to_string();
        assert!(said.contains("without waiting") && !said.contains("within"), "{said}");
    }
    let said = locks.lock("x").timeout(Duration::from_secs(1)).acquire().await.unwrap_err().to_string();
    assert!(said.contains("within") && !said.contains("without"), "{said}");
}

#[tokio::test]
async fn a_connection_manager_is_a_node() {
    let servers = Servers::start(3);
    let mut builder = LockManager::builder().fencing(false);
    for server in &servers {
        let connection = ConnectionManager::new(Client::open(server.url()).unwrap()).await.unwrap();
        builder = builder.node(Managed { label: server.url(), connection });
    }
    let locks = builder.build().unwrap();
    let others = unhurried().nodes(servers.urls()).build().unwrap();

    let guard = locks.lock("x").acquire().await.unwrap();
    assert!(others.lock("x").try_acquire().await.unwrap().is_none());
    assert!(locks.lock("x").try_acquire().await.unwrap().is_none());
    guard.extend(Duration::from_secs(60)).await.unwrap();
    guard.release().await.unwrap();
    none_has_x(&servers).await;

    locks.lock("x").min_hold(Duration::from_secs(20)).acquire().await.unwrap().release().await.unwrap();
    assert!(others.lock("x").try_acquire().await.unwrap().is_none(), "it is kept");

    let guard = others.lock("y").acquire().await.unwrap();
    assert!(locks.lock("y").try_acquire().await.unwrap().is_none());
    guard.release().await.unwrap();
    locks.lock("y").timeout(Duration::from_secs(20)).acquire().await.unwrap().release().await.unwrap();
}
