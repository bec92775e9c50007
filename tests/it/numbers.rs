//! Whatever numbers a node tells, at whatever end of their range: what is made of them may be wrong, and nothing panics.

use std::sync::Arc;
use std::time::Duration;

use redis::cmd;
use redlock_runtime::node::{
    Acquire, BoxFuture, Commit, Extend, Held, Identity, Node, NodeError, Outcome, Release, Vote,
};
use redlock_runtime::{Error, LockManager, LockState};
use redlock_tests::gateway::Answer;
use redlock_tests::{Gateway, RedisServer, Servers};

use crate::common::counters::{LIST, counter};
use crate::common::cycles::patient;
use crate::common::{causes, key, unhurried};

const LONG: Duration = Duration::from_secs(60);

/// Looks at a lock, and waits for it, in every way that there is.
async fn look(locks: &LockManager, what: &str) {
    assert!(locks.is_locked("x").await.unwrap(), "{what}");
    let info = locks.inspect("x").await.unwrap();
    assert!(info.is_locked() && !info.to_string().is_empty(), "{what}: {info}");
    let mut watch = locks.watch("x");
    assert_eq!(watch.next().await.unwrap().state, LockState::Held, "{what}");
    // It looks again and again meanwhile.
    tokio::time::timeout(Duration::from_millis(1_200), watch.next()).await.expect_err("nothing changes");
    let mut all = locks.watch_all();
    assert_eq!(all.next().await.unwrap().name, "x", "{what}");
    assert!(locks.lock("x").try_acquire().await.unwrap().is_none(), "{what}");
    let waited = locks.lock("x").timeout(Duration::from_secs(2)).acquire().await;
    assert!(matches!(waited, Err(Error::NotAcquired { .. })), "{what}: {:?}", waited.err());
    assert!(!locks.check().await.unwrap().to_string().is_empty(), "{what}");
}

/// A node whose keys all are somebody's for ever, and which is as old as can be.
struct ForEver(&'static str);

impl Node for ForEver {
    fn label(&self) -> &str {
        self.0
    }

    fn acquire(&self, _: Acquire) -> BoxFuture<'_, Result<Vote, NodeError>> {
        Box::pin(async { Ok(Vote::held_by("somebody", Some(Duration::MAX)).with_counter(Some(7))) })
    }

    fn extend(&self, _: Extend) -> BoxFuture<'_, Result<Outcome, NodeError>> {
        Box::pin(async { Ok(Outcome::OtherOwner) })
    }

    fn release(&self, _: Release) -> BoxFuture<'_, Result<Outcome, NodeError>> {
        Box::pin(async { Ok(Outcome::OtherOwner) })
    }

    fn has_counters(&self) -> bool {
        true
    }

    fn commit(&self, _: Commit) -> BoxFuture<'_, Result<Option<u64>, NodeError>> {
        Box::pin(async { Ok(Some(u64::MAX)) })
    }

    fn identity(&self) -> Option<Identity> {
        Some(Identity::new(self.0, Duration::MAX))
    }

    fn inspect(&self, _: Arc<str>) -> BoxFuture<'_, Result<Option<Held>, NodeError>> {
        Box::pin(async { Ok(Some(Held::new("somebody", Some(Duration::MAX)))) })
    }

    fn list(&self, prefix: Arc<str>) -> BoxFuture<'_, Result<Vec<String>, NodeError>> {
        Box::pin(async move { Ok(vec![format!("{prefix}x")]) })
    }
}

#[tokio::test]
async fn a_node_of_somebody_elses_may_tell_of_keys_that_live_for_ever() {
    let nodes = ["for ever 1", "for ever 2", "for ever 3"];
    let locks = nodes.into_iter().fold(unhurried(), |builder, node| builder.node(ForEver(node)));
    look(&locks.build().unwrap(), "for ever").await;
}

/// A gateway to the server within whose scripts every key lives for this long.
fn living_for(server: &RedisServer, milliseconds: &str) -> Gateway {
    let gateway = Gateway::start(server);
    gateway.before_scripts(&format!(
        "local real = redis
        local function live(command, ...)
            if string.upper(command) == 'PTTL' then return {milliseconds} end
            return real.call(command, ...)
        end
        local redis = setmetatable({{ call = live }}, {{__index = real}})\n"
    ));
    gateway
}

#[tokio::test]
async fn a_server_may_tell_of_keys_that_live_for_any_time() {
    for milliseconds in ["9223372036854774784", "-9223372036854775808", "9007199254740993", "-1", "0"] {
        let server = RedisServer::start();
        let gateway = living_for(&server, milliseconds);
        let locks = patient([gateway.url()]);
        server.probe().set_for(&key("x"), "somebody", LONG);
        look(&locks, milliseconds).await;
        let guard = locks.lock("y").ttl(LONG).acquire().await.unwrap();
        guard.extend(LONG).await.unwrap();
        let _ = guard.release().await;
        for (one, other) in [(locks.read("z"), locks.write("z")), (locks.write("zz"), locks.read("zz"))] {
            let guard = one.ttl(LONG).acquire().await.unwrap();
            assert!(other.ttl(LONG).try_acquire().await.unwrap().is_none(), "{milliseconds}");
            assert!(locks.inspect(guard.name()).await.unwrap().shared.is_some(), "{milliseconds}");
        }
        let _permit = locks.lock("p").permits(1).ttl(LONG).acquire().await.unwrap();
        assert!(locks.lock("p").permits(1).try_acquire().await.unwrap().is_none(), "{milliseconds}");
        assert_eq!(locks.inspect("p").await.unwrap().permits.len(), 1, "{milliseconds}");
    }
}

#[tokio::test]
async fn a_server_may_be_of_any_age() {
    for age in ["18446744073709551615", "9223372036854775807", "18446744073709551616", "-1", "soon"] {
        let servers = Servers::start(3);
        let gateways: Vec<_> = servers.iter().map(Gateway::start).collect();
        for gateway in &gateways {
            gateway.answer(
                "INFO",
                Answer::edited(move |info| {
                    let lines = info.split_inclusive('\n').map(|line| match line.strip_prefix("uptime_in_seconds:") {
                        Some(_) => format!("uptime_in_seconds:{age}\r\n"),
                        None => line.to_owned(),
                    });
                    lines.collect()
                }),
            );
        }
        let locks = patient(gateways.iter().map(Gateway::url));
        locks.lock("y").acquire().await.unwrap().release().await.unwrap();
        for server in &servers {
            server.probe().set_for(&key("x"), "somebody", LONG);
        }
        look(&locks, age).await;
        assert!(locks.nodes().await.unwrap().iter().all(|node| !node.to_string().is_empty()));
    }
}

#[tokio::test]
async fn any_number_may_stand_where_waiters_are_counted() {
    for number in ["9223372036854775807", "-9223372036854775808", "999999999999999", "-99999999999999", "1e9"] {
        let servers = Servers::start(3);
        let locks = patient(servers.urls());
        for server in &servers {
            server.probe().set_for(&key("x"), "somebody", LONG);
            server.probe().set(&counter("x"), number);
            server.probe().append(LIST, &format!("{:?}", counter("x")));
        }
        look(&locks, number).await;
        let told = locks.statistics().await.unwrap();
        let everywhere = told.get("x").map_or(0, |x| x.everywhere);
        // Some are possible, in all three.
        assert!(everywhere <= 3 * 999_999_999_999_999, "{number}: {told}");
        assert!(locks.inspect_each(["x"]).await.unwrap()[0].waiting <= everywhere.max(1), "{number}");
    }
}

#[tokio::test]
async fn any_number_of_replicas_may_be_counted() {
    for (number, is_enough) in [("9223372036854775807", true), ("-1", false), ("-9223372036854775808", false)] {
        let server = RedisServer::start();
        let gateway = Gateway::start(&server);
        gateway.answer("WAIT", Answer::raw(format!(":{number}\r\n")));
        let builder = unhurried().nodes([gateway.url()]).node_timeout(Duration::from_secs(3));
        let locks = builder.wait_replicas(1, Duration::from_millis(100)).build().unwrap();
        let acquired = locks.lock("x").try_acquire().await;
        match acquired {
            Ok(guard) => assert!(is_enough && guard.is_some(), "{number}"),
            Err(error) => {
                let told = causes(&error);
                assert!(!is_enough && told.contains("only 0 of the 1 replicas"), "{number}: {told}");
            }
        }
    }
}

/// What a script finds in the hash of labels that anybody may write.
#[tokio::test]
async fn any_number_may_stand_in_a_label() {
    for number in ["9223372036854775807", "-9223372036854775808", "18446744073709551615", "1e300", "nan", "-1"] {
        let server = RedisServer::start();
        let locks = patient([server.url()]);
        server.probe().set_for(&key("x"), "somebody", LONG);
        let note = format!("redlock-holder:{{{}}}", key("x"));
        let fields = ["owner", "somebody", "label", "me", "since", number, "token", number];
        server.probe().run::<()>(cmd("HSET").arg(&note).arg(&fields)).unwrap();
        look(&locks, number).await;
    }
}
