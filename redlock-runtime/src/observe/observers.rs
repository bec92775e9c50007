//! Who looks at the locks of a manager.

use std::fmt;
use std::sync::Arc;
#[cfg(feature = "metrics")]
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::event::{NodeStanding, Observer, Operation};
#[cfg(feature = "metrics")]
use super::harmless::harmless;
use super::labels::{Labels, Observed, Told};
use super::node::{ObservedNode, Sent};
#[cfg(feature = "metrics")]
use super::recorded;

/// How many labels of locks are told apart, unless the builder says otherwise.
pub(crate) const MOST_LABELS: usize = 200;

/// The observer of a manager, and the recorder of the program; nobody, where there can be neither.
#[derive(Clone, Default)]
pub(crate) struct Observers(Option<Arc<Looking>>);

struct Looking {
    told: Told,
    labels: Labels,
    /// In the order of the configuration.
    nodes: Box<[ObservedNode]>,
    /// Whether a recorder was seen. One may be installed at any time, and stays.
    #[cfg(feature = "metrics")]
    is_recorded: AtomicBool,
}

impl Observers {
    pub(crate) fn new<'a>(
        observer: Option<Arc<dyn Observer>>,
        most_labels: usize,
        nodes: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let told = Told::new(observer);
        if !told.is_somebody() && !cfg!(feature = "metrics") {
            return Self(None);
        }
        let (labels, nodes) = (Labels::new(&told, most_labels), ObservedNode::all(nodes, &told));
        Self(Some(Arc::new(Looking {
            told,
            labels,
            nodes,
            #[cfg(feature = "metrics")]
            is_recorded: AtomicBool::new(false),
        })))
    }

    /// Whether anybody looks, as far as that was noticed when a lock was last asked for.
    pub(crate) fn is_somebody(&self) -> bool {
        self.0.as_deref().is_some_and(Looking::is_somebody)
    }

    /// A lock of this label, if anybody looks; without one it is [`OTHER`](super::names::OTHER).
    pub(crate) fn observed(&self, label: Option<&str>) -> Option<Observed> {
        let looking = self.0.as_deref()?;
        let is_recorded = looking.look_for_recorder();
        (is_recorded || looking.told.is_somebody()).then(|| Observed::new(looking.labels.series(label), is_recorded))
    }

    /// One of the nodes, for itself, if somebody may look.
    pub(crate) fn view(&self, node: usize) -> Option<NodeView> {
        self.0.is_some().then(|| NodeView { observers: self.clone(), node })
    }

    /// Begins to time a request that is sent now, if anybody looks.
    pub(crate) fn sent(&self, operation: Operation, now: impl FnOnce() -> Instant) -> Option<Sent> {
        self.is_somebody().then(|| Sent { at: now(), operation })
    }

    /// A node has answered.
    pub(crate) fn answered(&self, node: usize, sent: Sent, now: Instant) {
        if let Some(looking) = &self.0 {
            let took = now.saturating_duration_since(sent.at);
            looking.nodes[node].answered(sent.operation, took, looking.is_recorded());
        }
    }

    /// Whether a node votes, as it shows now.
    pub(crate) fn stands(&self, node: usize, standing: NodeStanding) {
        if let Some(looking) = self.0.as_deref().filter(|looking| looking.is_somebody()) {
            looking.nodes[node].stands(standing, looking.is_recorded());
        }
    }

    /// What was told last of a node, if anybody looks.
    pub(crate) fn told_of(&self, node: usize) -> Option<NodeStanding> {
        self.0.as_deref().and_then(|looking| looking.nodes[node].standing())
    }
}

/// One node, as it is seen from outside, for whoever notices on its own whether it answers.
pub(crate) struct NodeView {
    observers: Observers,
    /// Its place in the configuration.
    node: usize,
}

impl NodeView {
    /// It does not answer.
    pub(crate) fn is_silent(&self) {
        self.observers.stands(self.node, NodeStanding::Unreachable);
    }

    /// It answers, whatever it would say to a vote.
    pub(crate) fn answers(&self) {
        if self.observers.told_of(self.node) == Some(NodeStanding::Unreachable) {
            self.observers.stands(self.node, NodeStanding::Votes);
        }
    }
}

impl fmt::Debug for NodeView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeView").field("node", &self.node).finish_non_exhaustive()
    }
}

impl Looking {
    fn is_somebody(&self) -> bool {
        self.told.is_somebody() || self.is_recorded()
    }

    #[cfg(feature = "metrics")]
    fn is_recorded(&self) -> bool {
        self.is_recorded.load(Ordering::Relaxed)
    }

    #[cfg(not(feature = "metrics"))]
    #[expect(clippy::unused_self, reason = "there is no recorder without the feature")]
    fn is_recorded(&self) -> bool {
        false
    }

    #[cfg(feature = "metrics")]
    fn look_for_recorder(&self) -> bool {
        if self.is_recorded() {
            return true;
        }
        if !recorded::is_installed() {
            return false;
        }
        if !self.is_recorded.swap(true, Ordering::Relaxed) {
            harmless(recorded::describe);
            self.nodes.iter().for_each(ObservedNode::record_again);
        }
        true
    }

    #[cfg(not(feature = "metrics"))]
    fn look_for_recorder(&self) -> bool {
        self.is_recorded()
    }
}
