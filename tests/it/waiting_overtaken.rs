//! Whoever stands in line and does not come when it is his turn is overtaken.

use std::time::Duration;

use redlock_runtime::LockManager;
use redlock_tests::Servers;
use tokio::runtime::Builder;

use crate::common::waiters::{How, LONG, eventually_had, fill, somebody_holds, starts_to_wait};
use crate::common::waiters::{in_line, poll_once, release_by_hand, spawn_in_line};

/// With the slow poll, which finds what nobody heard of who was told.
fn manager(servers: &Servers) -> LockManager {
    LockManager::builder().nodes(servers.urls()).build().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_called_and_does_not_come_is_overtaken() {
    let servers = Servers::start(3);
    let (locks, others) = (manager(&servers), manager(&servers));
    for holds in [&locks, &others] {
        let guard = holds.lock("x").ttl(LONG).acquire().await.unwrap();
        let mut neglected = in_line(&locks);
        // Until it has asked, and waits.
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(2)).await;
            assert!(poll_once(&mut neglected).is_none());
        }
        let next = spawn_in_line(&locks);
        guard.release().await.unwrap();
        let next = eventually_had("it overtakes", next).await;
        // It stands in line all the same.
        let neglected = tokio::spawn(neglected);
        tokio::time::sleep(Duration::from_millis(20)).await;
        next.release().await.unwrap();
        eventually_had("it comes after all", neglected).await.release().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_does_not_come_when_the_key_expires_is_overtaken() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    // The servers do not tell in time that a key has expired.
    servers.iter().for_each(|server| fill(&server.probe()));
    somebody_holds(&servers, Duration::from_millis(800));
    let mut neglected = in_line(&locks);
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(2)).await;
        assert!(poll_once(&mut neglected).is_none());
    }
    eventually_had("it overtakes", spawn_in_line(&locks)).await.release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_left_alone_in_the_middle_of_asking_is_overtaken() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    locks.lock("x").acquire().await.unwrap().release().await.unwrap();
    somebody_holds(&servers, LONG);
    let neglected = in_line(&locks);
    let next = spawn_in_line(&locks);
    // Its command is on its way; only it does not look at the answer.
    tokio::time::sleep(Duration::from_millis(20)).await;
    release_by_hand(&servers);
    let next = eventually_had("it overtakes", next).await;
    let neglected = tokio::spawn(neglected);
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(next.is_valid() && !neglected.is_finished());
    next.release().await.unwrap();
    eventually_had("it comes after all", neglected).await.release().await.unwrap();
}

#[test]
fn whoever_stands_on_a_runtime_that_nobody_drives_is_overtaken() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    let others = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let still = Builder::new_current_thread().enable_all().build().unwrap();
    somebody_holds(&servers, LONG);
    let neglected = still.block_on(starts_to_wait(&servers, &locks, How::InATask));
    others.block_on(async {
        let next = spawn_in_line(&locks);
        release_by_hand(&servers);
        // Nobody is told, so it takes a poll.
        eventually_had("it overtakes", next).await.release().await.unwrap();
    });
    let guard = still.block_on(neglected).unwrap().unwrap();
    still.block_on(guard.release()).unwrap();
}

#[tokio::test]
async fn a_thread_that_blocks_its_runtime_overtakes_those_who_stand_on_it() {
    let servers = Servers::start(1);
    let locks = manager(&servers);
    somebody_holds(&servers, LONG);
    let first = starts_to_wait(&servers, &locks, How::InATask).await;
    release_by_hand(&servers);
    // The first in line is called, and has no thread to come on.
    let guard = locks.lock("x").timeout(Duration::from_secs(25)).acquire_blocking().unwrap();
    assert!(!first.is_finished());
    guard.release_blocking().unwrap();
    eventually_had("the first", first).await.release().await.unwrap();
}
