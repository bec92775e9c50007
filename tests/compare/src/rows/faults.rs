use redlock_compare::Job;
use redlock_tests::Servers;

use crate::crew::{InTime, Plan, Turn, durations};
use crate::figures::{Figures, MICROSECOND, Measure, percentile};

const WELL: &str = "all five well";
const KILLED: &str = "one of five killed";
const HUNG: &str = "one of five hung";
pub(crate) const FAULTS: [&str; 2] = [KILLED, HUNG];
pub(crate) const P50: Measure = Measure {
    row: 'f',
    what: "one task, acquire + release, p50",
    setting: WELL,
    unit: "µs",
    beside: Some(("ours", WELL)),
};
pub(crate) const P99: Measure = Measure { what: "one task, acquire + release, p99", ..P50 };

pub(crate) fn lose_one(plan: &Plan, figures: &mut Figures) -> anyhow::Result<()> {
    let sets = [WELL, KILLED, HUNG].map(|setting| (setting, Servers::start(5)));
    let mut crew = Vec::new();
    for (setting, servers) in &sets {
        for mut worker in plan.crew(&["floor", "ours", "rslock", "distributed-lock-redis", "redlock"], servers)? {
            // All are connected when it happens.
            worker.finish(Job::Cycle { milliseconds: 50 })?;
            figures.announce(P50.when(setting), 5, worker.name);
            figures.announce(P99.when(setting), 5, worker.name);
            crew.push((*setting, worker));
        }
    }
    for (setting, servers) in &sets {
        match *setting {
            KILLED => servers[2].kill(),
            HUNG => servers[2].hang(),
            _ => {}
        }
    }
    plan.take_turns(&mut crew, |(setting, worker), turn| {
        let (p50, p99) = (P50.when(setting), P99.when(setting));
        let Some(answer) = worker.work(Job::Cycle { milliseconds: plan.milliseconds(turn, 300) }, plan.patience)?
        else {
            figures.give_up(p50, 5, worker.name, plan.patience.as_secs_f64());
            figures.give_up(p99, 5, worker.name, plan.patience.as_secs_f64());
            return Ok(InTime::No);
        };
        let taken = durations(answer)?;
        if turn == Turn::Counted {
            figures.add(p50, 5, worker.name, percentile(&taken, 50, MICROSECOND));
            figures.add(p99, 5, worker.name, percentile(&taken, 99, MICROSECOND));
        }
        Ok(InTime::Yes)
    })
}
