use std::sync::Arc;

use super::Quorum;

/// What stands behind the owner in a key that a release keeps for a while (`min_hold`): the lock is still taken, but by
/// nobody who could extend it.
pub const RELEASED: &str = ":released";

/// The owners that an attempt was refused for.
///
/// When several ask at once, each may get some nodes and none a majority: all are refused, and nobody holds the lock.
/// Only the owners tell that apart from a lock that is held.
#[derive(Clone, Debug, Default)]
pub struct Rivals(Vec<(Arc<str>, usize)>);

impl Rivals {
    /// Records that a node has this owner's key, released or not.
    pub fn record(&mut self, owner: &Arc<str>) {
        match self.0.iter_mut().find(|(known, _)| holder(known) == holder(owner)) {
            Some((_, nodes)) => *nodes += 1,
            None => self.0.push((Arc::clone(owner), 1)),
        }
    }

    /// Whether the predecessor's key can no longer be on a majority of the nodes: another owner has that, or so many nodes have no
    /// key at all (`missing`). Only those who try to adopt the lock still act for the predecessor.
    ///
    /// Where several would take it over at once, each may get some nodes and none a majority; all of them give back what they
    /// got, and then it is the owner's as before.
    #[must_use]
    pub fn rule_out(&self, missing: usize, quorum: Quorum) -> bool {
        self.has_holder(quorum) || missing > quorum.spare()
    }

    /// Whether one of them was seen on a majority of the nodes.
    #[must_use]
    pub fn has_holder(&self, quorum: Quorum) -> bool {
        self.0.iter().any(|(_, nodes)| *nodes >= quorum.needed())
    }
}

pub(super) fn holder(owner: &str) -> &str {
    owner.strip_suffix(RELEASED).unwrap_or(owner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(owners: &[&str], expect: bool) {
        let mut rivals = Rivals::default();
        for owner in owners {
            rivals.record(&Arc::from(*owner));
        }
        assert_eq!(rivals.has_holder(Quorum::of(5).unwrap()), expect, "{owners:?}");
    }

    #[test]
    fn a_lock_is_held_only_if_one_owner_has_a_majority() {
        check(&["a", "a", "a"], true);
        check(&["b", "a", "a", "b", "a"], true);
        check(&["a", "a", "b", "b", "c"], false);
        check(&[], false);
    }

    #[test]
    fn an_owner_is_ruled_out_by_one_other_on_a_majority_or_by_keys_that_are_gone() {
        let check = |owners: &[&str], missing, expect| {
            let mut rivals = Rivals::default();
            for owner in owners {
                rivals.record(&Arc::from(*owner));
            }
            assert_eq!(rivals.rule_out(missing, Quorum::of(5).unwrap()), expect, "{owners:?} and {missing}");
        };
        check(&["a", "a", "a"], 0, true);
        check(&["a", "a", "b", "b"], 0, false);
        check(&["a", "b"], 2, false);
        check(&[], 3, true);
    }

    #[test]
    fn an_owner_whose_release_is_under_way_is_one_owner() {
        check(&["a", "a:released", "a:released"], true);
        check(&["a", "b:released", "a:released"], false);
    }
}
