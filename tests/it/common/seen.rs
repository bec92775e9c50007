//! What an observer is told, in words.

use std::sync::{Arc, Mutex};

use redlock_runtime::observe::{Event, Observer};
use redlock_tests::RedisServer;

/// Keeps what it is told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen(Arc<Mutex<Vec<String>>>);

impl Observer for Seen {
    fn event(&self, event: &Event<'_>) {
        let told = match *event {
            Event::AcquireEnded { lock, outcome, path, .. } => format!("acquire {lock} {outcome} {path}"),
            Event::WaitBegan { lock, .. } => format!("wait+ {lock}"),
            Event::WaitEnded { lock, .. } => format!("wait- {lock}"),
            Event::HoldBegan { lock, .. } => format!("hold+ {lock}"),
            Event::HoldEnded { lock, end, .. } => format!("hold- {lock} {end}"),
            Event::Lost { lock, reason, .. } => format!("lost {lock} {}", reason.as_str()),
            Event::RenewalFailed { lock, reason, .. } => format!("renewal {lock} {reason}"),
            Event::RunEnded { lock, .. } => format!("run {lock}"),
            Event::NodeAnswered { node, operation, .. } => format!("node {node} {operation}"),
            Event::NodeStands { node, standing, .. } => format!("stands {node} {standing}"),
            _ => panic!("a new kind of event: {event:?}"),
        };
        self.0.lock().unwrap().push(told);
    }
}

impl Seen {
    /// What begins so, in the order in which it was told.
    pub(crate) fn all(&self, beginning: &str) -> Vec<String> {
        self.0.lock().unwrap().iter().filter(|told| told.starts_with(beginning)).cloned().collect()
    }

    /// How a node stood, one standing after the other.
    pub(crate) fn standings(&self, node: &RedisServer) -> Vec<String> {
        let beginning = format!("stands 127.0.0.1:{} ", node.port());
        self.all(&beginning).iter().map(|told| told[beginning.len()..].to_owned()).collect()
    }

    pub(crate) fn count(&self, beginning: &str) -> usize {
        self.all(beginning).len()
    }

    /// What is told of locks, not of nodes; from now on, only what comes after that.
    pub(crate) fn take(&self) -> Vec<String> {
        let told = std::mem::take(&mut *self.0.lock().unwrap());
        told.into_iter().filter(|told| !told.starts_with("node ") && !told.starts_with("stands ")).collect()
    }

    /// Whether what began has ended.
    pub(crate) fn is_at_rest(&self) -> bool {
        let balance = |began: &str, ended: &str| self.count(began) == self.count(ended);
        balance("hold+ ", "hold- ") && balance("wait+ ", "wait- ")
    }
}
