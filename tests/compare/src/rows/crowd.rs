use std::time::Duration;

use anyhow::{Context, bail};
use redlock_compare::{Answer, Job, Waiter};
use redlock_tests::Servers;
use redlock_tests::clock::monotonic_nanoseconds;

use super::NODES;
use crate::crew::{InTime, Plan, TTL, Turn, Worker, durations};
use crate::figures::{Figures, MILLISECOND, Measure, percentile};

pub(crate) const ONE_PROCESS: &str = "1 process x 8";
pub(crate) const TWO_PROCESSES: &str = "2 processes x 4";
pub(crate) const COMMANDS: Measure = Measure {
    row: 'd',
    what: "eight waiters on one name, held 0 to 1 ms: client commands per acquisition and node",
    setting: ONE_PROCESS,
    unit: "",
    beside: None,
};
pub(crate) const LONGEST: Measure =
    Measure { what: "eight waiters on one name, held 0 to 1 ms: longest wait", unit: "ms", ..COMMANDS };
pub(crate) const FAIRNESS: Measure =
    Measure { what: "eight waiters on one name, held 0 to 1 ms: fewest / most acquisitions of a waiter", ..COMMANDS };
const PER_SECOND: Measure =
    Measure { what: "eight waiters on one name, held 0 to 1 ms: acquisitions", unit: "per second", ..COMMANDS };
const BURST: Measure = Measure {
    row: 'e',
    what: "eight waiters want a name once each: first release to last acquisition, p50",
    setting: "",
    unit: "ms",
    beside: Some(("floor-push", "")),
};

/// Some processes on servers of their own, where nobody else's commands are counted.
struct Crowd {
    name: &'static str,
    setting: &'static str,
    servers: Servers,
    workers: Vec<Worker>,
}

pub(crate) fn compete(plan: &Plan, figures: &mut Figures) -> anyhow::Result<()> {
    for nodes in NODES {
        let mut crowds = Vec::new();
        for name in plan.present(&["floor-line", "ours", "rslock"]) {
            for (processes, setting) in [(1, ONE_PROCESS), (2, TWO_PROCESSES)] {
                let servers = Servers::start(nodes);
                let workers =
                    (0..processes).map(|_| plan.worker(name, &servers, TTL)).collect::<anyhow::Result<_>>()?;
                crowds.push(Crowd { name, setting, servers, workers });
            }
        }
        plan.take_turns(&mut crowds, |crowd, turn| {
            let before = crowd.commands();
            let (waiters, seconds) = crowd.compete(plan.milliseconds(turn, 700))?;
            let commands = crowd.commands() - before;
            if turn == Turn::First {
                return Ok(InTime::Yes);
            }
            let acquired = waiters.iter().map(|waiter| waiter.acquired);
            let longest = waiters.iter().map(|waiter| waiter.longest).max().unwrap_or(0);
            let (fewest, most) = (acquired.clone().min().unwrap_or(0), acquired.clone().max().unwrap_or(0));
            #[expect(clippy::cast_precision_loss, reason = "a few thousand, and a few seconds")]
            let [total, commands, fewest, most, longest, nodes_] =
                [acquired.sum(), commands, fewest, most, longest, nodes as u64].map(|count| count as f64);
            for (measure, value) in [
                (COMMANDS, commands / nodes_ / total),
                (LONGEST, longest / MILLISECOND),
                (FAIRNESS, fewest / most),
                (PER_SECOND, total / seconds),
            ] {
                figures.add(measure.when(crowd.setting), nodes, crowd.name, value);
            }
            Ok(InTime::Yes)
        })?;
    }
    Ok(())
}

impl Crowd {
    /// All want one name; returns what each of them got, and the time in seconds.
    fn compete(&mut self, milliseconds: u64) -> anyhow::Result<(Vec<Waiter>, f64)> {
        let until = monotonic_nanoseconds() + milliseconds * 1_000_000;
        let tasks = 8 / self.workers.len();
        for worker in &mut self.workers {
            worker.begin(Job::Compete { tasks, until })?;
        }
        let mut all = Vec::new();
        for worker in &mut self.workers {
            match worker.answer(Duration::from_secs(60))?.context("the crowd did not end within a minute")? {
                Answer::Waiters(waiters) => all.extend(waiters),
                other => bail!("{other:?} does not say what waiters got"),
            }
        }
        Ok((all, Duration::from_millis(milliseconds).as_secs_f64()))
    }

    /// What clients have sent to all servers. What is counted is not run by scripts of this contestant: only ours have a SET.
    fn commands(&self) -> u64 {
        let counts = self.servers.iter().map(|server| server.probe().command_counts());
        let mut sent = vec!["evalsha", "eval", "client|caching", "client|tracking"];
        if self.name != "ours" {
            sent.extend(["set", "script|load"]);
        }
        counts.map(|counts| sent.iter().map(|command| counts.of(command)).sum::<u64>()).sum()
    }
}

pub(crate) fn burst(plan: &Plan, figures: &mut Figures) -> anyhow::Result<()> {
    let bursts = if plan.divisor == 1 { 6 } else { 1 };
    for nodes in NODES {
        let mut crew = Vec::new();
        for name in plan.present(&["floor-push", "floor-line", "ours", "rslock"]) {
            // Of their own: two of them listen to the same messages.
            let servers = Servers::start(nodes);
            crew.push((plan.worker(name, &servers, TTL)?, servers));
        }
        plan.take_turns(&mut crew, |(worker, _), turn| {
            let taken = durations(worker.finish(Job::Burst { waiters: 8, bursts })?)?;
            if turn == Turn::Counted {
                figures.add(BURST, nodes, worker.name, percentile(&taken, 50, MILLISECOND));
            }
            Ok(InTime::Yes)
        })?;
    }
    Ok(())
}
