//! The metrics: under the names and with the labels that are promised, and of those a bounded number.

use std::collections::BTreeSet;
use std::time::Duration;

use redlock_runtime::LockManager;
use redlock_runtime::observe::names;
use redlock_tests::Servers;
use redlock_tests::wait::eventually_async;

use crate::common::recorder::Recorded;
use crate::common::{key, unhurried};

/// One test, because a process has one recorder, which is installed once.
#[tokio::test]
async fn metrics_are_recorded_from_when_a_recorder_is_installed_under_the_promised_names_and_in_bounded_number() {
    let servers = Servers::start(3);
    let locks = unhurried().nodes(servers.urls()).most_labels(50).build().unwrap();
    let held = |label: &'static str| locks.lock(label).label(label).ttl(Duration::from_secs(20)).acquire();

    // What began before there was a recorder does not end for it.
    let before = held("metrics-before").await.unwrap();
    let recorded = Recorded::install();
    before.release().await.unwrap();
    let held_now = |label: &str| recorded.value(&format!("redlock_held{{lock={label}}}"));
    assert_eq!(held_now("metrics-before"), None);

    // What begins behind it does.
    let guard = held("metrics-x").await.unwrap();
    assert_eq!(held_now("metrics-x"), Some(1.0));
    let waiting = tokio::spawn(held("metrics-x"));
    let waiting_now = || recorded.value("redlock_waiting{lock=metrics-x}");
    eventually_async("somebody waits", async || waiting_now() == Some(1.0)).await;
    guard.release().await.unwrap();
    let guard = waiting.await.unwrap().unwrap();
    assert_eq!((waiting_now(), held_now("metrics-x")), (Some(0.0), Some(1.0)));
    let lost = |reason: &str| recorded.value(&format!("redlock_lost_total{{lock=metrics-x, reason={reason}}}"));
    assert!(lost("reset").is_none_or(|count| count.abs() < f64::EPSILON));
    locks.reset("metrics-x").await.unwrap();
    eventually_async("the loss is counted", async || lost("reset") == Some(1.0)).await;
    drop(guard);
    assert_eq!(held_now("metrics-x"), Some(0.0));
    let taken = "redlock_acquire_duration_seconds{lock=metrics-x, outcome=acquired, path=network}";
    assert_eq!(recorded.values(taken).as_ref().map(Vec::len), Some(2));
    let ended = |end: &str| {
        let held = recorded.values(&format!("redlock_hold_duration_seconds{{lock=metrics-x, end={end}}}"));
        held.as_ref().map(Vec::len)
    };
    assert_eq!((ended("released"), ended("reset")), (Some(1), Some(1)));
    let last_run = recorded.value("redlock_last_run_timestamp_seconds{lock=metrics-x}").expect("it was released");
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
    assert!((now - 60.0..=now).contains(&last_run), "{last_run} {now}");

    // A renewal that fails.
    let guard = locks.lock("metrics-y").label("metrics-y").ttl(Duration::from_secs(3)).acquire().await.unwrap();
    servers.iter().for_each(|server| _ = server.probe().del(&key("metrics-y")));
    let failed = || recorded.value("redlock_renewal_failures_total{lock=metrics-y, reason=taken}");
    eventually_async("the failure is counted", async || failed() == Some(1.0)).await;
    drop(guard);

    // A node that is down: of its standings one is 1.
    let node = servers[0].address();
    servers[0].kill();
    let standing = |standing: &str| recorded.value(&format!("redlock_node_votes{{node={node}, standing={standing}}}"));
    eventually_async("it is down", async || {
        // Nobody notices that who was not asked.
        _ = locks.is_locked("metrics-x").await;
        standing("unreachable") == Some(1.0)
    })
    .await;
    assert_eq!((standing("votes"), standing("young"), standing("replica")), (Some(0.0), Some(0.0), Some(0.0)));
    assert!(recorded.values(&format!("redlock_node_duration_seconds{{node={node}, operation=release}}")).is_some());

    // Labels that have ids in them by mistake.
    let crowd = LockManager::builder().nodes(["memory://"]).most_labels(50).build().unwrap();
    for id in 0..10_000 {
        let _guard = crowd.lock("x").label(format!("metrics-crowd:{id}")).acquire().await.unwrap();
    }
    let labels = recorded.labels(names::HELD);
    let crowded = labels.iter().filter(|labels| labels.contains("metrics-crowd:")).count();
    assert_eq!(crowded, 50);
    assert!(labels.contains("lock=overflow"), "{labels:?}");

    // What was recorded, here and by all tests beside this one, has the names and the labels that are promised, and no others.
    let promised: BTreeSet<_> =
        names::ALL.iter().map(|(name, labels)| format!("{name} {}", labels.join(" "))).collect();
    assert_eq!(recorded.names(), promised);
}
