use std::thread;
use std::time::Duration;

use anyhow::bail;
use redlock_compare::{Answer, Job};
use redlock_tests::Servers;

use super::NODES;
use crate::crew::{InTime, Plan, TTL, Turn, Worker};
use crate::effort::Effort;
use crate::figures::{Figures, Measure};

pub(crate) const BYTES: Measure =
    Measure { row: 'h', what: "10,000 locks held", setting: "", unit: "bytes each", beside: Some(("floor", "")) };
/// Also what renewal allocated and the allocator keeps.
pub(crate) const BYTES_RENEWED: Measure =
    Measure { what: "10,000 locks held and renewed twice", beside: None, ..BYTES };
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

/// How long the keys live whose renewal is looked at, a third of this after each success.
const RENEWED_TTL: Duration = Duration::from_secs(3);

/// Until what is done once for a new lock is done.
const SETTLING: Duration = Duration::from_millis(300);

/// Two renewals of each lock.
const WINDOW: Duration = Duration::from_secs(2);

/// How long anybody may take to acquire all.
const ACQUIRING: Duration = Duration::from_secs(20);

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
            let is_ours = *name == "ours";
            let mut worker = plan.worker(name, servers, if is_ours { RENEWED_TTL } else { TTL })?;
            let Some(answer) = worker.work(Job::Hold { locks: LOCKS }, ACQUIRING)? else {
                figures.give_up(BYTES, nodes, name, ACQUIRING.as_secs_f64());
                return Ok(InTime::No);
            };
            let (weight, _) = weight(&answer)?;
            figures.add(BYTES, nodes, name, weight / count(LOCKS));
            if is_ours {
                renew(&mut worker, servers, figures)?;
            }
            Ok(InTime::Yes)
        })?;
    }
    Ok(())
}

/// Looks at two renewals of each lock.
fn renew(worker: &mut Worker, servers: &Servers, figures: &mut Figures) -> anyhow::Result<()> {
    let nodes = servers.len();
    thread::sleep(SETTLING);
    let before = Effort::of(servers);
    thread::sleep(WINDOW);
    let after = Effort::of(servers);
    let (weight, valid) = weight(&worker.finish(Job::Weigh)?)?;
    let rate = |before: f64, after: f64| (after - before) / count(nodes) / WINDOW.as_secs_f64();
    for (measure, value) in [
        (BYTES_RENEWED, weight / count(LOCKS)),
        (COMMANDS, rate(before.commands, after.commands)),
        (PROCESSOR, rate(before.processor, after.processor) * 1e3),
        (VALID, 100.0 * count(valid) / count(LOCKS)),
    ] {
        figures.add(measure, nodes, worker.name, value);
    }
    Ok(())
}

/// What the locks weigh, in bytes, and how many are held.
fn weight(answer: &Answer) -> anyhow::Result<(f64, usize)> {
    let Answer::Weight { before, now, valid } = answer else { bail!("{answer:?} is no weight") };
    #[expect(clippy::cast_precision_loss, reason = "some megabytes")]
    let bytes = now.saturating_sub(*before) as f64;
    Ok((bytes, *valid))
}

#[expect(clippy::cast_precision_loss, reason = "a few thousand")]
fn count(count: usize) -> f64 {
    count as f64
}
