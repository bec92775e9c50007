use std::collections::BTreeSet;

use anyhow::bail;
use redlock_compare::{Answer, Job};
use redlock_tests::{Monitor, Servers};

use super::NODES;
use crate::crew::{InTime, Plan, TTL, Turn, durations};
use crate::effort::Effort;
use crate::figures::{Figures, MICROSECOND, Measure, Spread, percentile};

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
pub(crate) const PER_SECOND_OF_MANY: Measure =
    Measure { what: "512 tasks on 512 names, acquire + release", ..PER_SECOND };

/// Tasks with a name each.
pub(crate) struct Crowd {
    tasks: usize,
    per_second: Measure,
    /// The processor time of the client: unlike the throughput, hardly changed by whatever else the machine does.
    pub(crate) client: Measure,
    /// That of all servers.
    servers: Measure,
}

pub(crate) const CROWDS: [Crowd; 3] = [
    Crowd {
        tasks: 8,
        per_second: Measure { what: "8 tasks on 8 names, acquire + release", ..PER_SECOND },
        client: Measure {
            what: "8 tasks on 8 names, acquire + release, processor time of the client",
            unit: "µs each",
            ..PER_SECOND
        },
        servers: Measure {
            what: "8 tasks on 8 names, acquire + release, processor time of all servers",
            unit: "µs each",
            ..PER_SECOND
        },
    },
    Crowd {
        tasks: 64,
        per_second: PER_SECOND,
        client: Measure {
            what: "64 tasks on 64 names, acquire + release, processor time of the client",
            unit: "µs each",
            ..PER_SECOND
        },
        servers: Measure {
            what: "64 tasks on 64 names, acquire + release, processor time of all servers",
            unit: "µs each",
            ..PER_SECOND
        },
    },
    Crowd {
        tasks: 512,
        per_second: PER_SECOND_OF_MANY,
        client: Measure {
            what: "512 tasks on 512 names, acquire + release, processor time of the client",
            unit: "µs each",
            ..PER_SECOND
        },
        servers: Measure {
            what: "512 tasks on 512 names, acquire + release, processor time of all servers",
            unit: "µs each",
            ..PER_SECOND
        },
    },
];

/// With one run per fire, an acquisition is for a fire of its own, so it is one task's.
const OF_ONE_TASK: [&str; 9] = [
    "floor",
    "floor-fenced",
    "ours",
    "ours-unfenced",
    "ours-once",
    "#[redlock]",
    "rslock",
    "distributed-lock-redis",
    "redlock",
];

const ALL: [&str; 8] =
    ["floor", "floor-fenced", "ours", "ours-unfenced", "#[redlock]", "rslock", "distributed-lock-redis", "redlock"];

/// What the floor takes in some short turns at one node: how far they are apart tells whether the machine does something else.
pub(crate) fn steadiness(plan: &Plan) -> anyhow::Result<Option<Spread>> {
    let servers = Servers::start(1);
    let mut worker = plan.worker("floor", &servers, TTL)?;
    let mut turns = Vec::new();
    for _ in 0..8 {
        let taken = durations(worker.finish(Job::Cycle { milliseconds: plan.milliseconds(Turn::Counted, 150) })?)?;
        turns.push(percentile(&taken, 50, MICROSECOND));
    }
    // The first one warms up.
    Ok(Spread::of(turns.split_off(1)))
}

pub(crate) fn one_task(plan: &Plan, figures: &mut Figures) -> anyhow::Result<()> {
    for nodes in NODES {
        let servers = Servers::start(nodes);
        plan.take_turns(&mut plan.crew(&OF_ONE_TASK, &servers)?, |worker, turn| {
            let taken = durations(worker.finish(Job::Cycle { milliseconds: plan.milliseconds(turn, 300) })?)?;
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
        let [by_hand, ours] = [shapes("floor-fenced", plan, &servers)?, shapes("ours", plan, &servers)?];
        if by_hand != ours {
            println!("**floor-fenced sends {by_hand:?}, but ours sends {ours:?}: mend the former.**\n");
        }
        let mut crew = plan.crew(&ALL, &servers)?;
        for crowd in &CROWDS {
            plan.take_turns(&mut crew, |worker, turn| {
                let before = Effort::of(&servers).processor;
                let job = Job::Many { tasks: crowd.tasks, milliseconds: plan.milliseconds(turn, 300) };
                let answer = worker.finish(job)?;
                let servers_took = Effort::of(&servers).processor - before;
                let Answer::Done { cycles, nanoseconds, processor } = answer else {
                    bail!("{answer:?} is no throughput")
                };
                #[expect(clippy::cast_precision_loss, reason = "parts of a second")]
                let [cycles, nanoseconds, processor] = [cycles, nanoseconds, processor].map(|count| count as f64);
                if turn == Turn::Counted {
                    figures.add(crowd.per_second, nodes, worker.name, cycles / nanoseconds * 1e9);
                    figures.add(crowd.client, nodes, worker.name, processor / cycles / MICROSECOND);
                    figures.add(crowd.servers, nodes, worker.name, servers_took / cycles * 1e6);
                }
                Ok(InTime::Yes)
            })?;
        }
    }
    Ok(())
}

/// What the scripts of a cycle are called with: which script, with how many arguments, and which of them are empty.
fn shapes(name: &'static str, plan: &Plan, servers: &Servers) -> anyhow::Result<BTreeSet<String>> {
    let mut worker = plan.worker(name, servers, TTL)?;
    // The first one connects, and has the fencing counter made.
    worker.finish(Job::Cycle { milliseconds: 1 })?;
    let monitor = Monitor::start(&servers[0]);
    worker.finish(Job::Cycle { milliseconds: 1 })?;
    let shape = |line: &String| {
        let mut arguments = line.split("\" \"").skip(1).map(|argument| argument.trim_end_matches('"'));
        let script = arguments.next().unwrap_or_default().to_owned();
        arguments.map(|argument| if argument.is_empty() { " -" } else { " x" }).fold(script, |all, one| all + one)
    };
    Ok(monitor.sent_about("EVALSHA").iter().map(shape).collect())
}
