use super::NodeSet;

/// What an ended acquire request left on its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The key is set, with our owner value.
    Set,
    /// The node answered that another owner holds the key, or the request never left this process.
    NotSet,
    /// The node answered with an error, or the connection ended first: the key may be set.
    MaybeSet,
}

/// Where one owner value may have left its key, and which releases are owed for it.
///
/// Two rules, both learnt from keys that stayed for a full TTL:
///
/// - whatever is not known to be *not set* is released, errors included;
/// - a release starts only when that owner's acquire on that node has ended, or it could overtake the acquire
///   (the script's reload after a restart lands behind a release that was sent right after it).
#[derive(Clone, Copy, Debug, Default)]
pub struct Ledger {
    /// Nodes whose acquire has not ended.
    in_flight: NodeSet,
    /// Nodes on which the key is, or may be, set.
    suspected: NodeSet,
    /// Whether this owner gave up, or gave back, the lock.
    is_over: bool,
}

impl Ledger {
    /// Notes that an acquire was handed to a node.
    pub fn asked(&mut self, node: usize) {
        self.in_flight.insert(node);
    }

    /// Notes how a node's acquire ended; says whether a release is owed to that node *now*.
    #[must_use = "a release that is owed and not sent leaves a key for its TTL"]
    pub fn ended(&mut self, node: usize, fate: Fate) -> bool {
        self.in_flight.remove(node);
        match fate {
            Fate::NotSet => false,
            Fate::Set | Fate::MaybeSet => {
                self.suspected.insert(node);
                self.is_over
            }
        }
    }

    /// Notes that the owner is done; returns the nodes to which a release is owed now. The nodes whose acquire is
    /// in flight follow when it ends.
    #[must_use = "a release that is owed and not sent leaves a key for its TTL"]
    pub fn over(&mut self) -> NodeSet {
        self.is_over = true;
        self.suspected
    }

    /// The nodes on which the key is, or may be, set.
    #[must_use]
    pub fn suspected(&self) -> NodeSet {
        self.suspected
    }

    /// The nodes whose acquire has not ended.
    #[must_use]
    pub fn in_flight(&self) -> NodeSet {
        self.in_flight
    }

    /// Notes that a node confirmed the release.
    pub fn released(&mut self, node: usize) {
        self.suspected.remove(node);
    }

    /// Whether nothing of this owner can be left on any node.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.in_flight.is_empty() && self.suspected.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_straggler_that_may_have_set_the_key_is_released_when_it_ends_and_not_before() {
        for fate in [Fate::Set, Fate::MaybeSet] {
            let mut ledger = Ledger::default();
            ledger.asked(0);
            ledger.asked(1);
            assert!(!ledger.ended(0, Fate::Set));
            assert_eq!(ledger.over().iter().collect::<Vec<_>>(), [0]);
            assert!(ledger.ended(1, fate));
            ledger.released(0);
            assert!(!ledger.is_settled());
            ledger.released(1);
            assert!(ledger.is_settled());
        }
    }

    #[test]
    fn a_node_that_is_held_by_another_owes_nothing() {
        let mut ledger = Ledger::default();
        ledger.asked(0);
        assert!(!ledger.ended(0, Fate::NotSet));
        assert!(ledger.over().is_empty());
        assert!(ledger.is_settled());
    }
}
