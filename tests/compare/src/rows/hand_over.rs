use std::mem;
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use redlock_compare::{Answer, Job};
use redlock_tests::Servers;
use redlock_tests::clock::monotonic_nanoseconds;

use super::NODES;
use crate::crew::{InTime, Plan, TTL, Turn, Worker, durations};
use crate::figures::{Figures, MILLISECOND, Measure, percentile};

const SAME: &str = "same process";
const OTHER: &str = "other process";
const P50: Measure = Measure {
    row: 'c',
    what: "hand-over, release called to waiter has it, p50",
    setting: SAME,
    unit: "ms",
    beside: Some(("floor-push", SAME)),
};
const P99: Measure = Measure { what: "hand-over, release called to waiter has it, p99", ..P50 };
pub(crate) const SAME_P50: Measure = P50;
pub(crate) const OTHER_P50: Measure = elsewhere(P50);

const ALL: [&str; 3] = ["floor-push", "ours", "rslock"];

/// Until a waiter that is woken surely waits; one that asks now and then anyway does not notice.
const SURELY_WAITING: Duration = Duration::from_millis(3);

const fn elsewhere(measure: Measure) -> Measure {
    Measure { beside: Some(("floor-push", OTHER)), ..measure.when(OTHER) }
}

pub(crate) fn hand_over(plan: &Plan, figures: &mut Figures) -> anyhow::Result<()> {
    for nodes in NODES {
        let mut crew = Vec::new();
        for alone in [true, false] {
            for name in plan.present(&ALL) {
                // Of their own: whoever listens to all releases would have those served who do not take part.
                let servers = Servers::start(nodes);
                let worker = || plan.worker(name, &servers, TTL);
                let either = if alone {
                    Either::Alone(worker()?)
                } else {
                    Either::Pair { holder: worker()?, waiter: worker()? }
                };
                crew.push((either, servers));
            }
        }
        plan.take_turns(&mut crew, |(either, _), turn| {
            let milliseconds = plan.milliseconds(turn, 700);
            let (name, p50, p99, taken) = match either {
                Either::Alone(worker) => {
                    (worker.name, P50, P99, durations(worker.finish(Job::HandOver { milliseconds })?)?)
                }
                Either::Pair { holder, waiter } => {
                    (holder.name, OTHER_P50, elsewhere(P99), between(holder, waiter, milliseconds)?)
                }
            };
            if turn == Turn::Counted {
                figures.add(p50, nodes, name, percentile(&taken, 50, MILLISECOND));
                figures.add(p99, nodes, name, percentile(&taken, 99, MILLISECOND));
            }
            Ok(InTime::Yes)
        })?;
    }
    Ok(())
}

/// Who hands over to whom.
enum Either {
    /// A task of a process to another one.
    Alone(Worker),
    /// A process to another one.
    Pair { holder: Worker, waiter: Worker },
}

/// Two processes hand a name to and fro until the time is over; returns how long that took, from short to long.
fn between(holder: &mut Worker, waiter: &mut Worker, milliseconds: u64) -> anyhow::Result<Vec<i64>> {
    let until = monotonic_nanoseconds() + milliseconds * 1_000_000;
    let mut taken = Vec::new();
    holder.finish(Job::Take)?;
    while monotonic_nanoseconds() < until {
        waiter.begin(Job::Take)?;
        thread::sleep(SURELY_WAITING);
        let released = moment(Some(holder.finish(Job::Give)?))?;
        let acquired = moment(waiter.answer(Duration::from_secs(60))?)?;
        taken.push(acquired.cast_signed() - released.cast_signed());
        mem::swap(holder, waiter);
    }
    holder.finish(Job::Give)?;
    durations(Answer::Durations(taken))
}

fn moment(answer: Option<Answer>) -> anyhow::Result<u64> {
    match answer.context("the lock was not handed over in a minute")? {
        Answer::Moment(moment) => Ok(moment),
        other => bail!("{other:?} is no moment"),
    }
}
