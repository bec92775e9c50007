use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use redis::{Client, ConnectionAddr};

use crate::Error;
use crate::engine::Engine;
use crate::keys::Keys;
use crate::labels;
use crate::node::connection::{Dial, Limits};
use crate::node::foreign::ForeignNode;
use crate::node::memory::MemoryNode;
use crate::node::redis::RedisNode;
use crate::node::{Node, Voter};
use crate::protocol::{Doubt, LONGEST_TTL, NodeSet, Quorum, RETENTION};
use crate::shared::Shared;

/// The settings of a [`LockManager`](crate::LockManager).
#[derive(Clone)]
#[must_use = "a builder does nothing until `build()`"]
pub struct LockManagerBuilder {
    /// URLs, in the order in which they were given.
    nodes: Vec<String>,
    /// Those that somebody else wrote, behind these.
    foreign: Vec<Arc<dyn Node>>,
    /// The TTL of locks that set none.
    ttl: Duration,
    /// How long one node's reply may take.
    node_timeout: Duration,
    /// How long it may take to connect.
    connect_timeout: Duration,
    /// No lock has a longer TTL, and a server that is younger does not vote.
    longest_ttl: Duration,
    /// Whether acquisitions carry fencing tokens.
    fencing: bool,
    /// The greatest difference between the clocks of those who acquire.
    max_clock_skew: Option<Duration>,
    /// How names become keys.
    keys: Keys,
    /// What the owners of locks are called that say nothing else.
    owner_label: Option<Arc<str>>,
}

impl Default for LockManagerBuilder {
    fn default() -> Self {
        Self {
            nodes: Vec::new(),
            foreign: Vec::new(),
            ttl: Duration::from_secs(30),
            node_timeout: Duration::from_millis(250),
            connect_timeout: Duration::from_secs(1),
            longest_ttl: Duration::from_secs(300),
            fencing: true,
            max_clock_skew: Some(Duration::from_secs(60)),
            keys: Keys::default(),
            owner_label: None,
        }
    }
}

impl LockManagerBuilder {
    /// The nodes, as URLs: `redis://[user:password@]host[:port][/database]`, `redis+unix:///path`, or `memory://` and
    /// `memory://NAME` for nodes inside this process. Each must be a master of its own. No default.
    pub fn nodes<I>(self, nodes: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        Self { nodes: nodes.into_iter().map(Into::into).collect(), ..self }
    }

    /// One more node, which somebody else wrote: see [`Node`]. May be called several times; these come behind those of
    /// [`nodes`](Self::nodes).
    pub fn node(self, node: impl Node) -> Self {
        let mut foreign = self.foreign;
        foreign.push(Arc::new(node));
        Self { foreign, ..self }
    }

    /// How long a key outlives a holder that crashed, from 10 ms to a year, for locks that set no TTL of their own.
    /// Default: 30 s.
    pub fn ttl(self, ttl: Duration) -> Self {
        Self { ttl, ..self }
    }

    /// How long one node's answer may take before it counts as no vote. A fifth of a lock's TTL where that is less.
    /// Default: 250 ms.
    pub fn node_timeout(self, node_timeout: Duration) -> Self {
        Self { node_timeout, ..self }
    }

    /// How long it may take to connect to a node, authentication included. Default: 1 s.
    pub fn connect_timeout(self, connect_timeout: Duration) -> Self {
        Self { connect_timeout, ..self }
    }

    /// The longest TTL that any lock on these nodes has, whoever takes it. A node that restarted, and so may have forgotten
    /// what it granted, does not vote before it is older than this while a node can be reached that is a quarter older
    /// still. Wait for 1.25 times as long between the restarts of two nodes. Default: 5 minutes; without effect on a
    /// single node.
    pub fn longest_ttl(self, longest_ttl: Duration) -> Self {
        Self { longest_ttl, ..self }
    }

    /// Whether every acquisition carries a [fencing token](crate::LockGuard::fencing_token). Default: yes.
    pub fn fencing(self, fencing: bool) -> Self {
        Self { fencing, ..self }
    }

    /// The greatest difference between the clocks of any two machines that use these locks; matters only for fencing
    /// tokens, and only where too few nodes remember the earlier ones. `None` trusts no clock: such a lock is then not
    /// acquired at all. Default: 1 minute.
    pub fn max_clock_skew(self, max_clock_skew: impl Into<Option<Duration>>) -> Self {
        Self { max_clock_skew: max_clock_skew.into(), ..self }
    }

    /// What [`LockManager::inspect`](crate::LockManager::inspect) shows as the owner of locks that are acquired here, up to
    /// 512 bytes without control characters; for people, no decision depends on it. It is written beside a lock behind its
    /// back, once that was held for 100 ms: shorter ones cost nothing. Empty: none. Default: host name, process id and,
    /// inside a tokio task, that task's id, such as `worker-3 pid 4711 task 29`.
    pub fn owner_label(self, owner_label: impl Into<String>) -> Self {
        Self { owner_label: Some(owner_label.into().into()), ..self }
    }

    /// What stands before a lock's name in its key. Default: `redlock:ConfigurableLock.`, which configurable-redlock (Python)
    /// uses, so that both exclude each other.
    pub fn lock_prefix(self, prefix: impl Into<String>) -> Self {
        Self { keys: Keys { lock_prefix: prefix.into().into(), ..self.keys }, ..self }
    }

    /// What stands before the name in the key of a waiting counter. Default: `Waiting.ConfigurableLock.`, which
    /// configurable-redlock uses, so that both fill the same statistics.
    pub fn waiting_prefix(self, prefix: impl Into<String>) -> Self {
        Self { keys: Keys { waiting_prefix: prefix.into().into(), ..self.keys }, ..self }
    }

    /// The key of the list of all waiting counters. Default: `ConfigurableLockKeys`, as in configurable-redlock.
    pub fn waiting_list(self, key: impl Into<String>) -> Self {
        Self { keys: Keys { waiting_list: key.into().into(), ..self.keys }, ..self }
    }

    /// What stands before a waiting counter's key in the key that says that the list has it. Default: `Inserted.`, as in
    /// configurable-redlock.
    pub fn inserted_prefix(self, prefix: impl Into<String>) -> Self {
        Self { keys: Keys { marker_prefix: prefix.into().into(), ..self.keys }, ..self }
    }

    pub(crate) fn check(self) -> Result<Shared, Error> {
        let limits = [
            ("node_timeout", self.node_timeout),
            ("connect_timeout", self.connect_timeout),
            ("longest_ttl", self.longest_ttl),
        ];
        for (setting, value) in limits {
            if value.is_zero() || value > LONGEST_TTL {
                return config_error(format!("a {setting} of {value:?} is not possible; use more than zero"));
            }
        }
        let Some(quorum) = Quorum::of(self.nodes.len() + self.foreign.len()) else {
            return config_error(format!(
                "a lock manager needs 1 to {} nodes and was given {}; name them with .nodes([\"redis://…\"])",
                NodeSet::CAPACITY,
                self.nodes.len() + self.foreign.len()
            ));
        };
        let foreign: Vec<_> =
            self.foreign.iter().map(|node| ForeignNode::new(Arc::clone(node), self.limits())).collect();
        let with_counters = quorum.nodes() - foreign.iter().filter(|node| !node.has_counters()).count();
        if self.fencing && with_counters < quorum.needed() {
            return config_error(format!(
                "{with_counters} of {} nodes have fencing counters and tokens need {}; give the others some \
                 (`Node::has_counters`), or set .fencing(false)",
                quorum.nodes(),
                quorum.needed()
            ));
        }
        let by_url = self.nodes.iter().enumerate().map(|(index, url)| self.node_at(index + 1, url));
        let foreign = foreign.into_iter().map(|node| Ok(Arc::new(node) as Arc<dyn Voter>));
        let nodes: Vec<_> = by_url.chain(foreign).collect::<Result<_, _>>()?;
        let mut seen = HashSet::new();
        if let Some(twice) = nodes.iter().find(|node| !is_anonymous(&***node) && !seen.insert(node.label())) {
            return config_error(format!(
                "node {} is given twice; a majority counts independent nodes, so name each once",
                twice.label()
            ));
        }
        let longest_ttl = if nodes.len() > 1 { self.longest_ttl } else { LONGEST_TTL };
        if let Some(label) = &self.owner_label {
            labels::check(label)?;
        }
        let doubt = match self.max_clock_skew {
            // Whoever finds a counter gone knows that it was not used for three quarters of the retention, by any clock.
            Some(max_clock_skew) if max_clock_skew > RETENTION / 2 => {
                return config_error(format!(
                    "a max_clock_skew of {max_clock_skew:?} is longer than counters are kept for; use at most {:?}",
                    RETENTION / 2
                ));
            }
            Some(max_clock_skew) => Doubt::Clocks { max_clock_skew },
            None => Doubt::Refuse,
        };
        let engine = Engine::new(nodes, quorum, self.node_timeout);
        let shared =
            Shared::new(engine, self.keys, self.ttl, longest_ttl, self.fencing.then_some(doubt), self.owner_label);
        shared.check_ttl("ttl", self.ttl)?;
        Ok(shared)
    }

    fn limits(&self) -> Limits {
        Limits { node_timeout: self.node_timeout, connect_timeout: self.connect_timeout, longest_ttl: self.longest_ttl }
    }

    /// A URL that cannot be read is named by its position: whatever stands in it may be a password.
    fn node_at(&self, position: usize, url: &str) -> Result<Arc<dyn Voter>, Error> {
        let limits = self.limits();
        match url.split_once("://") {
            Some(("memory", name)) if name.contains(['@', ':', '/', '?']) => config_error(format!(
                "node {position} is memory:// with a name that looks like a server's address; use a plain name"
            )),
            Some(("memory", name)) => Ok(Arc::new(MemoryNode::new(name, self.longest_ttl))),
            Some(("redis" | "redis+unix" | "unix", _)) => match Client::open(url) {
                Ok(client) => {
                    let label = label_of(&client);
                    Ok(Arc::new(RedisNode::new(Dial::new(client, &label, limits))))
                }
                // The client's error may repeat what it was given.
                Err(error) => config_error(format!(
                    "node {position} cannot be read as a URL ({}); write redis://[user:password@]host[:port][/database], \
                     with %-escapes for the characters @ : / ? # and , in a password",
                    error.category()
                )),
            },
            Some((scheme @ ("rediss" | "redis+sentinel" | "redis+cluster"), _)) => config_error(format!(
                "node {position}: {scheme}:// is not supported by this version; use redis://, redis+unix:// or memory://"
            )),
            Some(_) | None => config_error(format!(
                "node {position} is not a URL of a Redis node; write redis://host:port, redis+unix:///path or memory://"
            )),
        }
    }
}

impl fmt::Debug for LockManagerBuilder {
    /// Without the URLs: they are read, and told apart from passwords, in `build()`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockManagerBuilder")
            .field("nodes", &(self.nodes.len() + self.foreign.len()))
            .field("ttl", &self.ttl)
            .field("node_timeout", &self.node_timeout)
            .field("connect_timeout", &self.connect_timeout)
            .finish_non_exhaustive()
    }
}

/// The address, without credentials.
fn label_of(client: &Client) -> String {
    let info = client.get_connection_info();
    let database = match info.redis_settings().db() {
        0 => String::new(),
        number => format!("/{number}"),
    };
    match info.addr() {
        ConnectionAddr::Tcp(host, port) => format!("redis://{host}:{port}{database}"),
        ConnectionAddr::Unix(path) => format!("redis+unix://{}", path.display()),
        other => other.to_string(),
    }
}

/// Nodes without a name are all different.
fn is_anonymous(node: &dyn Voter) -> bool {
    node.label() == "memory://"
}

fn config_error<T>(reason: String) -> Result<T, Error> {
    Err(Error::Config { reason })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LockManager;

    fn check(nodes: &[&str], expect: &str) {
        let error = LockManager::builder().nodes(nodes.iter().copied()).build().unwrap_err().to_string();
        assert!(error.contains(expect), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }

    #[test]
    fn what_cannot_be_a_configuration_is_refused_with_the_cure() {
        check(&[], "needs 1 to 64 nodes and was given 0");
        check(&["memory://"; 65], "was given 65");
        check(&["memory://a", "memory://a"], "memory://a is given twice");
        check(&["redis://u:secret@h:1", "redis://h:1"], "redis://h:1 is given twice");
        check(&["redis://h", "localhost:6379"], "node 2 is not a URL of a Redis node");
        check(&["http://u:secret@host"], "node 1 is not a URL");
        check(&["rediss://u:secret@host"], "rediss:// is not supported");
        check(&[""], "node 1 is not a URL");
        check(&["memory://u:secret@h"], "use a plain name");
        for url in ["redis://u:secret@host:port", "redis://u:secret", "redis://u:se/cret@h", "redis://:secret@"] {
            if let Err(error) = LockManager::builder().nodes([url]).build() {
                assert!(!error.to_string().contains("secret"), "{error}");
            }
        }
    }

    #[test]
    fn times_out_of_bounds_are_refused() {
        let builder = || LockManager::builder().nodes(["memory://"]);
        for ttl in [Duration::ZERO, Duration::from_millis(2), Duration::MAX] {
            assert!(builder().ttl(ttl).build().is_err(), "{ttl:?}");
        }
        assert!(builder().node_timeout(Duration::ZERO).build().is_err());
    }

    #[test]
    fn no_credentials_are_printed() {
        for (url, printed) in [
            ("redis://user:s%40cret@host:1/2", "redis://host:1/2"),
            ("redis://:secret@host", "redis://host:6379"),
            ("redis+unix:///tmp/s?pass=my@secret", "redis+unix:///tmp/s"),
            ("redis://u:secret@host:1/0?x=a@b", "redis://host:1"),
        ] {
            let builder = LockManager::builder().nodes([url]);
            assert!(!format!("{builder:?}").contains("cret"), "{builder:?}");
            let manager = format!("{:?}", builder.build().unwrap());
            assert!(manager.contains(printed) && !manager.contains("cret"), "{manager}");
        }
    }
}
