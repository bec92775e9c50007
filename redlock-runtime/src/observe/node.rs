//! What is told of a node.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use super::event::{Event, NodeStanding, Operation};
#[cfg(feature = "metrics")]
use super::harmless::harmless;
use super::labels::Told;
#[cfg(feature = "metrics")]
use super::recorded::NodeHandles;

/// A node that is looked at.
pub(super) struct ObservedNode {
    label: Arc<str>,
    told: Told,
    /// The number of the standing that was told last, if one was.
    standing: AtomicU8,
    #[cfg(feature = "metrics")]
    recorded: NodeHandles,
}

/// A request to a node whose answer is timed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    /// When it was sent.
    pub(crate) at: Instant,
    /// What the node was asked.
    pub(crate) operation: Operation,
}

/// No standing was told yet.
const UNTOLD: u8 = u8::MAX;

impl ObservedNode {
    /// Nodes of these names, as their labels are: those that share one are told apart.
    pub(super) fn all<'a>(names: impl IntoIterator<Item = &'a str>, told: &Told) -> Box<[Self]> {
        labels(names).into_iter().map(|label| Self::new(label.into(), told)).collect()
    }

    fn new(label: Arc<str>, told: &Told) -> Self {
        Self {
            #[cfg(feature = "metrics")]
            recorded: NodeHandles::new(Arc::clone(&label)),
            label,
            told: told.clone(),
            standing: AtomicU8::new(UNTOLD),
        }
    }

    pub(super) fn answered(&self, operation: Operation, took: Duration, is_recorded: bool) {
        #[cfg(feature = "metrics")]
        if is_recorded {
            harmless(|| self.recorded.duration(operation).record(took));
        }
        let _ = is_recorded;
        self.told.tell(Event::NodeAnswered { node: &self.label, operation, took });
    }

    /// What was told last.
    pub(super) fn standing(&self) -> Option<NodeStanding> {
        NodeStanding::ALL.get(usize::from(self.standing.load(Ordering::Relaxed))).copied()
    }

    pub(super) fn stands(&self, standing: NodeStanding, is_recorded: bool) {
        // Every answer comes by here; most change nothing.
        if self.standing() == Some(standing) || self.standing.swap(standing as u8, Ordering::Relaxed) == standing as u8
        {
            return;
        }
        #[cfg(feature = "metrics")]
        if is_recorded {
            harmless(|| self.recorded.stands(standing));
        }
        let _ = is_recorded;
        self.told.tell(Event::NodeStands { node: &self.label, standing });
    }

    /// Somebody records from now on.
    #[cfg(feature = "metrics")]
    pub(super) fn record_again(&self) {
        if let Some(standing) = self.standing() {
            harmless(|| self.recorded.stands(standing));
        }
    }
}

/// What nodes of these names are called in metrics: those that would share a label are told apart.
pub(crate) fn labels<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut labels: Vec<String> = Vec::new();
    for name in names {
        let short = short(name);
        let is_taken = labels.iter().any(|label| label == short);
        labels.push(if is_taken { format!("{short}#{}", labels.len() + 1) } else { short.to_owned() });
    }
    labels
}

/// A node's URL without its scheme, and without the number of a database.
fn short(name: &str) -> &str {
    let Some((scheme, rest)) = name.split_once("://").filter(|(_, rest)| !rest.is_empty()) else { return name };
    match (scheme, rest.split_once('/')) {
        ("redis" | "rediss", Some((address, _))) => address,
        _ => rest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_called_by_their_place_and_told_apart() {
        let names = [
            ("redis://10.0.0.1:6379", "10.0.0.1:6379"),
            ("rediss://[::1]:6380/3", "[::1]:6380"),
            ("redis+unix:///run/redis.sock", "/run/redis.sock"),
            ("redis+sentinel://a:26379,b:26379/service", "a:26379,b:26379/service"),
            ("redis+sentinel://a:26379,b:26379/other", "a:26379,b:26379/other"),
            ("redis+cluster://a:6379,b:6379", "a:6379,b:6379"),
            ("memory://", "memory://"),
            ("memory://", "memory://#8"),
            ("memory://a", "a"),
            ("postgres at a", "postgres at a"),
        ];
        let nodes = ObservedNode::all(names.map(|(name, _)| name), &Told::new(None));
        let labels: Vec<_> = nodes.iter().map(|node| &*node.label).collect();
        assert_eq!(labels, names.map(|(_, label)| label));
    }
}
