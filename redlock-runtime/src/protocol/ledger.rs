use super::NodeSet;

/// What an ended acquire request left on its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcquireEffect {
    /// The key is set, with our owner value.
    Set,
    /// The node answered that another owner holds the key, or the request never left this process.
    NotSet,
    /// The node answered with an error, or the connection ended first: the key may be set.
    MaybeSet,
}

/// Where one owner value may have left its key, so that it has to be released.
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
}

impl Ledger {
    /// Notes that an acquire was handed to a node.
    pub fn asked(&mut self, node: usize) {
        self.in_flight.insert(node);
    }

    /// Notes how a node's acquire ended.
    pub fn ended(&mut self, node: usize, fate: AcquireEffect) {
        self.in_flight.remove(node);
        match fate {
            AcquireEffect::NotSet => {}
            AcquireEffect::Set | AcquireEffect::MaybeSet => {
                self.suspected.insert(node);
            }
        }
    }

    /// The nodes on which the key is, or may be, set. Those whose acquire has not ended follow when it does.
    #[must_use = "a release that is owed and not sent leaves a key for its TTL"]
    pub fn suspected(&self) -> NodeSet {
        self.suspected
    }

    /// The nodes whose acquire has not ended.
    #[must_use]
    pub fn in_flight(&self) -> NodeSet {
        self.in_flight
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_may_be_set_is_released_when_its_acquire_has_ended_and_not_before() {
        for fate in [AcquireEffect::Set, AcquireEffect::MaybeSet] {
            let mut ledger = Ledger::default();
            ledger.asked(0);
            ledger.asked(1);
            ledger.ended(0, AcquireEffect::Set);
            assert_eq!(ledger.suspected().iter().collect::<Vec<_>>(), [0]);
            ledger.ended(1, fate);
            assert_eq!(ledger.suspected().iter().collect::<Vec<_>>(), [0, 1]);
            assert!(ledger.in_flight().is_empty());
        }
    }

    #[test]
    fn a_node_that_is_held_by_another_owes_nothing() {
        let mut ledger = Ledger::default();
        ledger.asked(0);
        ledger.ended(0, AcquireEffect::NotSet);
        assert!(ledger.suspected().is_empty());
    }
}
