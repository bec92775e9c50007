//! A cluster as one of its nodes sees it.

use std::ops::RangeInclusive;

use crate::ports;

/// The nodes, by port; two views of one cluster are the same when their nodes agree on who does what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct View(Vec<Node>);

/// One node in a view.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Node {
    /// The port that clients use.
    pub(crate) port: u16,
    /// Its name in the cluster.
    pub(crate) id: String,
    /// The name of the master that it follows, for a replica.
    pub(crate) master: Option<String>,
    /// Whether it is believed to answer; never agreed on at the same moment, so that it is looked at by itself.
    pub(crate) is_well: bool,
    /// The slots that it serves.
    slots: Vec<(u16, u16)>,
}

impl View {
    /// Reads what CLUSTER NODES answers; `None` for something else.
    ///
    /// <https://redis.io/docs/latest/commands/cluster-nodes/#serialization-format>
    pub(crate) fn parse(answer: &str) -> Option<Self> {
        let mut nodes = answer.lines().map(Node::parse).collect::<Option<Vec<_>>>()?;
        nodes.sort_unstable();
        Some(Self(nodes))
    }

    /// The node at this port.
    pub(crate) fn at(&self, port: u16) -> Option<&Node> {
        self.0.iter().find(|node| node.port == port)
    }

    /// The node with this name.
    pub(crate) fn named(&self, id: &str) -> Option<&Node> {
        self.0.iter().find(|node| node.id == id)
    }

    /// All nodes.
    pub(crate) fn nodes(&self) -> &[Node] {
        &self.0
    }

    /// The node that serves the slot.
    pub(crate) fn owner(&self, slot: u16) -> Option<&Node> {
        self.0.iter().find(|node| node.slots().any(|slots| slots.contains(&slot)))
    }

    /// Whether the other view says the same of who serves what, and who follows whom.
    pub(crate) fn agrees_with(&self, other: &Self) -> bool {
        let roles = |node: &Node| (node.port, node.id.clone(), node.master.clone(), node.slots.clone());
        self.0.iter().map(roles).eq(other.0.iter().map(roles))
    }
}

impl Node {
    fn parse(line: &str) -> Option<Self> {
        let fields: Vec<&str> = line.split(' ').collect();
        let [id, address, flags, master, _ping, _pong, _epoch, _link, slots @ ..] = fields.as_slice() else {
            return None;
        };
        // 127.0.0.1:20001@30001,hostname: to whom comes through a socket, some servers with TLS say 0 for the first.
        let bus: u16 = address.split(['@', ',']).nth(1)?.parse().ok()?;
        let port = bus.checked_sub(ports::BUS)?;
        let is_well = flags.split(',').all(|flag| matches!(flag, "myself" | "master" | "slave" | "nofailover"));
        let master = (*master != "-").then(|| (*master).to_owned());
        // A slot on its way stands there again, in brackets.
        let slots = slots.iter().filter(|slots| !slots.starts_with('[')).map(|slots| range(slots));
        Some(Self { port, id: (*id).to_owned(), master, is_well, slots: slots.collect::<Option<_>>()? })
    }

    fn slots(&self) -> impl Iterator<Item = RangeInclusive<u16>> {
        self.slots.iter().map(|(first, last)| *first..=*last)
    }

    /// Whether it serves anything.
    pub(crate) fn serves(&self) -> bool {
        !self.slots.is_empty()
    }
}

/// `0-5460` or `7`.
fn range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    Some((first.parse().ok()?, last.parse().ok()?))
}
