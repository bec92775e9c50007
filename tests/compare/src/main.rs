//! Compares redlock with the two commands underneath and with its Rust peers, in one run.
//!
//! `cargo run --release -p redlock-compare`, with these options behind `--`:
//!
//! - `--rows a,b`: only these rows
//! - `--repetitions N`: how often all take turns; default 5
//! - `--quick`: short turns, to see that everything works; the figures mean little
//! - `--only-ours`: without the peers, which are compiled by the first run that has them
//! - `--contestants ours,floor`: only these; with one row, something for a profiler to look at
//! - `--json FILE`: every single figure goes there too
//!
//! *floor* is the least that a quorum lock can do: `SET NX PX`, then a compare-and-delete by EVALSHA, sent to all nodes at
//! once over one multiplexed connection each, done when a majority answered. *floor-fenced* is the same two steps with the
//! scripts of ours, called by hand. *floor-push* is the floor with a message of each release, which wakes those who wait;
//! *floor* itself asks every millisecond. *floor-line* is *floor-push* behind a line in the process.
//!
//! Each contestant is a process of its own, on servers that this program starts. In each repetition all have their turn, in
//! another order each time, so that whatever else the machine does meets all of them. Absolute figures do not carry to
//! another machine or another run; ratios do, and the targets are judged by them.
//!
//! # Layout
//!
//! - `options`: what is asked for
//! - `contestants`: those that this program brings itself
//! - `crew`: the processes, and how they take turns
//! - `effort`: what servers did
//! - `figures`: what was measured, and its spread
//! - `rows`: what is measured, a module for each kind
//! - `targets`: what is to be reached, and whether it is
//! - `report`: both, for people and for programs

use std::env;

use anyhow::ensure;
use redlock_compare::Orders;

use figures::Figures;
use options::Options;

mod options;

mod contestants;

mod crew;

mod effort;

mod figures;

mod rows;

mod targets;

mod report;

fn main() -> anyhow::Result<()> {
    if let Some(orders) = Orders::read(env::args().skip(1))? {
        return contestants::take_part(&orders);
    }
    let options = Options::read(env::args().skip(1))?;
    let plan = options.plan()?;
    let began = report::circumstances(rows::cycles::steadiness(&plan)?);
    println!("{}\n", report::heading(&options, &began));
    let mut figures = Figures::default();
    let mut ended_early = Vec::new();
    for row in rows::ALL.iter().filter(|row| options.has(row.letters)) {
        let known = figures.series().len();
        let measured = (row.measure)(&plan, &mut figures);
        report::tables(&figures.series()[known..], &figures);
        if let Err(error) = measured {
            println!("Row {} ended early: {error:#}\n", row.letters);
            ended_early.push(row.letters);
        }
    }
    ensure!(
        !figures.series().is_empty() || !ended_early.is_empty(),
        "nothing was measured: none of these contestants takes part in these rows"
    );
    let verdicts = targets::judge(&figures, began.are_busy());
    report::verdicts(&verdicts);
    if let Some(file) = &options.json {
        report::write_json(file, (&options, &began), &figures, &verdicts, &ended_early)?;
    }
    ensure!(ended_early.is_empty(), "these rows ended early: {}", ended_early.join(", "));
    Ok(())
}
