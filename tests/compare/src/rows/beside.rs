//! A crowd of ours beside waiters of Python, who ask again and again after random pauses, and wake nobody.

use std::collections::BTreeMap;
use std::env;
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use redlock_compare::{Answer, Job};
use redlock_tests::clock::monotonic_nanoseconds;
use redlock_tests::python::{Class, Python};
use redlock_tests::{Program, Servers};

use super::NODES;
use crate::crew::{Plan, TTL, Worker};
use crate::figures::{Figures, MILLISECOND, Measure};

pub(crate) const LONGEST: Measure = Measure {
    row: 'k',
    what: "three waiters of Python beside a crowd of eight: longest time without a turn",
    setting: "",
    unit: "ms",
    beside: None,
};
const TURNS: Measure =
    Measure { what: "three waiters of Python beside a crowd of eight: turns of each", unit: "per second", ..LONGEST };
const OURS: Measure = Measure {
    what: "three waiters of Python beside a crowd of eight: turns of the crowd",
    unit: "per second",
    ..LONGEST
};

/// How many are of Python.
const OTHERS: usize = 3;

/// How long an interpreter may take until it has had its first turn.
const STARTING: Duration = Duration::from_secs(20);

/// How long they compete.
const WINDOW: Duration = Duration::from_secs(6);

pub(crate) fn compete(plan: &Plan, figures: &mut Figures) -> anyhow::Result<()> {
    if plan.present(&["ours"]).next().is_none() {
        return Ok(());
    }
    let own = env::current_exe()?;
    let target = own.ancestors().nth(2).context("this program is in its target directory")?;
    let Some(python) = Python::in_directory(&target.join("compare-python")) else { return Ok(()) };
    for nodes in NODES {
        let servers = Servers::start(nodes);
        let mut worker = plan.worker("ours", &servers, TTL)?;
        for _ in 0..plan.repetitions {
            let (others, acquired) = beside(plan, &python, &servers, &mut worker)?;
            let seconds = WINDOW.as_secs_f64() / f64::from(plan.divisor);
            #[expect(clippy::cast_precision_loss, reason = "some thousand turns, and some seconds")]
            let [longest, turns, acquired] = [
                others.iter().map(|waiter| waiter.longest).max().unwrap_or(0),
                others.iter().map(|waiter| waiter.turns).sum::<u64>(),
                acquired,
            ]
            .map(|count| count as f64);
            #[expect(clippy::cast_precision_loss, reason = "three")]
            let each = turns / others.len() as f64;
            figures.add(LONGEST, nodes, "ours", longest / MILLISECOND);
            figures.add(TURNS, nodes, "ours", each / seconds);
            figures.add(OURS, nodes, "ours", acquired / seconds);
        }
    }
    Ok(())
}

/// What a waiter of Python had.
#[derive(Clone, Copy, Default)]
struct Waiter {
    turns: u64,
    /// Without a turn, in nanoseconds, from the begin of the window to its end.
    longest: u64,
}

/// Has them compete; what the others had, and how many turns the crowd.
fn beside(plan: &Plan, python: &Python, servers: &Servers, worker: &mut Worker) -> anyhow::Result<(Vec<Waiter>, u64)> {
    let arguments = ["name=crowd", "turns=1000000", "pause_ms=0", "hold_ms=1"];
    let mut others: Vec<Program> =
        (0..OTHERS).map(|_| python.start("turns.py", Class::Sync, servers, &arguments)).collect();
    for other in &others {
        other.line_within(STARTING).context("a process of Python had no turn")?;
    }
    let window = WINDOW / plan.divisor;
    let begin = monotonic_nanoseconds();
    let end = begin + u64::try_from(window.as_nanos())?;
    worker.begin(Job::Compete { tasks: 8, until: end })?;
    let answer = worker.answer(window + Duration::from_secs(60))?.context("the crowd did not end within a minute")?;
    let Answer::Waiters(crowd) = answer else { bail!("{answer:?} does not say what waiters got") };
    // What they have said by now.
    thread::sleep(Duration::from_millis(100));
    let had = others.iter().map(|other| waiter(other, begin, end)).collect::<anyhow::Result<_>>()?;
    others.iter_mut().for_each(Program::kill);
    // Who was killed in a turn had the lock.
    servers.iter().for_each(|server| server.probe().flush_all());
    Ok((had, crowd.iter().map(|waiter| waiter.acquired).sum()))
}

/// Reads what one of them said about the window.
fn waiter(other: &Program, begin: u64, end: u64) -> anyhow::Result<Waiter> {
    let mut had = BTreeMap::new();
    while let Some(line) = other.line_within(Duration::ZERO) {
        let mut words = line.split(' ').skip(1).map(str::parse::<u64>);
        let (Some(Ok(from)), Some(Ok(to))) = (words.next(), words.next()) else { bail!("{line:?} is no turn") };
        had.insert(from, to);
    }
    let (mut waiter, mut since) = (Waiter::default(), begin);
    for (from, to) in had {
        if to <= begin || from >= end {
            continue;
        }
        waiter.turns += 1;
        waiter.longest = waiter.longest.max(from.saturating_sub(since));
        since = to;
    }
    waiter.longest = waiter.longest.max(end.saturating_sub(since));
    Ok(waiter)
}
