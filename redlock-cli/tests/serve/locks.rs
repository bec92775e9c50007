//! What is told of locks and nodes.

use std::collections::BTreeSet;
use std::process::Command;

use redlock_runtime::Timeout;
use redlock_tests::standstill::SlowEachTime;
use redlock_tests::wait::{eventually, eventually_some};
use redlock_tests::{Servers, Standstills};
use serde_json::Value;

use crate::http::encoded;
use crate::{fill, manager, serve};

fn names(told: &Value) -> Vec<&str> {
    told["names"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn locks_appear_with_their_holders_and_waiters_and_go() {
    let servers = Servers::start(3);
    let (_program, place) = serve(&servers, &[]);
    let locks = manager(&servers);
    let mut told = place.listen("/events?sort=name&count=10");
    told.until("all locks were seen", |told| told["survey_took_ms"].is_u64());
    let mut one = place.listen("/events/lock?name=invoice%3A7");

    let guard = locks.lock("invoice:7").acquire().await.unwrap();
    let waiter = tokio::spawn({
        let locks = locks.clone();
        async move { locks.lock("invoice:7").timeout(Timeout::After(std::time::Duration::from_secs(60))).acquire().await }
    });
    let seen = told.until("it is held by somebody who says so, and somebody waits", |told| {
        told["locks"].as_array().is_some_and(|locks| {
            locks.iter().any(|lock| lock["owner"] == "the test" && lock["waiting"] == 1 && lock["state"] == "held")
        })
    });
    assert_eq!((&seen["total"], &seen["held"], &seen["waiting"]), (&1.into(), &1.into(), &1.into()));
    let lock = &place.json("/api/locks")["locks"][0];
    assert_eq!((&lock["name"], &lock["votes"], &lock["nodes"]), (&"invoice:7".into(), &3.into(), &3.into()));
    assert!(lock["remaining_ms"].as_u64().unwrap() <= lock["ttl_ms"].as_u64().unwrap());

    let token = guard.fencing_token();
    guard.release().await.unwrap();
    let guard = waiter.await.unwrap().unwrap();
    let second = guard.fencing_token();
    one.until("both held it", |told| {
        let tokens: BTreeSet<_> = told["history"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|event| event["fencing_token"].as_u64())
            .collect();
        [token, second].iter().all(|token| tokens.contains(token))
    });
    guard.release().await.unwrap();
    told.until("it is gone", |told| told["total"] == 0);
    assert_eq!(place.json("/api/lock?name=invoice%3A7")["lock"], Value::Null);
    let history = place.json("/api/lock?name=invoice%3A7")["history"].clone();
    assert_eq!(history[0]["change"], "released", "{history}");
    let chart = place.listen("/events").next()["chart"].clone();
    let acquired: u64 = chart.as_array().unwrap().iter().filter_map(|point| point[1].as_u64()).sum();
    assert!(acquired >= 2, "{chart}");
}

#[tokio::test(flavor = "multi_thread")]
async fn permits_and_names_of_all_kinds_are_told_and_escaped_where_they_would_mislead() {
    let servers = Servers::start(3);
    let (_program, place) = serve(&servers, &[]);
    let locks = manager(&servers);
    let odd = [
        "<script>document.title='evil'</script>".to_owned(),
        "a\u{202e}live\u{2066}".to_owned(),
        "夜".repeat(170),
        "x\"y\\z&amp;".to_owned(),
    ];
    let mut guards = Vec::new();
    for name in &odd {
        guards.push(locks.lock(name).acquire().await.unwrap());
    }
    guards.push(locks.lock("slots").permits(3).acquire().await.unwrap());
    guards.push(locks.lock("slots").permits(3).acquire().await.unwrap());
    let taken =
        |slots: &Value| slots["permits"].as_array().unwrap().iter().filter(|permit| permit["state"] == "held").count();
    // Looked at between the two permits, all five are there.
    let told = eventually_some("all are told", || {
        let told = place.json("/api/locks?sort=name&order=ascending");
        let slots = told["locks"].as_array().unwrap().iter().find(|lock| lock["name"] == "slots");
        (told["held"] == 5 && slots.is_some_and(|slots| taken(slots) == 2)).then_some(told)
    });
    let told = told["locks"].as_array().unwrap();
    for name in &odd {
        let lock = told.iter().find(|lock| lock["name"] == name.as_str()).unwrap_or_else(|| panic!("{name}"));
        assert!(!lock["shown"].as_str().unwrap().contains(['\u{202e}', '\u{2066}']), "{lock}");
        assert_eq!(place.json(&format!("/api/lock?name={}", encoded(name)))["lock"]["name"], name.as_str());
    }
    let metrics = place.get("/metrics");
    assert_eq!(metrics.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert!(
        metrics.body.contains("redlock_fleet_held{lock=\"<script>document.title='evil'</script>\"} 1\n"),
        "{}",
        metrics.body
    );
    assert!(metrics.body.contains(r#"redlock_fleet_held{lock="x\"y\\z&amp;"} 1"#), "{}", metrics.body);
    assert!(metrics.body.contains("redlock_fleet_permits_taken{lock=\"slots\"} 2\n"), "{}", metrics.body);
    assert!(metrics.body.contains("redlock_fleet_list_complete 1\n"), "{}", metrics.body);
    for line in metrics.body.lines().filter(|line| !line.starts_with('#')) {
        let (_, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
        assert!(value.parse::<f64>().is_ok(), "{line}");
    }
}

#[test]
fn a_node_that_is_killed_is_told_and_one_that_comes_back() {
    let servers = Servers::start(3);
    let (_program, place) = serve(&servers, &[]);
    let standings = || -> Vec<String> {
        let nodes = place.json("/api/nodes");
        nodes.as_array().unwrap().iter().map(|node| node["standing"].as_str().unwrap().to_owned()).collect()
    };
    eventually("all vote", || standings() == ["votes", "votes", "votes"]);
    servers[1].kill();
    eventually("one is gone", || standings() == ["votes", "unreachable", "votes"]);
    let failure = place.json("/api/nodes")[1]["failure"].clone();
    assert!(failure.is_string(), "it says why");
    // As the alerts and the dashboard count: each standing has its series, also when nobody stands so.
    let metrics = place.get("/metrics").body;
    for (index, server) in servers.iter().enumerate() {
        let stands = if index == 1 { "unreachable" } else { "votes" };
        for standing in ["votes", "young", "replica", "same_server", "unreachable"] {
            let (node, value) = (server.address(), u8::from(standing == stands));
            let line = format!("redlock_fleet_node_votes{{node=\"{node}\",standing=\"{standing}\"}} {value}\n");
            assert!(metrics.contains(&line), "{line} is not in {metrics}");
        }
    }
    let round_trip = format!("redlock_fleet_node_round_trip_seconds{{node=\"{}\"}}", servers[1].address());
    assert!(!metrics.contains(&round_trip), "it does not answer: {metrics}");
    servers[2].kill();
    eventually("the list is not complete", || place.json("/api/locks")["problem"].is_string());
    assert!(place.get("/metrics").body.contains("redlock_fleet_list_complete 0\n"));
    servers[1].restart();
    servers[2].restart();
    eventually("all are back", || standings().iter().all(|standing| standing != "unreachable"));
    eventually("and all locks are seen", || place.json("/api/locks")["problem"].is_null());
}

#[test]
fn fifty_thousand_locks_are_told_as_a_window_and_asked_for_in_small_steps() {
    const LOCKS: usize = 50_000;
    let servers = Servers::start(1);
    fill(&servers, LOCKS);
    servers[0].probe().run::<()>(redis::cmd("CONFIG").arg("RESETSTAT")).unwrap();
    let (_program, place) = serve(&servers, &[]);
    let mut told = place.listen("/events?sort=name&order=ascending&from=49990&count=60");
    let seen = told.until("all are seen", |told| told["total"] == LOCKS && told["survey_took_ms"].is_u64());
    assert_eq!((&seen["matching"], &seen["from"]), (&LOCKS.into(), &(LOCKS - 60).into()));

    // Only the window travels, and of that only what changed.
    let first = place.listen("/events?sort=name&order=ascending&from=100&count=60").next();
    assert_eq!((names(&first).len(), first["locks"].as_array().unwrap().len()), (60, 60));
    assert!(first.to_string().len() < 60_000, "{}", first.to_string().len());
    let next = told.until("nothing changed", |told| told["names"].is_null());
    assert!(next["locks"].as_array().unwrap().len() <= 60);
    let found = place.json("/api/locks?search=TENANT-13%3Ajob-12345&count=5");
    assert!(found["matching"].as_u64().unwrap() <= 1, "{found}");
    let found = place.json("/api/locks?search=job-4999&count=500&sort=left");
    assert_eq!(found["matching"], 11, "job-4999 and job-49990 to job-49999");

    let stats = servers[0].probe().info("commandstats");
    let scans = stats
        .get("cmdstat_scan")
        .and_then(|line| line.split(',').next()?.strip_prefix("calls=")?.parse::<usize>().ok());
    assert!(scans.is_some_and(|scans| scans >= LOCKS / 1000), "it asks in pages: {scans:?}");
}

#[test]
fn however_many_locks_there_are_nobody_who_looks_at_them_keeps_a_server_from_others() {
    const LOCKS: usize = 50_000;
    let servers = Servers::start(1);
    fill(&servers, LOCKS);
    let redlock = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_redlock"));
        let ended = command.args(arguments).args(["--nodes", &servers.nodes()]).output().unwrap();
        assert!(ended.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&ended.stderr));
        String::from_utf8(ended.stdout).unwrap().lines().count()
    };
    let mut slow = SlowEachTime::default();
    while slow.is_open() {
        let standstills = Standstills::watch(&servers[0]);
        let (_program, place) = serve(&servers, &[]);
        let mut told = place.listen("/events?sort=name&order=ascending&from=49990&count=60");
        told.until("all are seen", |told| told["total"] == LOCKS && told["survey_took_ms"].is_u64());
        assert!(place.get("/metrics").body.contains("redlock_fleet_held"));
        assert!(redlock(&["list", "--json"]) >= LOCKS);
        assert!(redlock(&["top"]) > 10, "without a terminal it is one table");
        assert!(redlock(&["inspect", "tenant-13:job-110"]) > 0);
        slow.note(standstills.told());
    }
    slow.check();
}
