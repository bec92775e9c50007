//! A fire whose runner died is run by whoever stands by: who runs which, and who waits for it meanwhile.

use std::time::Duration;

use redlock_simulated::simulation::Place;
use redlock_simulated::{Error, LockGuard};
use tokio::time::Instant;

use crate::checker::{Checker, Waiter};
use crate::node::TIME_OF_DAY;
use crate::plan::{FireKind, Wish};
use crate::world::{Universe, now};

/// The fires that run, and those who stand by.
#[derive(Default)]
pub(crate) struct Runs {
    running: Vec<Running>,
    standing_by: Vec<StandsBy>,
    unfinished: Vec<Unfinished>,
}

struct Running {
    fire: u64,
    process: usize,
    /// The number of the hold.
    number: u64,
    /// Those who might have stood by, and have been told meanwhile that there is nothing to do.
    left: Vec<StandsBy>,
}

#[derive(Clone, Copy)]
struct StandsBy {
    waiter: Waiter,
    process: usize,
    fire: u64,
}

/// A fire whose runner died.
struct Unfinished {
    fire: u64,
    process: usize,
    /// Those who stood by then, and have had no reason since to leave it.
    standing_by: Vec<StandsBy>,
    /// Whether it has been run since, or nobody can know that it was not.
    is_over: bool,
}

/// What became of somebody who stood by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// He has the lock.
    Runs,
    /// He was told that nobody can know whether the fire was completed.
    Doubts,
    /// His time was over, or he was cancelled, or his process ended.
    Gone,
    /// He was told that a later fire was completed, which stands for his: so he knows that it may have been missed.
    Overtaken,
    /// He was told that there is nothing to do.
    Left,
}

impl Runs {
    pub(crate) fn started(&mut self, fire: u64, process: usize, number: u64) {
        self.running.push(Running { fire, process, number, left: Vec::new() });
        self.unfinished
            .iter_mut()
            .filter(|unfinished| unfinished.fire == fire)
            .for_each(|unfinished| unfinished.is_over = true);
    }

    pub(crate) fn ended_well(&mut self, fire: u64) {
        // Whoever is killed now has run it, whether it is marked or not.
        self.running.retain(|running| running.fire != fire);
        self.unfinished
            .iter_mut()
            .filter(|unfinished| unfinished.fire == fire)
            .for_each(|unfinished| unfinished.is_over = true);
    }

    pub(crate) fn ended(&mut self, number: u64) {
        self.running.retain(|running| running.number != number);
    }

    /// The process that runs a fire, if one does.
    pub(crate) fn runner(&self) -> Option<usize> {
        self.running.last().map(|running| running.process)
    }

    /// Nobody of this process waits any more, or runs anything.
    pub(crate) fn forget(&mut self, process: usize) {
        self.running.retain(|running| running.process != process);
        let standing_by = self.unfinished.iter_mut().map(|unfinished| &mut unfinished.standing_by);
        let left = self.running.iter_mut().map(|running| &mut running.left);
        standing_by.chain(left).chain([&mut self.standing_by]).for_each(|all| all.retain(|one| one.process != process));
    }

    /// The call of somebody who waits is over, or was dropped: then nobody was told what became of him.
    pub(crate) fn over(&mut self, waiter: Waiter) {
        if self.standing_by.iter().any(|one| one.waiter == waiter) {
            self.left(waiter, Fate::Gone);
        }
    }

    fn left(&mut self, waiter: Waiter, fate: Fate) {
        let found = self.standing_by.iter().position(|one| one.waiter == waiter);
        if let Some(one) = found.map(|found| self.standing_by.swap_remove(found)).filter(|_| fate == Fate::Left) {
            let running = self.running.iter_mut().filter(|running| running.fire == one.fire);
            running.for_each(|running| running.left.push(one));
        }
        for unfinished in &mut self.unfinished {
            let stood_by = unfinished.standing_by.iter().any(|one| one.waiter == waiter);
            unfinished.is_over |= stood_by && fate == Fate::Doubts;
            if fate != Fate::Left {
                unfinished.standing_by.retain(|one| one.waiter != waiter);
            }
        }
    }

    /// Whether this one stands by for a fire whose runner died and that nobody has run since.
    fn is_unfinished(&self, waiter: Waiter) -> bool {
        let of_waiter = |unfinished: &&Unfinished| unfinished.standing_by.iter().any(|one| one.waiter == waiter);
        self.unfinished.iter().filter(of_waiter).any(|unfinished| !unfinished.is_over)
    }

    /// Those that nobody has made up for, although somebody stood by.
    pub(crate) fn missed(&self) -> Vec<String> {
        let missed =
            self.unfinished.iter().filter(|unfinished| !unfinished.is_over && !unfinished.standing_by.is_empty());
        let words = |unfinished: &Unfinished| {
            let Unfinished { fire, process, standing_by, .. } = unfinished;
            let others: Vec<_> = standing_by.iter().map(|one| format!("p{}", one.process)).collect();
            format!("nobody made up for fire {fire}, whose runner p{process} died: {} stood by", others.join(", "))
        };
        missed.map(words).collect()
    }
}

/// The number of a fire that is known before it is asked for.
fn number(wish: &Wish) -> Option<u64> {
    let fire = wish.fire.filter(|fire| !fire.is_at_start)?;
    match fire.kind {
        FireKind::Due => u64::try_from((TIME_OF_DAY + fire.due).as_millis()).ok(),
        FireKind::Number(number) => Some(number),
        FireKind::Called { .. } => None,
    }
}

impl Checker {
    /// Somebody waits for the lock of a fire, if he does.
    pub(crate) fn stands_by(&self, waiter: Option<Waiter>, place: Place, wish: &Wish) {
        if let Some((waiter, fire)) = waiter.zip(number(wish)) {
            self.with_runs(|runs| runs.standing_by.push(StandsBy { waiter, process: place.process, fire }));
        }
    }

    /// A process died.
    pub(crate) fn killed(&self, process: usize) {
        let unfinished = self.with_runs(|runs| {
            let mut unfinished = Vec::new();
            for running in runs.running.iter().filter(|running| running.process == process) {
                let Running { fire, ref left, .. } = *running;
                let waiting = runs.standing_by.iter().filter(|one| one.fire == fire);
                let standing_by = waiting.chain(left).filter(|one| one.process != process).copied().collect();
                unfinished.push(Unfinished { fire, process, standing_by, is_over: false });
            }
            let count = unfinished.iter().filter(|unfinished| !unfinished.standing_by.is_empty()).count();
            runs.unfinished.extend(unfinished);
            count
        });
        (0..unfinished).for_each(|_| self.meet("died while others stood by"));
    }
}

impl Universe {
    /// He who waited has the lock now, or an error, or was cancelled.
    pub(crate) fn stood_by(
        &self,
        waiter: Option<Waiter>,
        wish: &Wish,
        began: Instant,
        acquired: Option<&Result<LockGuard, Error>>,
    ) {
        // By clocks that run apart, and timers that may be early by a millisecond.
        let is_time_over = |limit: Duration| now() - began + Duration::from_millis(5) >= limit * 49 / 50;
        let fate = match acquired {
            Some(Ok(_)) => Fate::Runs,
            Some(Err(Error::FireInDoubt { .. })) => Fate::Doubts,
            Some(Err(Error::NotAcquired { .. } | Error::QuorumUnreachable { .. }))
                if wish.limit.is_some_and(is_time_over) =>
            {
                Fate::Gone
            }
            Some(Err(Error::ShutDown | Error::Config { .. })) | None => Fate::Gone,
            Some(Err(Error::AlreadyRan { fire, completed, .. })) if completed > fire => Fate::Overtaken,
            Some(Err(_)) => Fate::Left,
        };
        if let Some(waiter) = waiter {
            if fate == Fate::Overtaken && self.checker.with_runs(|runs| runs.is_unfinished(waiter)) {
                self.checker.meet("overtaken after its runner died");
            }
            self.checker.with_runs(|runs| runs.left(waiter, fate));
        }
    }
}
