//! What an observer is told of a process's locks: whatever begins ends, and nothing ends that has not begun.

use std::sync::{Arc, Mutex};

use redlock_simulated::observe::{Event, Observer};

use crate::world::{Universe, locked};

/// Counts, by what its manager tells, of what a process has at the moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Observed(Arc<Mutex<Counts>>);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    /// Locks that are held.
    held: i64,
    /// Callers who wait.
    waiting: i64,
    /// Acquisitions whose end was not told.
    acquiring: i64,
    /// The least that each has been.
    least: [i64; 3],
}

impl Observed {
    fn change(&self, change: impl FnOnce(&mut Counts)) {
        let mut counts = locked(&self.0);
        change(&mut counts);
        let Counts { held, waiting, acquiring, least } = *counts;
        counts.least = [held.min(least[0]), waiting.min(least[1]), acquiring.min(least[2])];
    }
}

impl Observer for Observed {
    fn event(&self, event: &Event<'_>) {
        match event {
            Event::HoldBegan { .. } => self.change(|counts| counts.held += 1),
            Event::HoldEnded { .. } => self.change(|counts| counts.held -= 1),
            Event::WaitBegan { .. } => self.change(|counts| counts.waiting += 1),
            Event::WaitEnded { .. } => self.change(|counts| counts.waiting -= 1),
            Event::AcquireEnded { .. } => self.change(|counts| counts.acquiring -= 1),
            _ => {}
        }
    }
}

impl Universe {
    /// An acquisition of this process begins. That is not told: whoever calls knows it.
    pub(crate) fn begins_to_acquire(&self, process: usize) {
        self.observed[process].change(|counts| counts.acquiring += 1);
    }

    /// An acquisition of this process, which begins when it is polled.
    pub(crate) async fn acquiring<T>(&self, process: usize, acquiring: impl Future<Output = T>) -> T {
        self.begins_to_acquire(process);
        acquiring.await
    }

    /// Checks that all that began in a process has ended, when everybody is through.
    pub(crate) fn check_observed(&self, process: usize) {
        let mut counts = *locked(&self.observed[process].0);
        if !self.plan.processes[process].leaders.is_empty() {
            // Who leads acquires as often as it takes.
            (counts.acquiring, counts.least[2]) = (0, 0);
        }
        if counts != Counts::default() {
            self.violated(format!("p{process} is told of more, or less, than there is: {counts:?}"));
        }
    }
}
