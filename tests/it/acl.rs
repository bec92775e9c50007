//! The rules in `docs/acl.md` are enough, and none of them is too many.

use std::collections::BTreeSet;
use std::time::Duration;

use redis::cmd;
use redlock_runtime::{Error, Finding, LockManager, Severity, Timeout};
use redlock_tests::wait::eventually_async;
use redlock_tests::{Cluster, RedisServer, Sentinel, Setup};

use crate::common::once::a_fire_runs_once;
use crate::common::{a_lock_lives, causes, unhurried, waiting};

const PAGE: &str = include_str!("../../docs/acl.md");

/// The rules of all blocks of this kind, or of those of one section.
fn rules(kind: &str, section: Option<&str>) -> Vec<&'static str> {
    let mut found = Vec::new();
    let (mut heading, mut is_inside) = ("", false);
    for line in PAGE.lines() {
        if let Some(text) = line.strip_prefix("## ") {
            heading = text;
        } else if let Some(fence) = line.strip_prefix("```") {
            is_inside = fence == kind && section.is_none_or(|section| section == heading);
        } else if is_inside {
            found.extend(line.split_whitespace());
        }
    }
    assert!(!found.is_empty(), "the page has no block {kind} {section:?}");
    found
}

/// What a server's user needs for everything.
fn everything() -> String {
    rules("acl", None).join(" ")
}

/// A user with exactly these rules.
fn user(server: &RedisServer, rules: &[&str]) -> String {
    let mut rule = cmd("ACL");
    rule.arg("SETUSER").arg("app").arg(&["reset", "on", ">s3cret"]).arg(rules);
    server.probe().run::<()>(&rule).unwrap();
    format!("redis://app:s3cret@{}", server.address())
}

fn manager(url: &str) -> LockManager {
    unhurried().nodes([url]).build().unwrap()
}

#[tokio::test]
async fn a_lock_lives_with_the_rules_of_the_page() {
    let server = RedisServer::start_as(&Setup::new().with_user("app", "s3cret", &everything()));
    a_lock_lives(unhurried().nodes([server.url()])).await;
    let report = manager(&server.url()).check().await.unwrap().to_string();
    assert!(!report.contains("ACL") && !report.contains("may not"), "{report}");
}

#[tokio::test]
async fn a_lock_lives_with_the_rules_of_the_page_on_a_service_with_replicas() {
    let sentinels = Setup::new().with_user("guide", "s3cret", &rules("acl-sentinel", None).join(" "));
    let service = Sentinel::start_as(&Setup::new().with_user("app", "s3cret", &everything()), &sentinels);
    let locks = unhurried().nodes([service.url()]).sentinel_credentials("guide", "s3cret");
    a_lock_lives(locks.clone().wait_replicas(2, Duration::from_secs(2))).await;
    service.force_failover();
    let guard = locks.build().unwrap().lock("x").timeout(Duration::from_secs(10)).acquire().await.unwrap();
    guard.release().await.unwrap();
}

#[tokio::test]
async fn a_lock_lives_with_the_rules_of_the_page_on_a_cluster() {
    let all = [everything(), rules("acl-cluster", None).join(" ")].join(" ");
    let cluster = Cluster::start_as(&Setup::new().with_user("app", "s3cret", &all));
    let locks = unhurried().nodes([cluster.url()]);
    a_lock_lives(locks.clone().wait_replicas(1, Duration::from_secs(2))).await;
    let locks = locks.build().unwrap();
    let slot = cluster.slot_of("redlock:ConfigurableLock.x");
    let to = cluster.masters().into_iter().find(|master| master.port() != cluster.owner(slot).port()).unwrap();
    let migration = cluster.migrate(slot, to);
    let guard = locks.lock("x").acquire().await.expect("it begins where the slot goes");
    guard.release().await.unwrap();
    migration.finish();
}

/// A lock is acquired, extended, refused, waited for and released.
async fn locks(url: &str) -> Result<(), Error> {
    let (here, there) = (manager(url), manager(url));
    // With a counter there already, as nearly always.
    here.lock("x").try_acquire().await?.expect("it is free").release().await?;
    let guard = here.lock("x").try_acquire().await?.expect("it is free");
    guard.extend(Duration::from_secs(60)).await?;
    assert!(there.lock("x").try_acquire().await?.is_none());
    let waiter = tokio::spawn(there.lock("x").timeout(Duration::from_secs(10)).acquire());
    guard.release().await?;
    waiter.await.expect("it does not panic")?.release().await
}

#[tokio::test]
async fn the_first_block_is_enough_for_locks_and_each_of_its_commands_is_needed_or_told_of() {
    let server = RedisServer::start();
    let all = rules("acl", Some("Locks"));
    locks(&user(&server, &all)).await.unwrap();
    for taken in all.iter().filter(|rule| rule.starts_with('+')) {
        let left: Vec<_> = all.iter().copied().filter(|rule| rule != taken).collect();
        server.probe().flush_all();
        server.probe().script_flush();
        let url = user(&server, &left);
        let command = taken[1..].to_uppercase();
        let error = locks(&url).await.err().map(|error| causes(&error)).unwrap_or_default();
        let report = manager(&url).check().await.map_or_else(|error| causes(&error), |report| report.to_string());
        // Nobody knows how old the server is, and of several servers one may have to be brought up to the others.
        let is_missed = !["INFO", "INCRBY"].contains(&&*command);
        assert_eq!(!error.is_empty(), is_missed, "{command}: {error}");
        assert!(report.contains(&command), "{command}: {error}\n{report}");
    }
}

#[tokio::test]
async fn whatever_else_is_taken_away_is_told_of_and_locks_go_on() {
    let server = RedisServer::start();
    let all: BTreeSet<_> = rules("acl", None).into_iter().collect();
    let needed: BTreeSet<_> = rules("acl", Some("Locks")).into_iter().collect();
    for taken in all.difference(&needed) {
        let left: Vec<_> = all.iter().copied().filter(|rule| rule != taken).collect();
        server.probe().flush_all();
        server.probe().script_flush();
        let url = user(&server, &left);
        locks(&url).await.unwrap_or_else(|error| panic!("{taken}: {}", causes(&error)));
        let report = manager(&url).check().await.unwrap().to_string();
        // What nobody asked for here, and what cannot be tried out without doing it.
        if !["+wait", "~redlock-replicated:*", "+rpush"].contains(taken) {
            let is_told = |rule: &str| report.contains(rule) || report.contains(&rule.to_uppercase());
            assert!(is_told(taken[1..].trim_end_matches('*')), "{taken}:\n{report}");
        }
    }
}

#[tokio::test]
async fn a_job_runs_once_per_fire_with_the_blocks_of_locks_and_completed_fires_and_not_without_the_second() {
    let server = RedisServer::start();
    let (first, second) = (rules("acl", Some("Locks")), rules("acl", Some("Completed fires")));
    a_fire_runs_once(unhurried().nodes([user(&server, &[first, second.clone()].concat())])).await;
    for taken in second {
        let left: Vec<_> = rules("acl", None).into_iter().filter(|rule| *rule != taken).collect();
        let url = user(&server, &left);
        locks(&url).await.unwrap_or_else(|error| panic!("{taken}: {}", causes(&error)));
        let error = manager(&url).lock("job").once(20_u64).timeout(Timeout::Skip).acquire().await.err();
        let error = error.map(|error| causes(&error)).unwrap_or_default();
        assert!(error.contains("NOPERM") || error.contains("permission"), "{taken}: {error}");
    }
}

#[tokio::test]
async fn permits_are_had_with_the_blocks_of_locks_and_permits_and_not_without_the_second() {
    let server = RedisServer::start();
    let (first, second) = (rules("acl", Some("Locks")), rules("acl", Some("Permits")));
    let both = manager(&user(&server, &[first, second.clone()].concat()));
    let guard = both.lock("x").permits(2).try_acquire().await.unwrap().expect("it is free");
    guard.extend(Duration::from_secs(60)).await.unwrap();
    guard.release().await.unwrap();
    for taken in second.into_iter().filter(|rule| rule.starts_with('~')) {
        let left: Vec<_> = rules("acl", None).into_iter().filter(|rule| *rule != taken).collect();
        let url = user(&server, &left);
        locks(&url).await.unwrap_or_else(|error| panic!("{taken}: {}", causes(&error)));
        let error = manager(&url).lock("x").permits(2).timeout(Timeout::Skip).acquire().await.err();
        let error = error.map(|error| causes(&error)).unwrap_or_default();
        assert!(error.contains("NOPERM") || error.contains("permission"), "{taken}: {error}");
    }
}

#[tokio::test]
async fn a_user_who_may_not_mark_fires_is_told_of_by_check_with_the_rule_that_mends_it() {
    let server = RedisServer::start();
    let url = user(&server, &rules("acl", Some("Locks")));
    let report = manager(&url).check().await.unwrap();
    let about_fires = |finding: &&Finding| finding.text.contains("`once`");
    let finding = report.findings().iter().find(about_fires).unwrap_or_else(|| panic!("{report}"));
    assert_eq!(finding.severity, Severity::Note, "whoever has no such jobs misses nothing\n{report}");
    assert!(report.nodes()[0].can_lock, "{report}");
    let (_, cure) = finding.text.split_once("ACL SETUSER <user> ").expect("it says how to allow it");
    let cure: Vec<_> = cure.split_whitespace().collect();
    assert_eq!(cure.last(), Some(&"~redlock-done:*"), "{finding}");

    let mended: Vec<_> = rules("acl", Some("Locks")).into_iter().chain(cure).collect();
    let url = user(&server, &mended);
    let report = manager(&url).check().await.unwrap();
    assert_eq!(report.findings().iter().find(about_fires), None, "{report}");
    a_fire_runs_once(unhurried().nodes([url])).await;
    assert!(server.probe().keys_like("redlock-done:*redlock-check*").is_empty(), "it tries out on no mark that stays");
}

#[tokio::test]
async fn without_tracking_the_other_block_wakes_waiters() {
    let server = RedisServer::start();
    let without: Vec<_> = rules("acl", None).into_iter().filter(|rule| !rule.starts_with("+client|")).collect();
    let url = user(&server, &[without, rules("acl-instead", None)].concat());
    let (here, there) = (manager(&url), manager(&url));
    let guard = here.lock("x").acquire().await.unwrap();
    let waiter = tokio::spawn(there.lock("x").timeout(Duration::from_secs(10)).acquire());
    eventually_async("it waits", async || waiting(&here, "x").await == 1).await;
    eventually_async("it has subscribed", async || {
        server.probe().client_list().iter().any(|client| client.contains(" sub=2 "))
    })
    .await;
    guard.release().await.unwrap();
    waiter.await.unwrap().unwrap().release().await.unwrap();
}

/// A lock is read by two, waited for by a writer, who becomes a reader, and shown.
async fn readers_and_a_writer(url: &str) -> Result<(), Error> {
    let (here, there) = (manager(url), manager(url));
    let readers = [here.read("x").acquire().await?, there.read("x").acquire().await?];
    let writer = tokio::spawn(there.write("x").timeout(Duration::from_secs(10)).acquire());
    eventually_async("it waits", async || waiting(&here, "x").await == 1).await;
    for reader in readers {
        reader.extend(Duration::from_secs(60)).await?;
        reader.release().await?;
    }
    let reader = writer.await.expect("it does not panic")?.downgrade().await?;
    assert!(here.write("x").try_acquire().await?.is_none());
    reader.release().await
}

#[tokio::test]
async fn readers_share_a_lock_with_the_blocks_of_locks_and_of_readers_and_writers_and_not_with_less() {
    let server = RedisServer::start();
    let (first, second) = (rules("acl", Some("Locks")), rules("acl", Some("Readers and writers")));
    readers_and_a_writer(&user(&server, &rules("acl", None))).await.unwrap();
    let just_those = user(&server, &[first.clone(), second.clone()].concat());
    let (reader, locks) = (manager(&just_those).read("x").acquire().await.unwrap(), manager(&just_those));
    assert!(locks.write("x").try_acquire().await.unwrap().is_none());
    reader.release().await.unwrap();
    locks.write("x").acquire().await.unwrap().downgrade().await.unwrap().release().await.unwrap();
    for taken in second.iter().filter(|rule| rule.starts_with('~')) {
        let left: Vec<_> = rules("acl", None).into_iter().filter(|rule| rule != taken).collect();
        let url = user(&server, &left);
        self::locks(&url).await.unwrap_or_else(|error| panic!("{taken}: {}", causes(&error)));
        let error = manager(&url).read("x").timeout(Timeout::Skip).acquire().await.err();
        let error = error.map(|error| causes(&error)).unwrap_or_default();
        assert!(error.contains("NOPERM") || error.contains("permission"), "{taken}: {error}");
    }
}
