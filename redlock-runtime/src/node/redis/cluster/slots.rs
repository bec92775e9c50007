use std::collections::HashMap;

use redis::Value;

/// Which server has which slots; what a server is, is somebody else's business.
#[derive(Clone, Debug)]
pub(super) struct Slots<S> {
    /// First and last slot, ascending, without overlaps.
    ranges: Vec<(u16, u16, S)>,
    /// What was learnt about single slots since.
    moved: HashMap<u16, S>,
}

impl<S: Clone> Slots<S> {
    pub(super) fn new(mut ranges: Vec<(u16, u16, S)>) -> Self {
        ranges.sort_by_key(|(first, _, _)| *first);
        Self { ranges, moved: HashMap::new() }
    }

    /// The server that has the slot, if any does.
    pub(super) fn owner(&self, slot: u16) -> Option<&S> {
        if let Some(owner) = self.moved.get(&slot) {
            return Some(owner);
        }
        let behind = self.ranges.partition_point(|(first, _, _)| *first <= slot);
        let (_, last, owner) = self.ranges.get(behind.checked_sub(1)?)?;
        (slot <= *last).then_some(owner)
    }

    /// Another server has the slot now.
    pub(super) fn assign(&mut self, slot: u16, owner: S) {
        self.moved.insert(slot, owner);
    }

    /// All servers that have slots, some of them several times.
    pub(super) fn owners(&self) -> impl Iterator<Item = &S> {
        self.ranges.iter().map(|(_, _, owner)| owner).chain(self.moved.values())
    }
}

/// What a server says about its cluster.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ClusterView {
    /// Whether it sees the cluster work. Before its epoch in the order: one that does not may be cut off from the others.
    is_ok: bool,
    /// How new what it knows is.
    epoch: u64,
    /// First slot, last slot, host (none: that of whoever told) and port of their master.
    pub(super) ranges: Vec<(u16, u16, Option<String>, u16)>,
}

impl ClusterView {
    /// Reads the answers to [`map_cluster`](super::super::commands::map_cluster); `None` if they are none.
    pub(super) fn read(answers: &[Value]) -> Option<Self> {
        let [info, slots] = answers else { return None };
        let info: String = redis::from_redis_value(info.clone()).ok()?;
        let field =
            |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
        let is_ok = field("cluster_state") == Some("ok");
        let epoch = field("cluster_current_epoch").and_then(|epoch| epoch.parse().ok()).unwrap_or_default();
        let Value::Array(slots) = slots else { return None };
        let ranges: Vec<_> = slots.iter().filter_map(range).collect();
        (!ranges.is_empty()).then_some(Self { is_ok, epoch, ranges })
    }

    /// What is better founded is greater.
    pub(super) fn weight(&self) -> (bool, u64) {
        (self.is_ok, self.epoch)
    }
}

/// One range of slots with its master, which comes before the replicas.
fn range(entry: &Value) -> Option<(u16, u16, Option<String>, u16)> {
    let Value::Array(entry) = entry else { return None };
    let [Value::Int(first), Value::Int(last), Value::Array(master), ..] = entry.as_slice() else { return None };
    let [host, Value::Int(port), ..] = master.as_slice() else { return None };
    let host: Option<String> = redis::from_redis_value(host.clone()).ok()?;
    // A server that knows no name of its own, and one that knows no name of another.
    let host = host.filter(|host| !host.is_empty());
    if host.as_deref() == Some("?") {
        return None;
    }
    Some((u16::try_from(*first).ok()?, u16::try_from(*last).ok()?, host, u16::try_from(*port).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_has_the_owner_of_its_range_or_the_one_it_moved_to() {
        let mut slots = Slots::new(vec![(100, 200, 'b'), (0, 50, 'a'), (201, 201, 'c')]);
        let owners = |slots: &Slots<char>| [0, 50, 51, 100, 200, 201, 202].map(|slot| slots.owner(slot).copied());
        assert_eq!(owners(&slots), [Some('a'), Some('a'), None, Some('b'), Some('b'), Some('c'), None]);
        slots.assign(50, 'd');
        slots.assign(51, 'd');
        assert_eq!(owners(&slots)[1..3], [Some('d'), Some('d')]);
        assert_eq!(Slots::<char>::new(Vec::new()).owner(0), None);
    }

    fn text(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    #[test]
    fn what_a_server_says_is_read() {
        let server = |host: Value, port| Value::Array(vec![host, Value::Int(port), text("id")]);
        let range = |first, last, host| {
            Value::Array(vec![Value::Int(first), Value::Int(last), server(host, 7), server(text("r"), 8)])
        };
        let info = text("cluster_state:ok\r\ncluster_current_epoch:6\r\n");
        let slots = Value::Array(vec![range(0, 9, text("h")), range(10, 10, Value::Nil), range(11, 12, text("?"))]);
        let told = ClusterView::read(&[info, slots]).unwrap();
        assert_eq!(
            told,
            ClusterView { is_ok: true, epoch: 6, ranges: vec![(0, 9, Some("h".into()), 7), (10, 10, None, 7)] }
        );
        assert_eq!(ClusterView::read(&[text(""), Value::Array(Vec::new())]), None);
        assert_eq!(ClusterView::read(&[text("")]), None);
    }

    #[test]
    fn whatever_numbers_a_server_says_are_a_range_or_none() {
        let told = |first, last, port| {
            let server = Value::Array(vec![text("h"), Value::Int(port), text("id")]);
            let slots = Value::Array(vec![Value::Array(vec![Value::Int(first), Value::Int(last), server])]);
            ClusterView::read(&[text("cluster_state:ok\r\ncluster_current_epoch:99999999999999999999\r\n"), slots])
                .map(|told| (told.epoch, told.ranges))
        };
        assert_eq!(told(0, 9, 7), Some((0, vec![(0, 9, Some("h".into()), 7)])));
        for (first, last, port) in [
            (0, 9, 65536),
            (0, 9, -1),
            (0, 9, i64::MAX),
            (-1, 9, 7),
            (i64::MIN, i64::MAX, 7),
            (0, i64::MAX, 7),
            (65536, 65537, 7),
        ] {
            assert_eq!(told(first, last, port), None, "{first} to {last} on port {port}");
        }
        // Slots that no key is in are nobody's business, and a range that ends before it begins has none.
        let slots = Slots::new(vec![(16384, 65535, 'a'), (9, 0, 'b'), (20, 30, 'c')]);
        assert_eq!([0, 5, 9, 16383, 25].map(|slot| slots.owner(slot).copied()), [None, None, None, None, Some('c')]);
        assert_eq!(slots.owner(u16::MAX), Some(&'a'));
    }
}
