//! A node for unit tests: it answers as the test says, command by command.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::counting::{Answer, Counted, Counting, Number, Settled};
use super::{Changes, Command, Known, Node, PendingReply};
use crate::keys::{CounterKeys, Keys};

/// Gives these answers.
#[derive(Debug)]
pub(crate) struct Scripted {
    /// What it answers to the first command, the second, and so on.
    answer: fn(usize) -> PendingReply,
    /// How many commands there were.
    asked: AtomicUsize,
}

impl Scripted {
    pub(crate) fn new(answer: fn(usize) -> PendingReply) -> Arc<Self> {
        Arc::new(Self { answer, asked: AtomicUsize::new(0) })
    }
}

impl Node for Scripted {
    fn label(&self) -> &'static str {
        "scripted"
    }

    fn ask(&self, _: Arc<Command>) -> PendingReply {
        (self.answer)(self.asked.fetch_add(1, Ordering::Relaxed))
    }

    fn known(&self) -> Known {
        Known::Unreachable
    }

    fn overdue(&self) {}

    fn report_to(&self, _: Changes) {}
}

impl Counting for Scripted {
    fn settle(&self, _: &Arc<str>, _: Vec<Number>, _: Duration) -> Answer<Vec<Settled>> {
        Box::pin(std::future::pending())
    }

    fn enlist(&self, _: Vec<Arc<CounterKeys>>, _: Duration) -> Answer<()> {
        Box::pin(std::future::pending())
    }

    fn count(&self, _: &Keys, _: Duration) -> Answer<Vec<Counted>> {
        Box::pin(std::future::pending())
    }
}
