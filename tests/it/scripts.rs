//! Servers that forbid scripts what Redis lets them do: to ask for the time, and to touch keys that are not declared.

use std::time::Duration;

use redis::cmd;
use redlock_runtime::{CheckVerdict, LockInfo, LockManager, Severity};
use redlock_tests::wait::eventually_async;
use redlock_tests::{Gateway, RedisServer};

use crate::common::{a_lock_lives, a_lock_of_keys_lives, unhurried, waiting};

/// How a server refuses what a script may not do.
#[derive(Clone, Copy, Debug)]
enum Refusal {
    /// The call is answered with an error, which a script may ignore.
    Told,
    /// The script ends, however it calls.
    Ends,
}

/// A gateway to the server within whose scripts every call goes through the Lua function `refused`.
fn forbidding(server: &RedisServer, refused: &str, refusal: Refusal) -> Gateway {
    let gateway = Gateway::start(server);
    let pcall = match refusal {
        Refusal::Told => "if refused(...) then return refused(...) end return real.pcall(...)",
        Refusal::Ends => "if refused(...) then error(refused(...)) end return real.pcall(...)",
    };
    gateway.before_scripts(&format!(
        "{refused}
        local real = redis
        local redis = setmetatable({{
            call = function(...) if refused(...) then error(refused(...)) end return real.call(...) end,
            pcall = function(...) {pcall} end,
        }}, {{__index = real}})\n"
    ));
    gateway
}

const NO_TIME: &str = "local function refused(command)
    if command == 'TIME' then return {err = 'ERR This Redis command is not allowed from script'} end
end";

const DECLARED_ALONE: &str = "local declared = {}
for _, key in ipairs(KEYS) do declared[key] = true end
local function refused(command, key)
    if command ~= 'TIME' and command ~= 'PUBLISH' and not declared[key] then
        return {err = 'ERR script tried accessing undeclared key, key: ' .. tostring(key)}
    end
end";

fn manager(url: &str) -> LockManager {
    unhurried().nodes([url]).build().unwrap()
}

/// A user of the server with these rules, through the gateway.
fn user(server: &RedisServer, gateway: &Gateway, rules: &[&str]) -> String {
    let mut rule = cmd("ACL");
    rule.arg("SETUSER").arg("app").arg(&["reset", "on", ">s3cret", "&*"]).arg(rules);
    server.probe().run::<()>(&rule).unwrap();
    format!("redis://app:s3cret@127.0.0.1:{}", gateway.port())
}

async fn labelled(locks: &LockManager, name: &str) -> LockInfo {
    eventually_async("the owner is labelled", async || locks.inspect(name).await.unwrap().owner_label.is_some()).await;
    locks.inspect(name).await.unwrap()
}

/// What the examination found that is no warning, and that all else is well.
async fn notes(locks: &LockManager) -> String {
    let report = locks.check().await.unwrap();
    assert!(report.nodes()[0].can_lock && !matches!(report.verdict(), CheckVerdict::Unusable { .. }), "{report}");
    let notes = report.findings().iter().filter(|finding| finding.severity == Severity::Note);
    notes.map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Locks are labelled, and those who wait are counted until they stop.
async fn labels_and_statistics_work(server: &RedisServer, url: &str) {
    let (here, there) = (manager(url), manager(url));
    let guard = here.lock("x").ttl(Duration::from_secs(20)).owner_label("billing").acquire().await.unwrap();
    let waiter = tokio::spawn(there.lock("x").acquire());
    let info = labelled(&there, "x").await;
    assert_eq!(info.owner_label.as_deref(), Some("billing"));
    assert!(info.held_for.is_some_and(|held_for| held_for < Duration::from_secs(60)), "{info}");
    eventually_async("it is counted", async || waiting(&here, "x").await == 1).await;
    assert_eq!(server.probe().get("Waiting.ConfigurableLock.x").as_deref(), Some("1"));
    guard.extend(Duration::from_secs(200)).await.unwrap();
    let note = server.probe().keys_like("redlock-holder:*").pop().unwrap();
    assert!(server.probe().pttl(&note).remaining().unwrap() > Duration::from_secs(100), "it lives as long as the lock");
    guard.release().await.unwrap();
    let guard = waiter.await.unwrap().unwrap();
    eventually_async("it is not counted any more", async || {
        server.probe().get("Waiting.ConfigurableLock.x").as_deref() == Some("0")
    })
    .await;
    guard.release().await.unwrap();
    assert_eq!(server.probe().keys_like("redlock-holder:*"), [""; 0], "it goes with the lock");
}

/// One who waits is noted beside the lock, so that processes take turns.
async fn turns_work(server: &RedisServer, url: &str) {
    let (here, there) = (manager(url), manager(url));
    let guard = here.lock("y").acquire().await.unwrap();
    let waiter = tokio::spawn(there.lock("y").acquire());
    eventually_async("it is noted", async || !server.probe().keys_like("redlock-waiting:*").is_empty()).await;
    guard.release().await.unwrap();
    waiter.await.unwrap().unwrap().release().await.unwrap();
}

#[tokio::test]
async fn where_scripts_may_not_ask_for_the_time_locks_are_labelled_and_waiters_counted() {
    for refusal in [Refusal::Told, Refusal::Ends] {
        let server = RedisServer::start();
        let gateway = forbidding(&server, NO_TIME, refusal);
        a_lock_of_keys_lives(unhurried().nodes([gateway.url()])).await;
        let refused = manager(&gateway.url()).read("shared").try_acquire().await.unwrap_err();
        assert!(format!("{refused:?}").contains("TIME"), "{refused:?}");
        server.probe().flush_all();
        labels_and_statistics_work(&server, &gateway.url()).await;
        let notes = notes(&manager(&gateway.url())).await;
        let told = "processes do not take turns: its scripts may not call TIME; labels and statistics go by the clocks";
        assert!(notes.contains(told), "{refusal:?}: {notes}");
        assert!(!notes.contains("are not shown") && !notes.contains("are not counted"), "{refusal:?}: {notes}");
    }
}

#[tokio::test]
async fn a_user_who_may_not_ask_for_the_time_has_labels_and_statistics() {
    let server = RedisServer::start();
    let gateway = Gateway::start(&server);
    let url = user(&server, &gateway, &["~*", "+@all", "-time"]);
    labels_and_statistics_work(&server, &url).await;
    let notes = notes(&manager(&url)).await;
    assert!(notes.contains("processes do not take turns: the user may not run TIME"), "{notes}");
    assert!(!notes.contains("are not shown") && !notes.contains("are not counted"), "{notes}");
}

#[tokio::test]
async fn keys_that_scripts_touch_are_declared_where_a_server_insists_on_it() {
    for refusal in [Refusal::Told, Refusal::Ends] {
        let server = RedisServer::start();
        let gateway = forbidding(&server, DECLARED_ALONE, refusal);
        a_lock_lives(unhurried().nodes([gateway.url()])).await;
        server.probe().flush_all();
        labels_and_statistics_work(&server, &gateway.url()).await;
        turns_work(&server, &gateway.url()).await;
        let notes = notes(&manager(&gateway.url())).await;
        for told in ["turns", "are not shown", "are not counted"] {
            assert!(!notes.contains(told), "{refusal:?}: {notes}");
        }
    }
}

#[tokio::test]
async fn where_keys_must_be_declared_that_the_user_may_not_touch_locks_go_on_and_it_is_told() {
    for refusal in [Refusal::Told, Refusal::Ends] {
        let server = RedisServer::start();
        let gateway = forbidding(&server, DECLARED_ALONE, refusal);
        let url = user(&server, &gateway, &["~redlock:*", "~redlock-fence:*", "+@all"]);
        let (here, there) = (manager(&url), manager(&url));
        let guard = here.lock("x").acquire().await.unwrap();
        let asked = gateway.asked("EVALSHA");
        let waiter = tokio::spawn(there.lock("x").timeout(Duration::from_secs(20)).acquire());
        // Refused once, and noted as one who waits with the next attempt.
        eventually_async("it waits", async || gateway.asked("EVALSHA") >= asked + 2).await;
        guard.extend(Duration::from_secs(60)).await.unwrap();
        guard.release().await.unwrap();
        waiter.await.unwrap().unwrap().release().await.unwrap();
        let notes = notes(&here).await;
        for told in ["owners of locks are not shown", "processes do not take turns", "are not counted here"] {
            assert!(notes.contains(told), "{refusal:?}: {told}: {notes}");
        }
    }
}
