//! What a server says about itself.

use std::time::{Duration, Instant};

use redis::Value;

use crate::protocol::{Papers, Role};

/// Reads the answers to `INFO server` and `INFO replication`, which came at `now`; `None` if the server does not tell.
pub(super) fn read(server: &Value, replication: &Value, now: Instant, longest_ttl: Duration) -> Option<Papers> {
    let (server, role) = (text(server)?, role(replication)?);
    let uptime = Duration::from_secs(field(server, "uptime_in_seconds")?.parse().ok()?);
    // Servers before 6.2 do not tell.
    let clock = field(server, "server_time_usec").and_then(|clock| clock.parse().ok()).map(Duration::from_micros);
    Some(Papers::new(now, uptime, longest_ttl, field(server, "run_id")?.into(), role).with_clock(clock))
}

/// What is taken for granted about a server that does not tell: that it is a master, and has been for long.
pub(super) fn unknown(now: Instant, longest_ttl: Duration) -> Papers {
    Papers::new(now, Duration::MAX, longest_ttl, crate::entropy::fresh_owner(), Role::Master)
}

/// Reads whether it follows another from the answer to `INFO replication`.
pub(super) fn role(replication: &Value) -> Option<Role> {
    Some(if field(text(replication)?, "role")? == "slave" { Role::Replica } else { Role::Master })
}

/// Reads whether a SET with NX takes GET as well from the answer to `INFO server`; not if that does not say so.
// Source: the history of the command, https://redis.io/docs/latest/commands/set/
pub(super) fn set_tells(server: &Value) -> bool {
    let version = text(server).and_then(|info| field(info, "redis_version"));
    let major: Option<u32> = version.and_then(|version| version.split('.').next()?.parse().ok());
    major.is_some_and(|major| major >= 7)
}

/// Reads which process it is from the answer to `INFO server`.
pub(super) fn run_id(server: &Value) -> Option<&str> {
    field(text(server)?, "run_id")
}

pub(super) fn text(answer: &Value) -> Option<&str> {
    match answer {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Some(text),
        _ => None,
    }
}

pub(super) fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST_TTL: Duration = Duration::from_secs(300);

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    #[test]
    fn what_info_says_is_read() {
        let now = crate::clock::now();
        let server = "# Server\r\nrun_id:abc\r\nuptime_in_seconds:3\r\nuptime_in_days:0\r\n";
        let read =
            |server: &str| read(&bulk(server), &bulk("# Replication\r\nrole:slave\r\n"), now, LONGEST_TTL).unwrap();
        let papers = Papers::new(now, Duration::from_secs(3), LONGEST_TTL, "abc".into(), Role::Replica);
        assert_eq!(read(server), papers);
        let clock = Some(Duration::from_micros(1_795_889_650_869_739));
        assert_eq!(read(&format!("{server}server_time_usec:1795889650869739\r\n")), papers.with_clock(clock));
    }

    #[test]
    fn a_server_that_does_not_tell_is_unknown() {
        let now = crate::clock::now();
        assert_eq!(read(&Value::Nil, &bulk("role:master"), now, LONGEST_TTL), None);
        assert_eq!(read(&bulk("run_id:abc"), &bulk("role:master"), now, LONGEST_TTL), None);
    }
}
