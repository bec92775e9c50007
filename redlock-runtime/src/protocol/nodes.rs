/// A set of nodes, by their position in the configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeSet(u64);

impl NodeSet {
    /// How many nodes a set can tell apart, and with it the largest configuration.
    pub const CAPACITY: usize = 64;

    /// The set of the first `count` nodes.
    #[must_use]
    pub const fn first(count: usize) -> Self {
        // The whole width cannot be shifted out.
        if count == 0 { Self(0) } else { Self(u64::MAX >> (Self::CAPACITY - count)) }
    }

    /// Adds a node; says whether it was not yet in the set.
    pub fn insert(&mut self, node: usize) -> bool {
        let is_new = !self.contains(node);
        self.0 |= 1 << node;
        is_new
    }

    /// Takes a node out; says whether it was in the set.
    pub fn remove(&mut self, node: usize) -> bool {
        let was_in = self.contains(node);
        self.0 &= !(1 << node);
        was_in
    }

    /// Whether a node is in the set.
    #[must_use]
    pub const fn contains(self, node: usize) -> bool {
        self.0 & (1 << node) != 0
    }

    /// How many nodes are in the set.
    #[must_use]
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Whether no node is in the set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The nodes of this set that are not in the other.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The nodes, in the order of the configuration.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        let mut rest = self;
        std::iter::from_fn(move || {
            let first = (!rest.is_empty()).then_some(rest.0.trailing_zeros() as usize)?;
            rest.remove(first);
            Some(first)
        })
    }
}

impl FromIterator<usize> for NodeSet {
    fn from_iter<I: IntoIterator<Item = usize>>(nodes: I) -> Self {
        let mut set = Self::default();
        for node in nodes {
            set.insert(node);
        }
        set
    }
}
