//! The nodes that a configuration names, as voters.

use std::collections::HashSet;
use std::sync::Arc;

use redis::Client;

use crate::Error;
use crate::node::custom::ForeignNode;
use crate::node::limits::Limits;
use crate::node::memory::MemoryNode;
use crate::node::redis::RedisNode;
use crate::node::redis::cluster::ClusterNode;
use crate::node::redis::link::dial::{Dial, Origin};
use crate::node::redis::link::endpoint::Endpoint;
use crate::node::redis::link::replicas::Replicas;
use crate::node::redis::link::sentinel::Sentinel;
use crate::node::redis::url;
use crate::node::redis::url::{Target, UrlSettings};
use crate::node::{Node, Voter};
use crate::protocol::{NodeSet, Quorum};

/// What a configuration says about the nodes.
#[derive(Clone, Default)]
pub(crate) struct NodeSettings {
    /// URLs, in the order in which they were given.
    pub(crate) urls: Vec<String>,
    /// Where they stand, if not in the program.
    pub(crate) urls_are_from: Option<&'static str>,
    /// Ready-made, behind those.
    pub(crate) clients: Vec<Client>,
    /// The custom ones, after all these.
    pub(crate) foreign: Vec<Arc<dyn Node>>,
    /// What holds for all URLs.
    pub(crate) all_urls: UrlSettings,
    /// How many replicas of each node must have what it grants.
    pub(crate) replicas: Option<Replicas>,
}

impl NodeSettings {
    pub(crate) fn count(&self) -> usize {
        self.urls.len() + self.clients.len() + self.foreign.len()
    }

    /// The nodes, and their majority. Connects to none.
    pub(crate) fn voters(&self, limits: Limits, fencing: bool) -> Result<(Vec<Arc<dyn Voter>>, Quorum), Error> {
        let count = self.count();
        let Some(quorum) = Quorum::of(count) else {
            return config_error(format!(
                "a lock manager needs 1 to {} nodes and was given {count}; name them with .nodes([\"redis://…\"])",
                NodeSet::CAPACITY,
            ));
        };
        if let Some(Replicas { needed, within }) = self.replicas
            && (needed == 0 || within.is_zero() || within >= limits.node_timeout)
        {
            return config_error(format!(
                "wait_replicas({needed}, {within:?}) is not possible; wait for at least one replica, for less than the \
                 node_timeout, which is {:?}",
                limits.node_timeout
            ));
        }
        let foreign: Vec<_> = self.foreign.iter().map(|node| ForeignNode::new(Arc::clone(node), limits)).collect();
        if let Some(node) = foreign.first().filter(|_| self.replicas.is_some()) {
            return config_error(format!("node {} has no replicas that could be waited for", node.label()));
        }
        let with_counters = quorum.nodes() - foreign.iter().filter(|node| !node.has_counters()).count();
        if fencing && with_counters < quorum.needed() {
            return config_error(format!(
                "{with_counters} of {} nodes have fencing counters and tokens need {}; give the others some \
                 (`Node::has_counters`), or set .fencing(false)",
                quorum.nodes(),
                quorum.needed()
            ));
        }
        let urls = self.urls.iter().enumerate().map(|(index, url)| self.at(index + 1, url, limits));
        let clients = self.clients.iter().enumerate().map(|(index, client)| self.of_client(index + 1, client, limits));
        let foreign = foreign.into_iter().map(|node| Ok(Arc::new(node) as Arc<dyn Voter>));
        let nodes: Vec<_> = urls.chain(clients).chain(foreign).collect::<Result<_, _>>()?;
        let mut seen = HashSet::new();
        if let Some(twice) = nodes.iter().find(|node| !is_anonymous(&***node) && !seen.insert(node.label())) {
            return config_error(format!(
                "node {} is given twice; a majority counts independent nodes, so name each once",
                twice.label()
            ));
        }
        Ok((nodes, quorum))
    }

    /// A URL that cannot be read is named by its position: whatever stands in it may be a password.
    fn at(&self, position: usize, url: &str, limits: Limits) -> Result<Arc<dyn Voter>, Error> {
        if let Some(rest) = url.strip_prefix("memory://") {
            let name = url::read_memory(rest).or_else(|reason| self.refused(position, &reason))?;
            if self.replicas.is_some() {
                return config_error(format!("node {position} is memory://, which has no replicas to wait for"));
            }
            return Ok(Arc::new(MemoryNode::new(name, limits.longest_ttl)));
        }
        let target = url::read(url, &self.all_urls).unwrap_or_else(|| {
            Err("it is not a URL of a Redis node; write redis://host:port, rediss://host:port, redis+unix:///path, \
                 redis+sentinel://host1,host2/service, redis+cluster://host1,host2 or memory://"
                .to_owned())
        });
        match target {
            Ok(Target::Server(endpoint)) => Ok(self.server(endpoint, limits)),
            Ok(Target::Sentinel { sentinels, service, master }) => {
                let label = label("sentinel", &sentinels, &format!("/{service}{}", database(&master)));
                let sentinel = Sentinel::new(sentinels, &service, master, limits.connect_timeout);
                Ok(self.redis_node(Origin::Sentinel(Arc::new(sentinel)), &label, limits))
            }
            Ok(Target::Cluster { seeds }) => {
                let label = label("cluster", &seeds, "");
                Ok(Arc::new(ClusterNode::new(seeds, &label, limits, self.replicas)))
            }
            Err(reason) => self.refused(position, &reason),
        }
    }

    fn refused<T>(&self, position: usize, reason: &str) -> Result<T, Error> {
        let place = self.urls_are_from.map(|place| format!(" in {place}")).unwrap_or_default();
        config_error(format!("node {position}{place}: {reason}"))
    }

    fn of_client(&self, position: usize, client: &Client, limits: Limits) -> Result<Arc<dyn Voter>, Error> {
        let endpoint = Endpoint::of_client(client);
        if endpoint.database() < 0 {
            return config_error(format!("client {position}: the database of its server is below 0; use 0 or another"));
        }
        if endpoint.host_and_port().is_some_and(|(_, port)| port == 0) {
            return config_error(format!(
                "client {position}: the port of its server is 0; use the server's, such as 6379"
            ));
        }
        Ok(self.server(endpoint, limits))
    }

    fn server(&self, endpoint: Endpoint, limits: Limits) -> Arc<dyn Voter> {
        let scheme = match (endpoint.is_at_a_path(), endpoint.is_encrypted()) {
            (true, _) => "redis+unix",
            (false, true) => "rediss",
            (false, false) => "redis",
        };
        let label = format!("{scheme}://{}{}", endpoint.address(), database(&endpoint));
        self.redis_node(Origin::Fixed(endpoint), &label, limits)
    }

    fn redis_node(&self, origin: Origin, label: &str, limits: Limits) -> Arc<dyn Voter> {
        Arc::new(RedisNode::new(Dial::new(origin, label, limits, self.replicas)))
    }
}

/// A URL without credentials.
fn label(kind: &str, servers: &[Endpoint], rest: &str) -> String {
    let is_encrypted = servers.iter().any(Endpoint::is_encrypted);
    let addresses: Vec<_> = servers.iter().map(Endpoint::address).collect();
    format!("redis{}+{kind}://{}{rest}", if is_encrypted { "s" } else { "" }, addresses.join(","))
}

fn database(endpoint: &Endpoint) -> String {
    match endpoint.database() {
        0 => String::new(),
        number => format!("/{number}"),
    }
}

/// Nodes without a name are all different.
fn is_anonymous(node: &dyn Voter) -> bool {
    node.label() == "memory://"
}

pub(super) fn config_error<T>(reason: String) -> Result<T, Error> {
    Err(Error::Config { reason })
}
