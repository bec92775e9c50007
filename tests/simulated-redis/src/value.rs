//! What a key holds.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// The names and values of a hash.
pub(crate) type Fields = Vec<(Arc<[u8]>, Arc<[u8]>)>;

/// The value of a key.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    String(Arc<[u8]>),
    /// Fields in the order in which they were added, which is how Redis tells those of a small hash.
    Hash(Fields),
    List(VecDeque<Arc<[u8]>>),
    SortedSet(SortedSet),
}

/// Members by their scores.
#[derive(Clone, Debug, Default)]
pub(crate) struct SortedSet {
    scores: BTreeMap<Arc<[u8]>, f64>,
    order: BTreeSet<(Score, Arc<[u8]>)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Score(f64);

impl Value {
    /// What TYPE calls it.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::String(_) => "string",
            Self::Hash(_) => "hash",
            Self::List(_) => "list",
            Self::SortedSet(_) => "zset",
        }
    }

    /// Whether a key with this value is deleted.
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::String(_) => false,
            Self::Hash(fields) => fields.is_empty(),
            Self::List(items) => items.is_empty(),
            Self::SortedSet(members) => members.scores.is_empty(),
        }
    }
}

impl SortedSet {
    pub(crate) fn len(&self) -> usize {
        self.scores.len()
    }

    pub(crate) fn score(&self, member: &[u8]) -> Option<f64> {
        self.scores.get(member).copied()
    }

    pub(crate) fn insert(&mut self, member: &[u8], score: f64) {
        self.remove(member);
        let member: Arc<[u8]> = Arc::from(member);
        self.scores.insert(Arc::clone(&member), score);
        self.order.insert((Score(score), member));
    }

    pub(crate) fn remove(&mut self, member: &[u8]) -> bool {
        let Some((member, score)) = self.scores.remove_entry(member) else { return false };
        self.order.remove(&(Score(score), member))
    }

    /// From the lowest score to the highest, equal ones by member.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (&Arc<[u8]>, f64)> {
        self.order.iter().map(|(score, member)| (member, score.0))
    }
}

impl Eq for Score {}

impl PartialOrd for Score {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Score {
    fn cmp(&self, other: &Self) -> Ordering {
        // Zero has no sign among scores.
        (self.0 + 0.0).total_cmp(&(other.0 + 0.0))
    }
}
