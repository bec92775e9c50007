//! Whoever stands in line and does not come when it is his turn is overtaken.

use std::time::Duration;

use redlock_runtime::LockManager;
use redlock_tests::proxy::{Direction, Flow};
use redlock_tests::wait::eventually_async;
use redlock_tests::{Proxy, Servers};
use tokio::runtime::Builder;

use crate::common::seen::Seen;
use crate::common::waiters::{Acquire, Asked, How, LONG, eventually_had, fill, somebody_holds, starts_to_wait};
use crate::common::waiters::{in_line, poll_once, polled_until, release_by_hand, spawn_in_line};
use crate::common::{none_has_x, unhurried};

/// With the slow poll, which finds what nobody heard of who was told.
fn manager(servers: &Servers) -> LockManager {
    seen_by(&Seen::default(), servers.urls())
}

/// One that tells who waits.
fn seen_by(seen: &Seen, urls: impl IntoIterator<Item = String>) -> LockManager {
    unhurried().nodes(urls).observer(seen.clone()).build().unwrap()
}

/// Polls an acquisition until it waits, as the first one that is told of.
async fn until_it_waits(acquire: &mut Acquire, seen: &Seen) {
    polled_until(acquire, "it waits", || seen.count("wait+ ") == 1).await;
}

/// Polls an acquisition until all nodes have refused what they report the next change behind. What came to them behind a release would be
/// granted, and nobody would overtake somebody who has the lock and does not know.
async fn until_it_is_refused(acquire: &mut Acquire, asked: &Asked<'_>) {
    polled_until(acquire, "all have refused", || asked.all_again()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_called_and_does_not_come_is_overtaken() {
    let servers = Servers::start(3);
    let seen = Seen::default();
    let (locks, others) = (seen_by(&seen, servers.urls()), manager(&servers));
    for is_held_here in [true, false] {
        let holds = if is_held_here { &locks } else { &others };
        let guard = holds.lock("x").ttl(LONG).acquire().await.unwrap();
        seen.take();
        let asked = Asked::so_far(&servers);
        let mut neglected = in_line(&locks);
        until_it_waits(&mut neglected, &seen).await;
        if !is_held_here {
            until_it_is_refused(&mut neglected, &asked).await;
        }
        let next = spawn_in_line(&locks);
        guard.release().await.unwrap();
        let next = eventually_had("it overtakes", next).await;
        // It stands in line all the same.
        assert!(poll_once(&mut neglected).is_none());
        let neglected = tokio::spawn(neglected);
        next.release().await.unwrap();
        eventually_had("it comes after all", neglected).await.release().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_does_not_come_when_the_key_expires_is_overtaken() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    // Made beforehand: nothing else takes as long.
    locks.lock("x").acquire().await.unwrap().release().await.unwrap();
    none_has_x(&servers).await;
    // The servers do not tell in time that a key has expired.
    servers.iter().for_each(|server| fill(&server.probe()));
    let asked = Asked::so_far(&servers);
    somebody_holds(&servers, Duration::from_secs(5));
    let mut neglected = in_line(&locks);
    until_it_is_refused(&mut neglected, &asked).await;
    eventually_had("it overtakes", spawn_in_line(&locks)).await.release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_left_alone_in_the_middle_of_asking_is_overtaken() {
    let servers = Servers::start(3);
    let proxies: Vec<_> = servers.iter().map(Proxy::start).collect();
    let seen = Seen::default();
    let locks = seen_by(&seen, proxies.iter().map(Proxy::url));
    locks.lock("x").acquire().await.unwrap().release().await.unwrap();
    none_has_x(&servers).await;
    somebody_holds(&servers, LONG);
    // A first attempt asks for no report of the next change.
    let asked = || servers.iter().map(|server| server.probe().command_counts().of("set")).collect::<Vec<_>>();
    let before = asked();
    seen.take();
    // Were they quick, it would find them in the poll in which it asks.
    let have_replies = |flow| proxies.iter().for_each(|proxy| proxy.set(Direction::Replies, flow));
    have_replies(Flow::Hold);
    let mut neglected = in_line(&locks);
    let next = spawn_in_line(&locks);
    // Its commands have arrived; only it does not look at the answers.
    eventually_async("it asks all", async || asked().iter().zip(&before).all(|(now, before)| now > before)).await;
    assert_eq!(seen.count("wait+ "), 1, "the next waits, and it asks");
    have_replies(Flow::Forward);
    release_by_hand(&servers);
    let next = eventually_had("it overtakes", next).await;
    polled_until(&mut neglected, "it looks, and waits behind the next", || seen.count("wait+ ") == 2).await;
    assert!(next.is_valid());
    let neglected = tokio::spawn(neglected);
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
