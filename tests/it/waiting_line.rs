//! The waiters of a name in one process stand in line: the first come is the first served, and only he speaks to Redis.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use redlock_runtime::Error;
use redlock_tests::clock::timed;
use redlock_tests::proxy::{Direction, Flow};
use redlock_tests::wait::{LIMIT, as_promised, eventually_async};
use redlock_tests::{Proxy, Servers};
use tokio::runtime::Builder;

use crate::common::waiters::{
    Asked, How, LONG, PROMPT, Waiter, eventually_had, in_line, poll_once, promptly, release_by_hand, somebody_holds,
    spawn_in_line, starts_to_wait, watched,
};
use crate::common::{RARE_POLL, key, manager, none_has_x, unhurried};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_waiters_get_the_lock_in_the_order_in_which_they_came_each_with_an_owner_of_his_own() {
    for count in [1, 3] {
        let servers = Arc::new(Servers::start(count));
        // Each from the nodes, under a value of its own.
        let builder = unhurried().nodes(servers.urls()).slow_poll(RARE_POLL);
        let locks = builder.local_hand_over(false).build().unwrap();
        for is_local in [true, false] {
            let holder = if is_local { locks.clone() } else { manager(&servers) };
            let guard = holder.lock("x").ttl(LONG).acquire().await.unwrap();
            let served = Arc::new(Mutex::new(Vec::new()));
            let waiters: Vec<_> = (0..10)
                .map(|number| {
                    let (acquire, served, servers) = (in_line(&locks), Arc::clone(&served), Arc::clone(&servers));
                    tokio::spawn(async move {
                        let guard = acquire.await.unwrap();
                        let owners: HashSet<_> = servers.values(&key("x")).into_iter().flatten().collect();
                        served.lock().unwrap().push((number, owners));
                        guard.release().await.unwrap();
                    })
                })
                .collect();
            guard.release().await.unwrap();
            for waiter in waiters {
                waiter.await.unwrap();
            }
            let served = std::mem::take(&mut *served.lock().unwrap());
            let order: Vec<_> = served.iter().map(|(number, _)| *number).collect();
            assert_eq!(order, (0..10).collect::<Vec<_>>());
            // A node outside the majority may be behind by one hand-over.
            let owners: HashSet<_> = served.iter().flat_map(|(_, owners)| owners).collect();
            assert!(owners.len() >= 10, "{owners:?}");
            if count == 1 {
                assert_eq!(owners.len(), 10, "{owners:?}");
            }
        }
    }
}

/// How many attempts this node got that it reports the next change after, and how many scripts in all.
fn attempts_and_scripts(servers: &Servers, node: usize) -> (u64, u64) {
    let counts = servers[node].probe().command_counts();
    (watched(&servers[node].probe()), counts.of("evalsha") + counts.of("eval"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_waiters_cost_redis_no_more_than_one() {
    const SECONDS: u64 = 5;
    // All waiters together are counted when their number changes (ten times a second at most, while they come), and every
    // three seconds; the holder is labelled once; and the connection that does this tries four scripts out.
    const COUNTED: u64 = 24;
    let servers = Servers::start(3);
    for is_local in [true, false] {
        let polling = || unhurried().nodes(servers.urls()).build().unwrap();
        let locks = polling();
        let holder = if is_local { locks.clone() } else { polling() };
        let guard = holder.lock("x").acquire().await.unwrap();
        let mut waiters = if is_local {
            vec![spawn_in_line(&locks)]
        } else {
            vec![starts_to_wait(&servers, &locks, How::InATask).await]
        };
        let before: Vec<_> = (0..3).map(|node| attempts_and_scripts(&servers, node)).collect();
        waiters.extend((0..99).map(|_| spawn_in_line(&locks)));
        let ((), took) = timed(tokio::time::sleep(Duration::from_secs(SECONDS))).await;
        // A busy machine may sleep for longer.
        let seconds = took.as_secs();
        for (node, before) in before.into_iter().enumerate() {
            let (attempts, scripts) = attempts_and_scripts(&servers, node);
            let (attempts, scripts) = (attempts - before.0, scripts - before.1);
            let what = format!("{attempts} attempts, {scripts} scripts in {seconds} s, holder here: {is_local}");
            println!("{what}");
            assert!(attempts <= seconds && scripts <= attempts + COUNTED + seconds - SECONDS, "{what}");
        }
        guard.release().await.unwrap();
        for waiter in waiters {
            eventually_had("one of a hundred", waiter).await.release().await.unwrap();
        }
    }
}

/// Who holds the lock while somebody leaves the line.
#[derive(Clone, Copy, Debug)]
enum Holder {
    Here,
    Elsewhere,
}

#[tokio::test]
async fn whoever_leaves_the_line_after_any_number_of_polls_takes_no_wake_up_with_him() {
    for count in [1, 3] {
        let servers = Servers::start(count);
        let locks = manager(&servers);
        let others = manager(&servers);
        for holder in [Holder::Here, Holder::Elsewhere] {
            for polls_before in 0..5 {
                for polls_after in 0..6 {
                    let what = format!("N = {count}, {holder:?}, {polls_before} polls before, {polls_after} after");
                    let holds = if matches!(holder, Holder::Here) { &locks } else { &others };
                    let guard = holds.lock("x").ttl(LONG).acquire().await.unwrap();
                    let mut leaves = in_line(&locks);
                    let next = spawn_in_line(&locks);
                    for _ in 0..polls_before {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                        assert!(poll_once(&mut leaves).is_none(), "{what}");
                    }
                    guard.release().await.unwrap();
                    let mut had = None;
                    for _ in 0..polls_after {
                        if had.is_none() {
                            had = poll_once(&mut leaves);
                        }
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                    // With or without the lock in his hands.
                    drop((leaves, had));
                    promptly(&what, next).await.release().await.unwrap();
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_leaves_the_line_in_the_middle_is_not_missed() {
    let servers = Servers::start(3);
    let (locks, others) = (manager(&servers), manager(&servers));
    for holds in [&locks, &others] {
        let guard = holds.lock("x").ttl(LONG).acquire().await.unwrap();
        let first = spawn_in_line(&locks);
        let leaves = in_line(&locks);
        let times_out = tokio::spawn(locks.lock("x").timeout(Duration::from_millis(100)).acquire());
        let last = spawn_in_line(&locks);
        let error = times_out.await.unwrap().unwrap_err();
        assert!(matches!(error, Error::NotAcquired { .. }), "{error}");
        drop(leaves);
        guard.release().await.unwrap();
        promptly("the first", first).await.release().await.unwrap();
        promptly("the last", last).await.release().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_first_in_line_has_no_more_time_the_next_is_woken_in_his_place() {
    for count in [1, 3] {
        let servers = Servers::start(count);
        let locks = manager(&servers);
        // Connected, so that the time goes by in waiting alone.
        locks.lock("y").acquire().await.unwrap().release().await.unwrap();
        somebody_holds(&servers, LONG);
        let times_out = tokio::spawn(locks.lock("x").timeout(Duration::from_secs(1)).acquire());
        let first = tokio::spawn(locks.lock("x").ttl(LONG).acquire());
        let error = times_out.await.unwrap().unwrap_err();
        assert!(matches!(error, Error::NotAcquired { .. }), "{error}");
        release_by_hand(&servers);
        promptly(&format!("N = {count}"), first).await.release().await.unwrap();
    }
}

#[test]
fn when_the_first_in_line_leaves_with_his_runtime_the_next_is_woken_in_his_place() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    for is_dropped in [true, false] {
        somebody_holds(&servers, LONG);
        let other = Builder::new_current_thread().enable_all().build().unwrap();
        let wait = async {
            let waiter = starts_to_wait(&servers, &locks, How::InATask).await;
            // The next one stands in line behind the first, on its own runtime.
            let next = {
                let _on_its_own = runtime.enter();
                in_line(&locks)
            };
            let (next, asked) = (runtime.spawn(next), Asked::so_far(&servers));
            waiter.abort();
            assert!(waiter.await.unwrap_err().is_cancelled());
            Some((next, asked))
        };
        let (next, asked) = other.block_on(wait).expect("somebody who waits");
        // Gone, or never driven again: what Redis tells its connections is heard by nobody.
        let kept = (!is_dropped).then_some(other);
        // Sooner than with a poll, a majority: a node that was late before is not asked for its next change at once.
        as_promised(PROMPT, "the next one has asked in his place", || asked.so_many_again() >= 2);
        runtime.block_on(async {
            release_by_hand(&servers);
            promptly(&format!("runtime dropped: {is_dropped}"), next).await.release().await.unwrap();
        });
        drop(kept);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_is_handed_on_between_tasks_threads_and_runtimes_of_one_process() {
    for count in [1, 3] {
        let servers = Servers::start(count);
        let locks = manager(&servers);
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        for is_dropped in [false, true] {
            let guard = locks.lock("x").ttl(LONG).acquire().await.unwrap();
            let mut waiters: Vec<Waiter> = Vec::new();
            for _ in 0..4 {
                waiters.push(spawn_in_line(&locks));
                waiters.push(runtime.spawn(locks.lock("x").ttl(LONG).acquire()));
                let request = locks.lock("x").ttl(LONG);
                waiters.push(tokio::task::spawn_blocking(|| request.acquire_blocking()));
            }
            // In whatever order they came: whoever gets it gives it back at once.
            let served = waiters.into_iter().map(async |waiter| {
                let guard = waiter.await.unwrap().unwrap();
                if is_dropped { drop(guard) } else { guard.release().await.unwrap() }
            });
            guard.release().await.unwrap();
            let (all, took) = timed(tokio::time::timeout(LIMIT, futures::future::join_all(served))).await;
            println!("N = {count}, dropped: {is_dropped}: twelve hand-overs in {took:?}");
            assert!(all.is_ok(), "N = {count}, dropped: {is_dropped}");
        }
        runtime.shutdown_background();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_waits_behind_a_holder_that_lost_its_lock_gets_it_when_the_key_expires() {
    for count in [1, 3] {
        let servers = Servers::start(count);
        let locks = manager(&servers);
        let ttl = Duration::from_millis(500);
        let lost = locks.lock("x").ttl(ttl).renew(false).acquire().await.unwrap();
        let waiter = spawn_in_line(&locks);
        let next = promptly("expired", waiter).await;
        assert!(!lost.is_valid() && next.is_valid());
        assert!(matches!(lost.lost().await, Error::Lost { .. }));
        // Whatever the loser does does not touch the winner.
        let third = spawn_in_line(&locks);
        drop(lost);
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(next.is_valid() && servers.holding(&key("x")) > count / 2);
        next.release().await.unwrap();
        promptly("the third", third).await.release().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_lets_everybody_in_line_go_at_once() {
    let servers = Servers::start(3);
    let others = manager(&servers);
    for is_local in [true, false] {
        let locks = manager(&servers);
        let holds = if is_local { &locks } else { &others };
        let guard = holds.lock("x").ttl(LONG).acquire().await.unwrap();
        let asked = Asked::so_far(&servers);
        let mut waiters: Vec<_> = (0..10).map(|_| spawn_in_line(&locks)).collect();
        let request = locks.lock("x");
        waiters.push(tokio::task::spawn_blocking(|| request.acquire_blocking()));
        if !is_local {
            asked.again().await;
        }
        let ending = {
            let locks = locks.clone();
            tokio::spawn(async move { locks.shutdown_within(LONG).await })
        };
        for waiter in waiters {
            let acquired = tokio::time::timeout(LIMIT, waiter).await.expect("it is let go").unwrap();
            assert!(matches!(acquired, Err(Error::ShutDown)), "{acquired:?}");
        }
        // The shutdown leaves the lock to whoever holds it, also to one of its own manager.
        assert!(!is_local || !ending.is_finished());
        guard.release().await.unwrap();
        assert_eq!(ending.await.unwrap().released, usize::from(is_local));
    }
    none_has_x(&servers).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_that_is_handed_on_here_costs_one_round_trip() {
    for count in [1, 3] {
        let servers = Servers::start(count);
        let proxies: Vec<_> = servers.iter().map(Proxy::start).collect();
        let builder = unhurried().nodes(proxies.iter().map(Proxy::url)).node_timeout(LIMIT);
        let locks = builder.build().unwrap();
        let guard = locks.lock("x").ttl(LONG).acquire().await.unwrap();
        eventually_async("all nodes hold it", async || servers.holding(&key("x")) == count).await;
        let owners = servers.values(&key("x"));
        for proxy in &proxies {
            proxy.set(Direction::Replies, Flow::Hold);
        }
        let next = spawn_in_line(&locks);
        let released = tokio::spawn(guard.release());
        // The next one's commands follow the release without an answer to it.
        eventually_async("the next one has it", async || {
            let now = servers.values(&key("x"));
            now.iter().all(Option::is_some) && now.iter().zip(&owners).all(|(now, before)| now != before)
        })
        .await;
        for proxy in &proxies {
            proxy.set(Direction::Replies, Flow::Forward);
        }
        released.await.unwrap().unwrap();
        promptly("handed on", next).await.release().await.unwrap();
    }
}
