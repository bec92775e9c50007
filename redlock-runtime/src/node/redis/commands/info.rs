//! Reads what a server says about itself: the answers to `INFO`.

use std::sync::Arc;
use std::time::Duration;

use redis::Value;

use crate::node::identity::{InfoReply, read_role};
use crate::protocol::Role;

/// Reads the answers to `INFO server` and `INFO replication`, whichever of them tells.
pub(in crate::node) fn told(server: &Value, replication: &Value) -> InfoReply {
    let find = |name| [server, replication].into_iter().find_map(|answer| field(text(answer)?, name));
    let id = |name| find(name).filter(|id| id.bytes().any(|byte| byte != b'0')).map(Arc::from);
    InfoReply {
        uptime: find("uptime_in_seconds").and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs),
        run_id: id("run_id"),
        replication_id: id("master_replid"),
        role: find("role").filter(|role| !role.is_empty()).map(Arc::from),
        clock: find("server_time_usec").and_then(|clock| clock.parse().ok()).map(Duration::from_micros),
    }
}

/// Reads whether it follows another from the answer to `INFO replication`.
pub(in crate::node) fn role(replication: &Value) -> Option<Role> {
    field(text(replication)?, "role").map(read_role)
}

/// Reads whether a SET with NX takes GET as well from the answer to `INFO server`; not if that does not say so.
// Source: the history of the command, https://redis.io/docs/latest/commands/set/
pub(in crate::node) fn set_tells(server: &Value) -> bool {
    let version = text(server).and_then(|info| field(info, "redis_version"));
    let major: Option<u32> = version.and_then(|version| version.split('.').next()?.parse().ok());
    major.is_some_and(|major| major >= 7)
}

pub(in crate::node) fn text(answer: &Value) -> Option<&str> {
    match answer {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Some(text),
        _ => None,
    }
}

pub(in crate::node) fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::protocol::ServerInfo;

    const LONGEST_TTL: Duration = Duration::from_secs(300);

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    /// What follows from what a server tells in these two.
    fn read(server: &str, replication: &str, now: Instant) -> ServerInfo {
        told(&bulk(server), &bulk(replication)).server_info(now, LONGEST_TTL)
    }

    #[test]
    fn what_info_says_is_read() {
        let now = crate::platform::clock::now();
        let server = "# Server\r\nrun_id:abc\r\nuptime_in_seconds:3\r\nuptime_in_days:0\r\n";
        let read = |server: &str| read(server, "# Replication\r\nrole:slave\r\nmaster_replid:def\r\n", now);
        let server_info = ServerInfo::new(now, Duration::from_secs(3), LONGEST_TTL, "abc".into(), Role::Replica);
        assert_eq!(read(server), server_info);
        let clock = Some(Duration::from_micros(1_795_889_650_869_739));
        assert_eq!(read(&format!("{server}server_time_usec:1795889650869739\r\n")), server_info.with_clock(clock));
    }

    #[test]
    fn each_part_is_read_without_the_others() {
        let now = crate::platform::clock::now();
        let three = Duration::from_secs(3);
        for nobody in ["", "run_id:\r\n", "run_id:0000\r\n"] {
            let replication = "role:master\r\nmaster_replid:def";
            let server_info = read(&format!("{nobody}uptime_in_seconds:3\r\n"), replication, now);
            assert_eq!(server_info, ServerInfo::new(now, three, LONGEST_TTL, "def".into(), Role::Master), "{nobody}");
        }
        let nameless = read("uptime_in_seconds:3", "role:slave", now);
        assert_eq!((nameless.grows_in(now), nameless.role()), (Duration::from_secs(298), Role::Replica));
        assert_ne!(
            nameless.identity(),
            read("uptime_in_seconds:3", "", now).identity(),
            "they are two, for all one knows"
        );
        let ageless = read("run_id:abc\r\nuptime_in_seconds:soon", "role:active-replica", now);
        assert_eq!((ageless.identity(), ageless.role()), ("abc", Role::Replica));
        assert!(ageless.grows_in(now).is_zero());
        // Where one answer has it all.
        assert_eq!(read("", "run_id:abc\nuptime_in_seconds:3\nrole:master", now).identity(), "abc");
    }

    #[test]
    fn a_server_that_does_not_tell_is_an_old_master() {
        let now = crate::platform::clock::now();
        for read in [told(&Value::Nil, &Value::Nil), told(&Value::Okay, &bulk("role:"))] {
            assert_eq!(read, InfoReply::default());
            let server_info = read.server_info(now, LONGEST_TTL);
            assert_eq!((server_info.role(), server_info.grows_in(now)), (Role::Master, Duration::ZERO));
        }
    }
}
