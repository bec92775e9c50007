//! What a server says about itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::Value;

use crate::protocol::{Papers, Role};

/// What a server said about itself; each part for itself, because other makes leave some out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    /// For how long it has been running.
    uptime: Option<Duration>,
    /// Which process it is: another one after each restart.
    run_id: Option<Arc<str>>,
    /// Which history of writes it has. Its replicas have the same, and it may keep it over a restart.
    replication_id: Option<Arc<str>>,
    /// What it is to others, in its own word.
    role: Option<Arc<str>>,
    /// Its clock, as the time since 1970; servers before 6.2 do not tell.
    clock: Option<Duration>,
}

impl Told {
    /// Reads the answers to `INFO server` and `INFO replication`, whichever of them tells.
    pub(in crate::node) fn read(server: &Value, replication: &Value) -> Self {
        let find = |name| [server, replication].into_iter().find_map(|answer| field(text(answer)?, name));
        let id = |name| find(name).filter(|id| id.bytes().any(|byte| byte != b'0')).map(Arc::from);
        Self {
            uptime: find("uptime_in_seconds").and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs),
            run_id: id("run_id"),
            replication_id: id("master_replid"),
            role: find("role").filter(|role| !role.is_empty()).map(Arc::from),
            clock: find("server_time_usec").and_then(|clock| clock.parse().ok()).map(Duration::from_micros),
        }
    }

    /// What decides about its votes, as it told at `now`. What it does not tell is taken for granted: that it has been there
    /// for long, is a master, and no other node.
    pub(in crate::node) fn papers(&self, now: Instant, longest_ttl: Duration) -> Papers {
        let identity = self.run_id.as_ref().or(self.replication_id.as_ref());
        let identity = identity.map_or_else(crate::platform::entropy::fresh_owner, Arc::clone);
        let role = self.role.as_deref().map_or(Role::Master, read_role);
        Papers::new(now, self.uptime.unwrap_or(Duration::MAX), longest_ttl, identity, role).with_clock(self.clock)
    }

    /// Which process it is, if it tells.
    pub(in crate::node) fn run_id(&self) -> Option<&Arc<str>> {
        self.run_id.as_ref()
    }

    /// Whether it tells for how long it has been running.
    pub(crate) fn has_age(&self) -> bool {
        self.uptime.is_some()
    }

    /// Whether it tells who it is, so that it is noticed if it is named twice.
    pub(crate) fn has_identity(&self) -> bool {
        self.run_id.is_some() || self.replication_id.is_some()
    }

    /// What it is to others, in its own word.
    pub(crate) fn role(&self) -> Option<&str> {
        self.role.as_deref()
    }
}

/// What is taken for granted about a server that does not tell: that it is a master, and has been for long.
pub(in crate::node) fn unknown(now: Instant, longest_ttl: Duration) -> Papers {
    Told::default().papers(now, longest_ttl)
}

/// Reads whether it follows another from the answer to `INFO replication`.
pub(in crate::node) fn role(replication: &Value) -> Option<Role> {
    field(text(replication)?, "role").map(read_role)
}

/// Whatever is not called a master takes writes of others as well, and is no voter of its own.
fn read_role(word: &str) -> Role {
    if word.eq_ignore_ascii_case("master") { Role::Master } else { Role::Replica }
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
    use super::*;

    const LONGEST_TTL: Duration = Duration::from_secs(300);

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    /// The papers of a server that tells these two.
    fn read(server: &str, replication: &str, now: Instant) -> Papers {
        Told::read(&bulk(server), &bulk(replication)).papers(now, LONGEST_TTL)
    }

    #[test]
    fn what_info_says_is_read() {
        let now = crate::platform::clock::now();
        let server = "# Server\r\nrun_id:abc\r\nuptime_in_seconds:3\r\nuptime_in_days:0\r\n";
        let read = |server: &str| read(server, "# Replication\r\nrole:slave\r\nmaster_replid:def\r\n", now);
        let papers = Papers::new(now, Duration::from_secs(3), LONGEST_TTL, "abc".into(), Role::Replica);
        assert_eq!(read(server), papers);
        let clock = Some(Duration::from_micros(1_795_889_650_869_739));
        assert_eq!(read(&format!("{server}server_time_usec:1795889650869739\r\n")), papers.with_clock(clock));
    }

    #[test]
    fn each_part_is_read_without_the_others() {
        let now = crate::platform::clock::now();
        let three = Duration::from_secs(3);
        for nobody in ["", "run_id:\r\n", "run_id:0000\r\n"] {
            let replication = "role:master\r\nmaster_replid:def";
            let papers = read(&format!("{nobody}uptime_in_seconds:3\r\n"), replication, now);
            assert_eq!(papers, Papers::new(now, three, LONGEST_TTL, "def".into(), Role::Master), "{nobody}");
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
        for told in [Told::read(&Value::Nil, &Value::Nil), Told::read(&Value::Okay, &bulk("role:"))] {
            assert_eq!(told, Told::default());
            let papers = told.papers(now, LONGEST_TTL);
            assert_eq!((papers.role(), papers.grows_in(now)), (Role::Master, Duration::ZERO));
        }
    }
}
