//! The examination of nodes finds what is wrong with them, names it, and says what to do.

use std::time::Duration;

use redis::cmd;
use redlock_runtime::{CheckReport, CheckVerdict, Error, Finding, LockManager, Role, Severity, Wakes};
use redlock_tests::clock::timed;
use redlock_tests::proxy::Flow;
use redlock_tests::wait::eventually_async;
use redlock_tests::{Proxy, RedisServer, Servers};

use crate::common::{NODE_TIMEOUT, manager, unhurried};

fn locks_on(urls: impl IntoIterator<Item = String>) -> LockManager {
    unhurried().nodes(urls).build().unwrap()
}

/// What was found about one server, or, without a URL, about all.
fn about<'a>(report: &'a CheckReport, url: Option<&str>) -> Vec<&'a Finding> {
    report.findings().iter().filter(|finding| finding.node.as_deref() == url).collect()
}

/// The finding about this server that has all of these words.
#[track_caller]
fn found<'a>(report: &'a CheckReport, url: Option<&str>, severity: Severity, words: &[&str]) -> &'a Finding {
    let mut matching =
        about(report, url).into_iter().filter(|finding| words.iter().all(|word| finding.text.contains(word)));
    let finding = matching.next().unwrap_or_else(|| panic!("nothing found with {words:?} in\n{report}"));
    assert_eq!(finding.severity, severity, "{report}");
    finding
}

fn is_degraded(report: &CheckReport, expect: usize) -> bool {
    matches!(report.verdict(), CheckVerdict::Degraded { working, .. } if working == expect)
}

fn is_unusable(report: &CheckReport, expect: usize) -> bool {
    matches!(report.verdict(), CheckVerdict::Unusable { working, .. } if working == expect)
}

/// A user of the server with these rules.
fn user(server: &RedisServer, rules: &[&str]) -> String {
    server.probe().run::<()>(cmd("ACL").arg("SETUSER").arg("app").arg(&["on", ">s3cret", "&*"]).arg(rules)).unwrap();
    format!("redis://app:s3cret@127.0.0.1:{}", server.port())
}

fn manager_of(server: &RedisServer) -> LockManager {
    locks_on([server.url()])
}

#[tokio::test]
async fn three_good_servers_are_healthy_and_nothing_stays_on_them() {
    let servers = Servers::start(3);
    for locks in [manager(&servers), unhurried().nodes(servers.urls()).fencing(false).build().unwrap()] {
        let report = locks.check().await.unwrap();
        assert_eq!(report.verdict(), CheckVerdict::Healthy, "{report}");
        assert!(report.findings().iter().all(|finding| finding.severity == Severity::Note), "{report}");
        assert_eq!(report.nodes().len(), 3);
        for (node, server) in report.nodes().iter().zip(&servers) {
            assert_eq!((&node.node, &node.address), (&server.url(), &server.url()));
            assert!(node.can_lock && node.unreachable.is_none(), "{report}");
            assert_eq!((node.role, node.wakes), (Some(Role::Master), Some(Wakes::Tracking)), "{report}");
            assert_eq!(node.version.as_deref(), Some(&*server.probe().info("server")["redis_version"]), "{report}");
            assert_eq!(node.eviction.as_deref(), Some("noeviction"), "{report}");
            assert!(node.round_trip.unwrap() > Duration::ZERO && node.clock.is_some(), "{report}");
            assert!(report.to_string().contains(&server.url()), "{report}");
            assert_eq!(server.probe().keys(), Vec::<String>::new(), "{report}");
        }
    }
}

#[tokio::test]
async fn a_wrong_fencing_counter_is_found_with_its_key_and_its_cure() {
    let servers = Servers::start(3);
    let locks = manager(&servers);
    locks.lock("x").acquire().await.unwrap().release().await.unwrap();
    let counter = "redlock-fence:{redlock:ConfigurableLock.x}";
    for wrong in ["9223372036854775806", "4503599627370496", "2795889650869739", "x"] {
        servers[0].probe().set(counter, wrong);
        let report = locks.check().await.unwrap();
        let words = [counter, "holds", "set it there to the greatest number that the other nodes have"];
        found(&report, Some(&servers[0].url()), Severity::Warning, &words);
        assert!(is_degraded(&report, 3), "it votes on other locks\n{report}");
    }
    servers[0].probe().run::<()>(cmd("DEL").arg(counter)).unwrap();
    let report = locks.check().await.unwrap();
    assert_eq!(report.verdict(), CheckVerdict::Healthy, "{report}");
}

#[tokio::test]
async fn every_command_of_a_lock_is_carried_out_on_a_key_of_its_own() {
    let server = RedisServer::start();
    let before = server.probe().command_counts();
    let report = manager_of(&server).check().await.unwrap();
    let used = server.probe().command_counts().since(&before);
    for command in ["set", "incr", "pexpire", "hset", "hmget", "del"] {
        assert!(used.of(command) > 0, "{command}: {used:?}\n{report}");
    }
}

#[tokio::test]
async fn dead_and_hung_nodes_are_told_in_the_time_that_one_of_them_takes() {
    let servers = Servers::start(5);
    servers[0].kill();
    servers[1].hang();
    let limit = Duration::from_secs(4);
    let builder = LockManager::builder().nodes(servers.urls());
    let locks = builder.node_timeout(NODE_TIMEOUT).connect_timeout(limit).build().unwrap();
    // Two that hang take no longer than one.
    servers[2].hang();
    let (report, took) = timed(locks.check()).await;
    assert!(is_unusable(&report.unwrap(), 2));
    assert!(took < 2 * limit, "{took:?}");
    servers[2].resume();
    let (report, took) = timed(locks.check()).await;
    servers[1].resume();
    let report = report.unwrap();
    assert!(is_degraded(&report, 3), "{report}");
    found(&report, Some(&servers[0].url()), Severity::Error, &["refused", "see whether it runs"]);
    found(&report, Some(&servers[1].url()), Severity::Error, &["no connection within", "hangs"]);
    assert!(took < 2 * limit, "{took:?}");
    assert!(report.nodes()[1].unreachable.is_some() && report.nodes()[2].unreachable.is_none(), "{report}");

    servers[2].kill();
    let report = locks.check().await.unwrap();
    assert!(is_degraded(&report, 3), "the hung one goes on, so that three work:\n{report}");
    servers[3].kill();
    let report = locks.check().await.unwrap();
    assert!(is_unusable(&report, 2), "{report}");
}

#[tokio::test]
async fn a_node_that_hangs_once_it_is_connected_is_told() {
    let servers = Servers::start(3);
    let proxy = Proxy::start(&servers[0]);
    let locks = locks_on([proxy.url(), servers[1].url(), servers[2].url()]);
    locks.lock("x").acquire().await.unwrap().release().await.unwrap();
    proxy.set_both(Flow::Hold);
    let report = locks.check().await.unwrap();
    proxy.set_both(Flow::Forward);
    assert!(is_degraded(&report, 2), "{report}");
    found(&report, Some(&proxy.url()), Severity::Error, &["hangs"]);
}

#[tokio::test]
async fn a_server_that_evicts_keys_is_warned_of_once_there_is_a_limit() {
    let servers = Servers::start(3);
    let evicting = servers[1].probe();
    evicting.config_set("maxmemory-policy", "allkeys-lru");
    let report = manager(&servers).check().await.unwrap();
    found(&report, Some(&servers[1].url()), Severity::Note, &["allkeys-lru", "noeviction"]);
    assert_eq!(report.verdict(), CheckVerdict::Healthy, "{report}");

    evicting.config_set("maxmemory", "100mb");
    let report = manager(&servers).check().await.unwrap();
    found(&report, Some(&servers[1].url()), Severity::Warning, &["allkeys-lru", "104857600", "noeviction"]);
    assert!(is_degraded(&report, 3), "{report}");
}

#[tokio::test]
async fn one_server_listed_twice_makes_all_unusable() {
    let servers = Servers::start(2);
    let twin = format!("redis://localhost:{}", servers[0].port());
    let report = locks_on([servers[0].url(), servers[1].url(), twin.clone()]).check().await.unwrap();
    found(&report, None, Severity::Error, &[&twin, &servers[0].url(), "name each server once"]);
    assert!(matches!(report.verdict(), CheckVerdict::Unusable { .. }), "{report}");
}

#[tokio::test]
async fn a_replica_is_told() {
    let servers = Servers::start(3);
    servers[2].probe().replica_of(servers[0].port());
    let report = manager(&servers).check().await.unwrap();
    found(&report, Some(&servers[2].url()), Severity::Error, &["is a replica", "name its master"]);
    assert_eq!(report.nodes()[2].role, Some(Role::Replica), "{report}");
    assert!(is_degraded(&report, 2), "{report}");
}

#[tokio::test]
async fn a_wrong_password_is_told_and_not_printed() {
    let server = RedisServer::start_with(&["--requirepass", "right"]);
    let report = locks_on([format!("redis://:s3cret@127.0.0.1:{}", server.port())]).check().await.unwrap();
    let label = format!("redis://127.0.0.1:{}", server.port());
    found(&report, Some(&label), Severity::Error, &["WRONGPASS", "password into its URL"]);
    assert!(is_unusable(&report, 0), "{report}");
    assert!(!format!("{report} {report:?}").contains("s3cret"), "{report:?}");
}

#[tokio::test]
async fn a_command_that_the_user_lacks_is_named_with_the_rule_that_allows_it() {
    let server = RedisServer::start();
    let label = server.url();
    for (command, step) in [
        ("pexpire", "extended"),
        ("set", "acquired"),
        ("incr", "acquired"),
        ("get", "extended"),
        ("del", "released"),
        ("evalsha", "acquired"),
    ] {
        let url = user(&server, &["allkeys", "+@all", &format!("-{command}")]);
        let report = locks_on([url]).check().await.unwrap();
        let rule = format!("+{command}");
        let upper = command.to_uppercase();
        found(&report, Some(&label), Severity::Error, &[step, &upper, &rule]);
        assert!(is_unusable(&report, 0), "{command}:\n{report}");
        assert!(!format!("{report} {report:?}").contains("s3cret"), "{report:?}");
    }
    let report = locks_on([user(&server, &["allkeys", "+@all"])]).check().await.unwrap();
    assert!(is_degraded(&report, 1), "it saves nothing, but it works:\n{report}");
    eventually_async("what was tried out is gone", async || server.probe().keys().is_empty()).await;
}

#[tokio::test]
async fn keys_that_the_user_may_not_touch_are_named() {
    let server = RedisServer::start();
    let url = user(&server, &["resetkeys", "~redlock:*", "+@all"]);
    let report = locks_on([url.clone()]).check().await.unwrap();
    found(&report, Some(&server.url()), Severity::Error, &["acquired", "~redlock-fence:{redlock:ConfigurableLock.*}"]);

    let unfenced = unhurried().nodes([url]).fencing(false).build().unwrap();
    let report = unfenced.check().await.unwrap();
    assert!(is_degraded(&report, 1), "{report}");
    found(&report, Some(&server.url()), Severity::Note, &["owners of locks are not shown", "~redlock-holder:"]);
    found(&report, Some(&server.url()), Severity::Note, &["not counted", "~Waiting.ConfigurableLock.*"]);
}

#[tokio::test]
async fn how_waiters_are_woken_is_told() {
    let server = RedisServer::start();
    for (rules, wakes, severity) in [
        (&["allkeys", "+@all", "-client|tracking"][..], Wakes::Subscription, Severity::Note),
        (&["allkeys", "+@all", "-client|tracking", "-subscribe"], Wakes::SlowPoll, Severity::Warning),
    ] {
        let report = locks_on([user(&server, rules)]).check().await.unwrap();
        assert_eq!(report.nodes()[0].wakes, Some(wakes), "{report}");
        found(&report, Some(&server.url()), severity, &["track"]);
    }
}

#[tokio::test]
async fn a_user_that_may_not_ask_who_the_server_is_gets_a_warning() {
    let server = RedisServer::start();
    let report = locks_on([user(&server, &["allkeys", "+@all", "-info"])]).check().await.unwrap();
    found(&report, Some(&server.url()), Severity::Warning, &["INFO", "+info"]);
    assert!(is_degraded(&report, 1), "{report}");
    assert_eq!((report.nodes()[0].role, report.nodes()[0].age), (None, None), "{report}");
}

#[tokio::test]
async fn a_node_that_restarted_abstains_and_is_said_to_until_when() {
    const LONGEST: Duration = Duration::from_secs(6);
    let servers = Servers::start(3);
    let uptime = |server: &RedisServer| server.probe().info("server")["uptime_in_seconds"].parse::<u64>().unwrap();
    eventually_async("all servers are old", async || servers.iter().all(|server| uptime(server) >= 10)).await;
    servers[0].restart();
    let locks = unhurried().nodes(servers.urls()).ttl(LONGEST).longest_ttl(LONGEST).build().unwrap();
    let report = locks.check().await.unwrap();
    found(&report, Some(&servers[0].url()), Severity::Warning, &["started", "does not vote", "longest_ttl"]);
    assert!(is_degraded(&report, 2), "{report}");
    eventually_async("it votes again", async || locks.check().await.unwrap().verdict() == CheckVerdict::Healthy).await;
}

#[tokio::test]
async fn a_slow_connection_is_measured_against_the_time_that_an_answer_has() {
    let servers = Servers::start(3);
    let proxy = Proxy::start(&servers[0]);
    proxy.set_both(Flow::Delay(Duration::from_millis(150)));
    let builder = LockManager::builder().nodes([proxy.url(), servers[1].url(), servers[2].url()]);
    let builder = builder.connect_timeout(Duration::from_secs(10));
    let report = builder.clone().node_timeout(Duration::from_millis(750)).build().unwrap().check().await.unwrap();
    found(&report, Some(&proxy.url()), Severity::Warning, &["answers in", "node_timeout"]);
    assert!(report.nodes()[0].round_trip.unwrap() >= Duration::from_millis(300), "{report}");
    assert!(is_degraded(&report, 3), "{report}");
    let report = builder.node_timeout(Duration::from_secs(10)).build().unwrap().check().await.unwrap();
    assert_eq!(report.verdict(), CheckVerdict::Healthy, "{report}");
}

#[tokio::test]
async fn a_single_node_is_warned_of_what_it_forgets() {
    let forgetful = RedisServer::start();
    let report = manager_of(&forgetful).check().await.unwrap();
    found(&report, Some(&forgetful.url()), Severity::Warning, &["only node", "empty", "appendonly yes"]);
    let saving = RedisServer::start_with(&["--save", "3600 1"]);
    let report = manager_of(&saving).check().await.unwrap();
    found(&report, Some(&saving.url()), Severity::Warning, &["only node", "older"]);
    let careful = RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let report = manager_of(&careful).check().await.unwrap();
    assert_eq!(report.verdict(), CheckVerdict::Healthy, "{report}");
}

#[tokio::test]
async fn a_manager_that_was_shut_down_examines_nothing() {
    let locks = LockManager::builder().nodes(["memory://"]).build().unwrap();
    locks.shutdown().await;
    assert!(matches!(locks.check().await, Err(Error::ShutDown)));
}

#[test]
fn nodes_are_examined_without_a_runtime_too() {
    let servers = Servers::start(3);
    let report = manager(&servers).check_blocking().unwrap();
    assert_eq!(report.verdict(), CheckVerdict::Healthy, "{report}");
}
