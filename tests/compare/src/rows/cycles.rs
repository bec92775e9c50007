use anyhow::bail;
use redlock_compare::{Answer, Job};
use redlock_tests::Servers;

use super::NODES;
use crate::crew::{InTime, Plan, Turn, durations};
use crate::figures::{Figures, MICROSECOND, Measure, percentile};

pub(crate) const P50: Measure = Measure {
    row: 'a',
    what: "one task, acquire + release, p50",
    setting: "",
    unit: "µs",
    beside: Some(("floor", "")),
};
const P99: Measure = Measure { what: "one task, acquire + release, p99", ..P50 };
pub(crate) const PER_SECOND: Measure = Measure {
    row: 'b',
    what: "64 tasks on 64 names, acquire + release",
    setting: "",
    unit: "per second",
    beside: Some(("floor-fenced", "")),
};

const ALL: [&str; 8] =
    ["floor", "floor-fenced", "ours", "ours, not fenced", "#[redlock]", "rslock", "distributed-lock-redis", "redlock"];

pub(crate) fn one_task(plan: &Plan, figures: &mut Figures) -> anyhow::Result<()> {
    for nodes in NODES {
        let servers = Servers::start(nodes);
        plan.take_turns(&mut plan.crew(&ALL, &servers)?, |worker, turn| {
            let taken = durations(worker.finish(Job::Cycle { milliseconds: plan.milliseconds(400) })?)?;
            if turn == Turn::Counted {
                figures.add(P50, nodes, worker.name, percentile(&taken, 50, MICROSECOND));
                figures.add(P99, nodes, worker.name, percentile(&taken, 99, MICROSECOND));
            }
            Ok(InTime::Yes)
        })?;
    }
    Ok(())
}

pub(crate) fn many_tasks(plan: &Plan, figures: &mut Figures) -> anyhow::Result<()> {
    for nodes in NODES {
        let servers = Servers::start(nodes);
        plan.take_turns(&mut plan.crew(&ALL, &servers)?, |worker, turn| {
            let answer = worker.finish(Job::Many { tasks: 64, milliseconds: plan.milliseconds(400) })?;
            let Answer::PerSecond(per_second) = answer else { bail!("{answer:?} is no throughput") };
            if turn == Turn::Counted {
                figures.add(PER_SECOND, nodes, worker.name, per_second);
            }
            Ok(InTime::Yes)
        })?;
    }
    Ok(())
}
