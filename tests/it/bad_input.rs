//! Bad input gets an error that names the thing and the cure, and never a password.

use std::time::Duration;

use redlock_runtime::{Error, LockManager};
use redlock_tests::RedisServer;

use crate::common::unhurried;

async fn check_name(name: &str, expect: &str) {
    let locks = LockManager::builder().nodes(["memory://"]).build().unwrap();
    let error = locks.lock(name).acquire().await.unwrap_err();
    assert!(matches!(error, Error::InvalidName { .. }), "{error}");
    assert!(error.to_string().contains(expect), "{error}");
}

#[tokio::test]
async fn names_that_cannot_be_used_are_refused() {
    check_name("", "it is empty").await;
    check_name("nightly\nreport", "control character '\\n'").await;
    check_name(&"x".repeat(513), "513 bytes").await;
}

#[tokio::test]
async fn a_ttl_that_leaves_no_validity_is_refused() {
    let locks = LockManager::builder().nodes(["memory://"]).build().unwrap();
    for ttl in [Duration::ZERO, Duration::from_millis(2), Duration::MAX] {
        let error = locks.lock("x").ttl(ttl).acquire().await.unwrap_err();
        assert!(matches!(&error, Error::Config { reason } if reason.contains("ttl")), "{error}");
    }
}

#[tokio::test]
async fn a_refused_connection_says_which_node_refused_it() {
    let server = RedisServer::start();
    server.kill();
    let locks = LockManager::builder().nodes([server.url()]).build().unwrap();
    let error = locks.lock("x").try_acquire().await.unwrap_err();
    let Error::QuorumUnreachable { source, .. } = &error else { panic!("{error}") };
    let said = source.to_string();
    assert!(said.contains(&server.port().to_string()) && said.contains("refused"), "{said}");
}

#[tokio::test]
async fn a_wrong_password_is_told_without_printing_it() {
    let server = RedisServer::start_with(&["--requirepass", "right"]);
    for (user, expect) in [(":s3cret@", "WRONGPASS"), ("", "NOAUTH")] {
        let url = format!("redis://{user}127.0.0.1:{}", server.port());
        let locks = unhurried().nodes([url]).build().unwrap();
        let error = locks.lock("x").try_acquire().await.unwrap_err();
        let said = format!("{error} {error:?} {}", std::error::Error::source(&error).unwrap());
        assert!(said.contains(expect), "{said}");
        assert!(!said.contains("s3cret"), "{said}");
        assert!(!format!("{locks:?}").contains("s3cret"));
    }
}

#[tokio::test]
async fn nothing_is_acquired_after_the_shutdown() {
    let locks = LockManager::builder().nodes(["memory://"]).build().unwrap();
    locks.shutdown().await;
    assert!(matches!(locks.lock("x").try_acquire().await, Err(Error::ShutDown)));
}
