use super::NodeSet;

/// One key of a lock on one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At {
    /// The node.
    pub node: usize,
    /// Which of the lock's keys; zero for a lock that has one.
    pub part: u8,
}

impl From<usize> for At {
    fn from(node: usize) -> Self {
        Self { node, part: 0 }
    }
}

/// A set of keys on nodes. For locks that have one key it takes no allocation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AtSet {
    /// On which nodes the first of the keys is meant.
    first: NodeSet,
    /// On which nodes each of the others is. Boxed, because thousands of queues have none.
    others: Option<Box<Others>>,
}

/// The sets of the keys from the second on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Others(Vec<NodeSet>);

impl AtSet {
    /// Adds a key.
    pub fn insert(&mut self, at: At) {
        match usize::from(at.part).checked_sub(1) {
            None => self.first.insert(at.node),
            Some(other) => {
                let Others(others) = &mut **self.others.get_or_insert_default();
                if others.len() <= other {
                    others.resize(other + 1, NodeSet::default());
                }
                others[other].insert(at.node)
            }
        };
    }

    /// Takes a key out.
    pub fn remove(&mut self, at: At) {
        match usize::from(at.part).checked_sub(1) {
            None => self.first.remove(at.node),
            Some(other) => {
                let nodes = self.others.as_deref_mut().and_then(|others| others.0.get_mut(other));
                nodes.is_some_and(|nodes| nodes.remove(at.node))
            }
        };
    }

    /// The nodes on which this key is meant.
    #[must_use]
    pub fn of(&self, part: u8) -> NodeSet {
        match usize::from(part).checked_sub(1) {
            None => self.first,
            Some(other) => self.others().get(other).copied().unwrap_or_default(),
        }
    }

    fn others(&self) -> &[NodeSet] {
        self.others.as_deref().map_or(&[], |others| &others.0)
    }

    /// How many keys may be meant: the others are not, anywhere.
    #[must_use]
    pub fn parts(&self) -> u8 {
        u8::try_from(1 + self.others().len()).unwrap_or(u8::MAX)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = At> {
        (0..self.parts()).flat_map(|part| self.of(part).iter().map(move |node| At { node, part }))
    }

    /// Takes out all of them.
    pub fn clear(&mut self) {
        self.first = NodeSet::default();
        self.others = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_in_is_found_until_it_is_taken_out() {
        let mut set = AtSet::default();
        let all = [At { node: 2, part: 0 }, At { node: 0, part: 3 }, At { node: 63, part: 3 }];
        for at in all {
            set.insert(at);
        }
        assert_eq!(set.iter().collect::<Vec<_>>(), all);
        assert_eq!((set.of(1), set.of(9), set.parts()), (NodeSet::default(), NodeSet::default(), 4));
        set.remove(At { node: 0, part: 3 });
        set.remove(At { node: 0, part: 9 });
        assert_eq!(set.iter().collect::<Vec<_>>(), [all[0], all[2]]);
        set.clear();
        assert_eq!(set.iter().next(), None);
    }
}
