//! Servers that can watch fewer keys than are waited for.

use std::time::Duration;

use redlock_tests::clock::timed;
use redlock_tests::wait::{eventually, eventually_async};
use redlock_tests::{RedisServer, Servers, clock};

use crate::common::{RARE_POLL, manager, unhurried};

/// Names that are held by somebody else, each with a waiter.
const NAMES: usize = 40;

#[tokio::test]
async fn idle_waiters_fall_back_to_the_slow_poll_where_the_server_forgets_what_it_watches() {
    let servers = Servers::start_with(1, &["--tracking-table-max-keys", "1"]);
    let manager = || unhurried().nodes(servers.urls()).build().unwrap();
    let (holder, waiter) = (manager(), manager());
    let names: Vec<_> = (0..NAMES).map(|number| format!("name-{number}")).collect();
    let mut held = Vec::new();
    for name in &names {
        held.push(holder.lock(name.as_str()).ttl(Duration::from_secs(120)).acquire().await.unwrap());
    }
    let waiting: Vec<_> = names.iter().map(|name| tokio::spawn(waiter.lock(name.as_str()).acquire())).collect();
    let has_asked = async || attempts(&servers[0]) >= 2 * NAMES as u64;
    eventually_async("all have asked", has_asked).await;

    // Each asks about once a second, every half a second at most.
    let enough = 2 * NAMES as u64;
    let (mut rates, mut is_quiet) = (Vec::new(), false);
    for doubled in 0..6 {
        let (began, before) = (clock::now(), attempts(&servers[0]));
        tokio::time::sleep(Duration::from_millis(500 << doubled)).await;
        let more = attempts(&servers[0]) - before;
        // Whoever asks at the beginning and at the end of a window asks once more than its length says.
        is_quiet = more <= enough * (began.elapsed().as_secs() + 1);
        rates.push((more, began.elapsed()));
        if is_quiet && doubled > 1 {
            break;
        }
    }
    assert!(is_quiet, "attempts: {rates:?}; {enough} a second are enough");

    drop(held);
    for guard in waiting {
        guard.await.unwrap().unwrap().release().await.unwrap();
    }
    eventually("all are released", || servers[0].probe().keys_like("redlock:*").is_empty());
}

#[tokio::test]
async fn where_one_of_three_forgets_the_others_still_wake_and_it_is_asked_less_and_less() {
    let servers = Servers::start(3);
    servers[0].probe().config_set("tracking-table-max-keys", "1");
    let (holder, waiter) = (manager(&servers), manager(&servers));
    let names: Vec<_> = (0..NAMES).map(|number| format!("name-{number}")).collect();
    let mut held = Vec::new();
    for name in &names {
        held.push(holder.lock(name.as_str()).ttl(Duration::from_secs(120)).acquire().await.unwrap());
    }
    let waiting: Vec<_> = names.iter().map(|name| tokio::spawn(waiter.lock(name.as_str()).acquire())).collect();
    eventually_async("all have asked", async || attempts(&servers[0]) >= 2 * NAMES as u64).await;
    let (mut rates, mut is_quiet) = (Vec::new(), false);
    while !is_quiet && rates.len() < 30 {
        let (began, before) = (clock::now(), attempts(&servers[0]));
        tokio::time::sleep(Duration::from_secs(1)).await;
        let more = attempts(&servers[0]) - before;
        rates.push((more, began.elapsed()));
        // With the slow poll alone, each would ask every ten seconds.
        is_quiet = more <= NAMES as u64 * began.elapsed().as_secs();
    }
    assert!(is_quiet, "attempts: {rates:?}");

    for (guard, waiting) in held.into_iter().zip(waiting) {
        let (next, took) = timed(async {
            guard.release().await.unwrap();
            waiting.await.unwrap().unwrap()
        })
        .await;
        assert!(took < RARE_POLL / 2, "{took:?}");
        next.release().await.unwrap();
    }
    let are_released = async || servers.iter().all(|server| server.probe().keys_like("redlock:*").is_empty());
    eventually_async("all are released", are_released).await;
}

fn attempts(server: &RedisServer) -> u64 {
    server.probe().command_counts().of("evalsha")
}
