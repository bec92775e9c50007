//! One run per fire where something is not as it was left: a server with an older state, one that is full, none that can be reached
//! when the body ends, a request of another kind.

use std::time::{Duration, SystemTime};

use redis::cmd;
use redlock_runtime::{Error, Fire, LockManager, Run, Timeout};
use redlock_tests::clock::timed;
use redlock_tests::proxy::Flow;
use redlock_tests::wait::{LIMIT, eventually, eventually_async};
use redlock_tests::{Proxy, Servers};

use crate::common::once::{all_are_marked, already_ran, job, mark, marks, new_job, no_key_is_left, run};
use crate::common::{key, manager};

#[tokio::test]
async fn a_server_that_restarts_from_an_older_snapshot_does_not_know_what_was_completed_since() {
    let servers = Servers::start(3);
    let ttl = Duration::from_secs(2);
    let builder = LockManager::builder().nodes(servers.urls()).longest_ttl(ttl).ttl(ttl);
    let locks = builder.clone().build().unwrap();
    new_job(&servers).await;
    assert_eq!(run(job(&locks, 6).timeout(LIMIT)).await.unwrap(), Run::Ran(Some(6)));
    all_are_marked(&servers, 6).await;
    no_key_is_left(&servers).await;
    servers[2].probe().run::<()>(&cmd("SAVE")).unwrap();

    servers[1].hang();
    assert_eq!(run(job(&locks, 7).timeout(LIMIT)).await.unwrap(), Run::Ran(Some(7)));
    servers[2].restart_from_snapshot();
    servers[0].hang();
    servers[1].resume();
    assert!(servers[2].probe().get(&mark("job")).is_some_and(|mark| mark.starts_with("6:")));

    let others = builder.build().unwrap();
    eventually_async("the restarted one votes", async || {
        match run(job(&others, 7).timeout(Duration::from_secs(3))).await {
            // One that hung may have been heard when it went on, and then it shows the mark.
            Err(Error::FireInDoubt { fire: 7, covered_by: None | Some(7), .. }) => true,
            Err(_) => false,
            Ok(ran) => panic!("it was completed: {ran:?}"),
        }
    })
    .await;
    servers[0].resume();
    assert_eq!(run(job(&others, 7).timeout(LIMIT)).await.unwrap(), already_ran(7));
    assert_eq!(run(job(&others, 8).timeout(LIMIT)).await.unwrap(), Run::Ran(Some(8)));
}

#[tokio::test]
async fn a_server_that_is_full_keeps_no_mark_and_its_key_is_deleted_all_the_same() {
    let servers = Servers::start(1);
    let locks = new_job(&servers).await;
    let guard = job(&locks, 7).ttl(Duration::from_secs(60)).acquire().await.unwrap();
    servers[0].probe().config_set("maxmemory", "1");
    let error = guard.complete().await.unwrap_err();
    assert!(matches!(error, Error::NotCompleted { fire: 7, confirmed: 0, .. }), "{error}");
    assert_eq!(servers.holding(&key("job")), 0);
    servers[0].probe().config_set("maxmemory", "0");
    assert_eq!(run(job(&locks, 7)).await.unwrap(), Run::Ran(Some(7)));
}

/// How long a server has to answer: a completion outlasts several of these.
const SHORT: Duration = Duration::from_millis(100);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_completion_that_no_server_hears_of_is_sent_again_while_the_lock_is_held() {
    let servers = Servers::start(3);
    let proxies: Vec<_> = servers.answering().map(Proxy::start).collect();
    let locks = LockManager::builder().nodes(proxies.iter().map(Proxy::url)).node_timeout(SHORT).build().unwrap();
    let others = new_job(&servers).await;
    for (fire, way) in (7..).zip(["refused", "hung", "silent"]) {
        let guard = job(&locks, fire).ttl(LIMIT).timeout(LIMIT).acquire().await.unwrap();
        let made = || proxies.iter().map(Proxy::accepted).min().unwrap();
        let before = made();
        match way {
            "refused" => proxies.iter().for_each(Proxy::refuse),
            "hung" => servers.iter().for_each(|server| server.hang()),
            _ => proxies.iter().for_each(|proxy| proxy.set_both(Flow::Swallow)),
        }
        let mut completing = tokio::spawn(guard.complete());
        let early = tokio::time::timeout(8 * SHORT, &mut completing).await;
        assert!(early.is_err(), "{way}: the lock is held for much longer: {early:?}");
        if way != "hung" {
            let of_fire = |mark: &String| mark.starts_with(&format!("{fire}:"));
            assert!(!marks(&servers).iter().flatten().any(of_fire), "{way}: the first round was lost");
        }
        match way {
            "refused" => proxies.iter().for_each(Proxy::take),
            "hung" => servers.iter().for_each(|server| server.resume()),
            _ => {
                // Of a node that had not granted the lock yet when it was won nobody wants anything else.
                drop(tokio::spawn(locks.lock("another").try_acquire()));
                eventually("the silent connections are given up", || made() > before);
                for proxy in &proxies {
                    proxy.set_both(Flow::Forward);
                }
            }
        }
        completing.await.unwrap().unwrap_or_else(|error| panic!("{way}: {error}"));
        assert_eq!(run(job(&others, fire).timeout(LIMIT)).await.unwrap(), already_ran(fire), "{way}");
    }
    no_key_is_left(&servers).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_completion_that_no_server_hears_of_before_the_lock_is_lost_is_none() {
    let servers = Servers::start(3);
    let proxies: Vec<_> = servers.answering().map(Proxy::start).collect();
    let locks = LockManager::builder().nodes(proxies.iter().map(Proxy::url)).node_timeout(SHORT).build().unwrap();
    let others = new_job(&servers).await;
    let ttl = Duration::from_secs(3);
    let (ended, took) = timed(async {
        let guard = job(&locks, 7).ttl(ttl).renew(false).timeout(LIMIT).acquire().await.unwrap();
        proxies.iter().for_each(Proxy::refuse);
        guard.complete().await
    })
    .await;
    let error = ended.unwrap_err();
    assert!(matches!(error, Error::NotCompleted { fire: 7, confirmed: 0, .. }), "{error}");
    assert!(took > ttl / 2 && took < 2 * ttl, "{took:?}");
    eventually("the keys have expired", || servers.holding(&key("job")) == 0);
    proxies.iter().for_each(Proxy::take);
    assert_eq!(run(job(&others, 7)).await.unwrap(), Run::Ran(Some(7)), "nobody has marked it");
    // What is still sent for the one before finds another owner, or none.
    let _ = locks.shutdown_within(LIMIT).await;
    assert_eq!(run(job(&others, 8)).await.unwrap(), Run::Ran(Some(8)));
}

#[tokio::test]
async fn a_completion_that_too_few_servers_can_hear_of_is_given_up_at_once() {
    let servers = Servers::start(3);
    let locks = new_job(&servers).await;
    let guard = job(&locks, 7).ttl(LIMIT).acquire().await.unwrap();
    // As a reset does. The third hangs, and would not be enough.
    for server in servers.iter().take(2) {
        server.probe().del(&key("job"));
    }
    servers[2].hang();
    let (ended, took) = timed(guard.complete()).await;
    let error = ended.unwrap_err();
    assert!(matches!(error, Error::NotCompleted { fire: 7, confirmed: 0, .. }), "{error}");
    assert!(took < LIMIT / 2, "{took:?}");
    servers[2].resume();
}

#[tokio::test]
async fn a_value_that_is_computed_for_a_fire_completes_it() {
    let servers = Servers::start(3);
    let (locks, others) = (new_job(&servers).await, manager(&servers));
    let nothing = async || Ok::<Option<u8>, Error>(None);
    assert_eq!(job(&locks, 7).get_or_compute(nothing, async || Ok(1)).await.unwrap(), 1);
    assert_eq!(run(job(&others, 7)).await.unwrap(), already_ran(7));
    let again = job(&others, 7).get_or_compute(nothing, async || Ok(2)).await;
    assert!(matches!(again, Err(Error::AlreadyRan { completed: 7, .. })), "{again:?}");
    let mut looked = 0;
    let found = job(&others, 7).get_or_compute(
        || {
            looked += 1;
            std::future::ready(Ok::<_, Error>((looked == 2).then_some(3)))
        },
        async || Ok(4),
    );
    assert_eq!(found.await.unwrap(), 3);
    let failed = job(&locks, 8).get_or_compute(nothing, async || Err(Error::ShutDown)).await;
    assert!(failed.is_err());
    let blocking = tokio::task::spawn_blocking(move || {
        job(&locks, 8).timeout(LIMIT).get_or_compute_blocking(|| Ok::<_, Error>(None), || Ok(5))
    });
    assert_eq!(blocking.await.unwrap().unwrap(), 5);
    assert_eq!(run(job(&others, 8)).await.unwrap(), already_ran(8));
}

#[tokio::test]
async fn the_beginning_of_1970_is_no_fire() {
    let locks = LockManager::builder().nodes(["memory://"]).build().unwrap();
    for past in [Duration::ZERO, Duration::from_micros(999)] {
        let fire = Fire::at(SystemTime::UNIX_EPOCH + past);
        let error = run(locks.lock("job").once(fire).timeout(Timeout::Skip)).await.unwrap_err();
        assert!(matches!(error, Error::Config { .. }) && error.to_string().contains("beginning of 1970"), "{error}");
    }
}
