use std::thread;
use std::time::Duration;

use anyhow::bail;
use redlock_compare::{Answer, Job};
use redlock_tests::Servers;

use super::NODES;
use crate::crew::{InTime, Plan, Turn, Worker};
use crate::figures::{Figures, Measure};

pub(crate) const BYTES: Measure =
    Measure { row: 'h', what: "10,000 locks held", setting: "", unit: "bytes each", beside: Some(("floor", "")) };
const COMMANDS: Measure = Measure {
    row: 'i',
    what: "10,000 locks renewed each second (TTL 3 s): client commands",
    setting: "",
    unit: "per second and node",
    beside: None,
};
const PROCESSOR: Measure = Measure {
    what: "10,000 locks renewed each second (TTL 3 s): processor time of a server",
    unit: "ms per second",
    ..COMMANDS
};
const VALID: Measure =
    Measure { what: "10,000 locks renewed each second (TTL 3 s): still held", unit: "%", ..COMMANDS };

/// How many are held.
const LOCKS: usize = 10_000;

/// How long these keys live; what renews them does so a third of this after each success.
const TTL: Duration = Duration::from_secs(3);

/// Until what is done once for a new lock is done.
const SETTLING: Duration = Duration::from_millis(300);

/// Two renewals of each lock.
const WINDOW: Duration = Duration::from_secs(2);

/// Those that renew by themselves.
const RENEWING: [&str; 2] = ["ours", "distributed-lock-redis"];

/// What a server did since it was started.
#[derive(Clone, Copy)]
struct Effort {
    commands: f64,
    /// Seconds.
    processor: f64,
}

pub(crate) fn hold(plan: &Plan, figures: &mut Figures) -> anyhow::Result<()> {
    for nodes in NODES {
        let mut crew: Vec<_> = plan
            .present(&["floor", "ours", "rslock", "distributed-lock-redis"])
            .map(|name| (name, Servers::start(nodes)))
            .collect();
        plan.take_turns(&mut crew, |(name, servers), turn| {
            if turn == Turn::First {
                // Each turn has a process of its own, which is not to be warm.
                return Ok(InTime::Yes);
            }
            servers.iter().for_each(|server| server.probe().flush_all());
            let mut worker = plan.worker(name, servers, TTL)?;
            let (mut weight, _) = weigh(&mut worker, Job::Hold { locks: LOCKS })?;
            if RENEWING.contains(name) {
                thread::sleep(SETTLING);
                let before = effort(servers);
                thread::sleep(WINDOW);
                let after = effort(servers);
                let (later, valid) = weigh(&mut worker, Job::Weigh)?;
                weight = weight.max(later);
                let rate = |before: f64, after: f64| (after - before) / count(nodes) / WINDOW.as_secs_f64();
                figures.add(COMMANDS, nodes, name, rate(before.commands, after.commands));
                figures.add(PROCESSOR, nodes, name, rate(before.processor, after.processor) * 1e3);
                figures.add(VALID, nodes, name, 100.0 * count(valid) / count(LOCKS));
            }
            figures.add(BYTES, nodes, name, weight / count(LOCKS));
            Ok(InTime::Yes)
        })?;
    }
    Ok(())
}

/// What the locks weigh, and how many are held.
fn weigh(worker: &mut Worker, job: Job) -> anyhow::Result<(f64, usize)> {
    let answer = worker.finish(job)?;
    let Answer::Weight { before, now, valid } = answer else { bail!("{answer:?} is no weight") };
    #[expect(clippy::cast_precision_loss, reason = "some megabytes")]
    let bytes = now.saturating_sub(before) as f64;
    Ok((bytes, valid))
}

#[expect(clippy::cast_precision_loss, reason = "a few thousand")]
fn count(count: usize) -> f64 {
    count as f64
}

/// What all servers did.
fn effort(servers: &Servers) -> Effort {
    let mut all = Effort { commands: 0.0, processor: 0.0 };
    for server in servers {
        let counts = server.probe().command_counts();
        #[expect(clippy::cast_precision_loss, reason = "some hundred thousand")]
        let commands = ["evalsha", "eval"].iter().map(|command| counts.of(command)).sum::<u64>() as f64;
        let processor = server.probe().info("cpu");
        let seconds = |field: &str| processor.get(field).and_then(|seconds| seconds.parse().ok()).unwrap_or(0.0);
        all.commands += commands;
        all.processor += seconds("used_cpu_user") + seconds("used_cpu_sys");
    }
    all
}
