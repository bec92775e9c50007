//! A node for unit tests: it answers as the test says, command by command.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::check::{Examination, Examining, Trial};
use super::counters::{Answer as Counts, Counted, Counting, Number, Recorded};
use super::identity;
use super::inspect::{Cursor, Deleted, Inspecting, Listed, LockRecord, OwnerLabel, Page};
use super::{Changes, Command, NodeStatus, PendingReply, Voter};
use crate::platform::clock;
use crate::protocol::StoredMark;
use crate::values::keys::{CounterKeys, Keys, LockKeys};

/// What it answers to a command, of which there were so many before.
type Answer = dyn Fn(Arc<Command>, usize) -> PendingReply + Send + Sync;

/// Gives these answers.
pub(crate) struct Scripted {
    answer: Box<Answer>,
    /// How many commands there were.
    asked: AtomicUsize,
    /// What is known about it.
    known: NodeStatus,
}

impl Scripted {
    pub(crate) fn new(answer: impl Fn(Arc<Command>, usize) -> PendingReply + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { answer: Box::new(answer), asked: AtomicUsize::new(0), known: NodeStatus::Unreachable })
    }

    /// One that may vote on an acquire, and be asked first.
    pub(crate) fn voter(answer: impl Fn(Arc<Command>, usize) -> PendingReply + Send + Sync + 'static) -> Arc<Self> {
        let (answer, asked) = (Box::new(answer), AtomicUsize::new(0));
        let server_info = identity::unknown(clock::now(), Duration::from_secs(300));
        Arc::new(Self { answer, asked, known: NodeStatus::Introduced(Arc::new(server_info)) })
    }
}

impl fmt::Debug for Scripted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

impl Voter for Scripted {
    fn label(&self) -> &'static str {
        "scripted"
    }

    fn ask(&self, command: Arc<Command>) -> PendingReply {
        (self.answer)(command, self.asked.fetch_add(1, Ordering::Relaxed))
    }

    fn known(&self, _: &str) -> NodeStatus {
        self.known.clone()
    }

    fn overdue(&self, _: &str) {}

    fn report_to(&self, _: Changes) {}
}

impl Counting for Scripted {
    fn record(&self, _: &Arc<str>, _: Vec<Number>, _: Duration) -> Counts<Vec<Recorded>> {
        Box::pin(std::future::pending())
    }

    fn enlist(&self, _: Vec<Arc<CounterKeys>>, _: &Keys, _: Duration) -> Counts<()> {
        Box::pin(std::future::pending())
    }

    fn count(&self, _: &Keys, _: Duration) -> Counts<Vec<Counted>> {
        Box::pin(std::future::pending())
    }
}

impl Examining for Scripted {
    fn examine(&self, _: Trial, _: Duration) -> Counts<Vec<Examination>> {
        Box::pin(std::future::pending())
    }
}

impl Inspecting for Scripted {
    fn record_labels(&self, _: Vec<OwnerLabel>, _: Duration) -> Counts<()> {
        Box::pin(std::future::pending())
    }

    fn look(&self, _: Arc<LockKeys>, _: Duration) -> Counts<Option<LockRecord>> {
        Box::pin(std::future::pending())
    }

    fn page(&self, _: Listed, _: Cursor, _: Duration) -> Counts<Page> {
        Box::pin(std::future::pending())
    }

    fn reset(&self, _: Vec<Arc<LockKeys>>, _: Duration) -> Counts<Vec<Deleted>> {
        Box::pin(std::future::pending())
    }

    fn mark(&self, _: Arc<str>, _: Duration) -> Counts<Option<StoredMark>> {
        Box::pin(std::future::pending())
    }

    fn reset_mark(&self, _: Arc<str>, _: Duration, _: Duration) -> Counts<bool> {
        Box::pin(std::future::pending())
    }
}
