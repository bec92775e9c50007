use super::NodeSet;

/// How many of the configured nodes make a majority.
///
/// It is always counted over the nodes that were *configured*, never over those that could be reached: two
/// majorities of one configuration share a node, two majorities of different reachable sets need not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quorum {
    /// All configured nodes, reachable or not.
    nodes: usize,
}

impl Quorum {
    /// The quorum of a configuration of `nodes` nodes; `None` for none at all and for more than
    /// [`NodeSet::CAPACITY`].
    #[must_use]
    pub const fn of(nodes: usize) -> Option<Self> {
        if nodes == 0 || nodes > NodeSet::CAPACITY { None } else { Some(Self { nodes }) }
    }

    /// How many nodes are configured.
    #[must_use]
    pub const fn nodes(self) -> usize {
        self.nodes
    }

    /// How many nodes have to agree: N/2 + 1.
    // Source: "the majority of the instances", https://redis.io/docs/latest/develop/use/patterns/distributed-locks/
    #[must_use]
    pub const fn needed(self) -> usize {
        self.nodes / 2 + 1
    }

    /// How many nodes can be missing while the others still are a majority.
    #[must_use]
    pub const fn spare(self) -> usize {
        self.nodes - self.needed()
    }
}
