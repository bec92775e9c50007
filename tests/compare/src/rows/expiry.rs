use redlock_compare::Job;
use redlock_tests::Servers;

use super::NODES;
use crate::crew::{InTime, Plan, Turn, durations};
use crate::figures::{Figures, MILLISECOND, Measure, percentile};

const EMPTY: &str = "empty database";
const BUSY: &str = "10,000 other volatile keys";
pub(crate) const DATABASES: [&str; 2] = [EMPTY, BUSY];
pub(crate) const P50: Measure = Measure {
    row: 'g',
    what: "waiter of a crashed holder, lateness after expiry, p50",
    setting: EMPTY,
    unit: "ms",
    beside: None,
};
pub(crate) const LATEST: Measure = Measure { what: "waiter of a crashed holder, lateness after expiry, max", ..P50 };

/// Ten minutes, and each a bit longer.
const FILL: &str =
    "for number = 1, 10000 do redis.call('SET', 'other:' .. number, 'x', 'PX', 600000 + number) end return 1";

pub(crate) fn expire(plan: &Plan, figures: &mut Figures) -> anyhow::Result<()> {
    for nodes in NODES {
        let sets = DATABASES.map(|setting| (setting, Servers::start(nodes)));
        for server in &sets[1].1 {
            server.probe().run::<i64>(redis::cmd("EVAL").arg(FILL).arg(0))?;
        }
        let mut crew = Vec::new();
        for (setting, servers) in &sets {
            let workers = plan.crew(&["floor", "ours", "rslock"], servers)?;
            crew.extend(workers.into_iter().map(|worker| (*setting, worker)));
        }
        plan.take_turns(&mut crew, |(setting, worker), turn| {
            let late = durations(worker.finish(Job::Expire { waiters: 5, ttl_milliseconds: 250 })?)?;
            if turn == Turn::Counted {
                figures.add(P50.when(setting), nodes, worker.name, percentile(&late, 50, MILLISECOND));
                figures.add(LATEST.when(setting), nodes, worker.name, percentile(&late, 100, MILLISECOND));
            }
            Ok(InTime::Yes)
        })?;
    }
    Ok(())
}
