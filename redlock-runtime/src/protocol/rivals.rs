use std::sync::Arc;

use super::Quorum;

/// The owners that an attempt was refused for.
///
/// When several ask at once, each may get some nodes and none a majority: all are refused, and nobody holds the lock.
/// Only the owners tell that apart from a lock that is held.
#[derive(Clone, Debug, Default)]
pub struct Rivals(Vec<(Arc<str>, usize)>);

impl Rivals {
    /// Notes that a node has this owner's key.
    pub fn note(&mut self, owner: &Arc<str>) {
        match self.0.iter_mut().find(|(known, _)| known == owner) {
            Some((_, nodes)) => *nodes += 1,
            None => self.0.push((Arc::clone(owner), 1)),
        }
    }

    /// Whether one of them was seen on a majority of the nodes.
    #[must_use]
    pub fn has_holder(&self, quorum: Quorum) -> bool {
        self.0.iter().any(|(_, nodes)| *nodes >= quorum.needed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(owners: &[&str], expect: bool) {
        let mut rivals = Rivals::default();
        for owner in owners {
            rivals.note(&Arc::from(*owner));
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
}
