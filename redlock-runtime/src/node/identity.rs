//! What a server says about itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::protocol::{Role, ServerInfo};

/// What a server said about itself; each part for itself, because other makes leave some out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct InfoReply {
    /// For how long it has been running.
    pub(in crate::node) uptime: Option<Duration>,
    /// Which process it is: another one after each restart.
    pub(in crate::node) run_id: Option<Arc<str>>,
    /// Which history of writes it has. Its replicas have the same, and it may keep it over a restart.
    pub(in crate::node) replication_id: Option<Arc<str>>,
    /// What it is to others, in its own word.
    pub(in crate::node) role: Option<Arc<str>>,
    /// Its clock, as the time since 1970; servers before 6.2 do not tell.
    pub(in crate::node) clock: Option<Duration>,
}

impl InfoReply {
    /// What decides about its votes, as it told at `now`. What it does not tell is taken for granted: that it has been there
    /// for long, is a master, and no other node.
    pub(in crate::node) fn server_info(&self, now: Instant, longest_ttl: Duration) -> ServerInfo {
        let identity = self.run_id.as_ref().or(self.replication_id.as_ref());
        let identity = identity.map_or_else(crate::platform::entropy::fresh_owner, Arc::clone);
        let role = self.role.as_deref().map_or(Role::Master, read_role);
        ServerInfo::new(now, self.uptime.unwrap_or(Duration::MAX), longest_ttl, identity, role).with_clock(self.clock)
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
pub(in crate::node) fn unknown(now: Instant, longest_ttl: Duration) -> ServerInfo {
    InfoReply::default().server_info(now, longest_ttl)
}

/// Whatever is not called a master takes writes of others as well, and is no voter of its own.
pub(in crate::node) fn read_role(word: &str) -> Role {
    if word.eq_ignore_ascii_case("master") { Role::Master } else { Role::Replica }
}
