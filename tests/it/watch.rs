//! Locks that are watched as they change, and taken from the owner who was seen.

use std::time::Duration;

use redlock_runtime::{Error, LockManager, LockState, LostReason};
use redlock_tests::Servers;
use redlock_tests::clock::now;
use redlock_tests::wait::eventually_async;

use crate::common::manager;

/// Waits until the watch has told that the lock is in this state.
async fn until(watch: &mut redlock_runtime::LockWatch, state: LockState) {
    while watch.next().await.unwrap().state != state {}
}

/// Thirty changes, each of which is awaited. Somebody who only looked once a second would need half a minute.
async fn check_pushed(watching: &LockManager, locks: &LockManager) {
    let mut watch = watching.watch("x");
    until(&mut watch, LockState::Free).await;
    let began = now();
    for _ in 0..15 {
        let guard = locks.lock("x").acquire().await.unwrap();
        until(&mut watch, LockState::Held).await;
        guard.release().await.unwrap();
        until(&mut watch, LockState::Free).await;
    }
    assert!(began.elapsed() < Duration::from_secs(15), "changes are not pushed: {:?}", began.elapsed());
}

#[tokio::test]
async fn changes_are_pushed_to_those_who_look_on() {
    let servers = Servers::start(3);
    check_pushed(&manager(&servers), &manager(&servers)).await;
    let in_memory = || {
        LockManager::builder()
            .nodes(["memory://watched-a", "memory://watched-b", "memory://watched-c"])
            .build()
            .unwrap()
    };
    check_pushed(&in_memory(), &in_memory()).await;
}

#[tokio::test]
async fn an_expiry_is_told_and_so_are_permits() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    let mut watch = locks.watch("x");
    assert_eq!(watch.next().await.unwrap().state, LockState::Free);
    let token = locks.lock("x").ttl(Duration::from_secs(3)).acquire().await.unwrap().detach();
    until(&mut watch, LockState::Held).await;
    until(&mut watch, LockState::Free).await;
    drop(token);
    let _permit = locks.lock("x").permits(2).acquire().await.unwrap();
    while !watch.next().await.unwrap().permits.iter().any(|permit| permit.state == LockState::Held) {}
}

#[tokio::test]
async fn nodes_that_cannot_tell_are_told_once_and_the_watch_goes_on() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    let mut watch = locks.watch("x");
    assert_eq!(watch.next().await.unwrap().state, LockState::Free);
    servers[0].kill();
    servers[1].kill();
    let error = watch.next().await.unwrap_err();
    assert!(matches!(error, Error::QuorumUnreachable { .. }), "{error}");
    servers[0].restart();
    assert_eq!(watch.next().await.unwrap().state, LockState::Free);
}

#[tokio::test]
async fn all_locks_are_told_as_they_come_change_and_go() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    let before = locks.lock("before").acquire().await.unwrap();
    let mut watch = locks.watch_all();
    let mut until = async |name: &str, state: LockState| loop {
        let info = watch.next().await.unwrap();
        if info.name == name && info.state == state {
            return;
        }
    };
    until("before", LockState::Held).await;
    let after = locks.lock("after").acquire().await.unwrap();
    until("after", LockState::Held).await;
    before.release().await.unwrap();
    until("before", LockState::Free).await;
    after.release().await.unwrap();
    until("after", LockState::Free).await;
}

#[tokio::test]
async fn a_lock_is_taken_from_the_owner_who_was_seen_and_from_nobody_else() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    let first = locks.lock("x").owner_label("first").acquire().await.unwrap();
    eventually_async("it is labelled", async || locks.inspect("x").await.unwrap().owner_label.is_some()).await;
    let token = first.fencing_token().to_string();
    for other in ["", "second", "0"] {
        let error = locks.reset_if_owner("x", other).await.unwrap_err();
        assert!(matches!(error, Error::NotHeld { .. }), "{error}");
        assert!(first.is_valid());
    }
    locks.reset_if_owner("x", token.as_str()).await.unwrap();
    assert!(matches!(first.lost().await, Error::Lost { reason: LostReason::Reset, .. }));
    let second = locks.lock("x").owner_label("second").acquire().await.unwrap();
    eventually_async("it is labelled", async || locks.inspect("x").await.unwrap().owner_label.is_some()).await;
    let error = locks.reset_if_owner("x", token).await.unwrap_err();
    assert!(matches!(error, Error::NotHeld { .. }), "whoever acquired it since keeps it: {error}");
    assert!(second.is_valid());
    locks.reset_if_owner("x", "second").await.unwrap();
    assert!(!second.is_valid());
    let error = locks.reset_if_owner("x", "second").await.unwrap_err();
    assert!(matches!(error, Error::NotHeld { .. }), "{error}");
    servers[0].kill();
    servers[1].kill();
    let error = locks.reset_if_owner("x", "second").await.unwrap_err();
    assert!(matches!(error, Error::QuorumUnreachable { .. }), "{error}");
}

/// Thirty locks of which nobody has heard before. Somebody who only listed names once a second would need half a minute.
#[tokio::test]
async fn locks_that_are_new_are_pushed_too_whatever_their_kind() {
    let servers = Servers::start(3);
    let (locks, watching) = (manager(&servers), manager(&servers));
    let (mut changes, mut watch) = (watching.changes(), watching.watch_all());
    let before = locks.lock("before").acquire().await.unwrap();
    while watch.next().await.unwrap().name != "before" {}
    // From when it reports on.
    let reports = async {
        loop {
            let _ = locks.lock("tried").acquire().await.unwrap().release().await;
            if tokio::time::timeout(Duration::from_millis(50), changes.next()).await.is_ok() {
                return;
            }
        }
    };
    reports.await;
    let began = now();
    for number in 0..30 {
        let name = format!("job:{number} {{x}}");
        let guard = match number % 4 {
            0 => locks.lock(&*name).permits(2).acquire().await.unwrap(),
            1 => locks.read(&*name).acquire().await.unwrap(),
            2 => locks.write(&*name).acquire().await.unwrap(),
            _ => locks.lock(&*name).acquire().await.unwrap(),
        };
        while !changes.next().await.unwrap().contains(&name) {}
        while watch.next().await.unwrap().name != name {}
        guard.release().await.unwrap();
    }
    assert!(began.elapsed() < Duration::from_secs(15), "new locks are not pushed: {:?}", began.elapsed());
    // A connection that is cut is made anew.
    for server in &servers {
        server
            .probe()
            .run::<i64>(redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg("normal").arg("SKIPME").arg("yes"))
            .unwrap();
    }
    loop {
        let _ = locks.lock("again").acquire().await.unwrap().release().await;
        let told = tokio::time::timeout(Duration::from_millis(50), changes.next()).await;
        if told.is_ok_and(|told| told.unwrap().contains(&"again".to_owned())) {
            break;
        }
    }
    drop(before);
}

#[tokio::test]
async fn who_reads_and_writes_is_told_as_it_changes() {
    let servers = Servers::start(3);
    let (locks, watching) = (manager(&servers), manager(&servers));
    let mut watch = watching.watch("x");
    assert!(watch.next().await.unwrap().shared.is_none());
    let reader = locks.read("x").acquire().await.unwrap();
    while watch.next().await.unwrap().shared.is_none_or(|shared| shared.readers != 1) {}
    reader.release().await.unwrap();
    while watch.next().await.unwrap().shared.is_some_and(|shared| shared.readers > 0) {}
    let writer = locks.write("x").acquire().await.unwrap();
    while watch.next().await.unwrap().shared.is_none_or(|shared| shared.writer != LockState::Held) {}
    writer.release().await.unwrap();
    while watch.next().await.unwrap().shared.is_some_and(|shared| shared.writer != LockState::Free) {}
}
