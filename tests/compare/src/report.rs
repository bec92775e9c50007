//! What was measured and reached, for people and for programs.

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::path::Path;
use std::thread;

use anyhow::Context;
use serde::Serialize;
use serde_json::json;

use crate::figures::{Figures, Measure, Series, Spread};
use crate::options::Options;
use crate::targets::Verdict;

/// What the figures depend on.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Circumstances {
    processors: usize,
    /// How many processes wanted a processor in the last minute, on average.
    load: Option<f64>,
    /// What the floor takes at one node, in µs.
    floor: Option<Spread>,
}

/// So much is one turn of the floor apart from another on a machine that does nothing else.
const STEADY: f64 = 1.25;

impl Circumstances {
    /// Whether the machine does something else.
    pub(crate) fn are_busy(&self) -> bool {
        let is_unsteady = |floor: Spread| floor.greatest > STEADY * floor.least;
        self.load.is_some_and(|load| load > 0.5) || self.floor.is_some_and(is_unsteady)
    }
}

/// The floor is measured before everything else.
pub(crate) fn circumstances(floor: Option<Spread>) -> Circumstances {
    let load = fs::read_to_string("/proc/loadavg").ok();
    let load = load.as_deref().and_then(|load| load.split(' ').next()).and_then(|load| load.parse().ok());
    Circumstances { processors: thread::available_parallelism().map_or(0, usize::from), load, floor }
}

pub(crate) fn heading(options: &Options, began: &Circumstances) -> String {
    let busy =
        "**Something else runs on this machine: of the targets, those are not trusted whose repetitions disagree.** ";
    format!(
        "# Comparison\n\n{}{} repetitions{}; {} processors; load before: {}; one task on the floor, N=1, p50 in µs, turn by turn: {}. \
         Figures: least, median and greatest over the repetitions; ratios are taken within each repetition.",
        if began.are_busy() { busy } else { "" },
        options.repetitions,
        if options.is_quick { ", quick: the figures mean little" } else { "" },
        began.processors,
        began.load.map_or("unknown".to_owned(), |load| load.to_string()),
        began.floor.map_or("unknown".to_owned(), three),
    )
}

/// Prints a table for each measure of these.
pub(crate) fn tables(series: &[Series], all: &Figures) {
    let mut measures: Vec<Measure> = Vec::new();
    for series in series {
        if !measures.contains(&series.measure) {
            measures.push(series.measure);
        }
    }
    for measure in measures {
        println!("{}", table(measure, series.iter().filter(|series| series.measure == measure), all));
    }
}

fn table<'a>(measure: Measure, series: impl Iterator<Item = &'a Series>, all: &Figures) -> String {
    let Measure { row, what, setting, unit, beside } = measure;
    let mut nodes: Vec<usize> = Vec::new();
    let mut contestants: Vec<&str> = Vec::new();
    for series in series {
        if !nodes.contains(&series.nodes) {
            nodes.push(series.nodes);
        }
        if !contestants.contains(&series.contestant) {
            contestants.push(series.contestant);
        }
    }
    // Each has been the first in turn; in the table they stand still.
    contestants.sort_unstable_by_key(|contestant| ORDER.iter().position(|known| known == contestant));
    let title = [what, setting, unit].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ");
    let mut table = format!("## {row}. {title}\n\n|  |");
    let relative = beside.map(|(contestant, setting)| match setting {
        same if same == measure.setting => format!("/ {contestant}"),
        other => format!("/ {contestant}, {other}"),
    });
    for nodes in &nodes {
        let _ = write!(table, " N={nodes} |");
    }
    for (nodes, relative) in nodes.iter().zip(relative.iter().cycle()) {
        let _ = write!(table, " N={nodes} {relative} |");
    }
    let columns = nodes.len() * (1 + usize::from(beside.is_some()));
    let _ = writeln!(table, "\n|---|{}", "---:|".repeat(columns));
    for contestant in contestants {
        let _ = write!(table, "| {contestant} |");
        for nodes in &nodes {
            let _ = write!(table, " {} |", all.find(measure, *nodes, contestant).map(cell).unwrap_or_default());
        }
        for nodes in nodes.iter().filter(|_| beside.is_some()) {
            let ratio = all.find(measure, *nodes, contestant).and_then(|series| all.beside(series));
            let _ = write!(table, " {} |", ratio.map(three).unwrap_or_default());
        }
        table.push('\n');
    }
    table
}

/// The order of tables.
const ORDER: [&str; 12] = [
    "floor",
    "floor-fenced",
    "floor-push",
    "floor-line",
    "by hand",
    "ours",
    "ours-unfenced",
    "ours-once",
    "#[redlock]",
    "rslock",
    "distributed-lock-redis",
    "redlock",
];

fn cell(series: &Series) -> String {
    let values = series.spread().map(three);
    let gave_up = series.gave_up_after.map(|seconds| format!("> {seconds} s"));
    values.into_iter().chain(gave_up).collect::<Vec<_>>().join(", then ")
}

fn three(Spread { least, median, greatest }: Spread) -> String {
    format!("{} **{}** {}", figure(least), figure(median), figure(greatest))
}

/// Three digits behind the first, or all in front of the point.
fn figure(value: f64) -> String {
    match value.abs() {
        100.0.. => format!("{value:.0}"),
        10.0..100.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}

pub(crate) fn verdicts(verdicts: &[Verdict]) {
    println!("## Targets\n\n| target | reached | |\n|---|---:|---|");
    for Verdict { target, reached, is_met, is_trusted } in verdicts {
        let verdict = match (is_met, is_trusted) {
            (Some(true), true) => "met",
            (Some(false), true) => "**MISSED**",
            (Some(true), false) => "met, not trusted",
            (Some(false), false) => "missed, not trusted",
            (None, _) => "",
        };
        let reached = reached.map_or("not done in time".to_owned(), three);
        println!("| {target} | {reached} | {verdict} |");
    }
    let judged = verdicts.iter().filter_map(|verdict| verdict.is_met);
    println!("\n{} of {} met", judged.clone().filter(|is_met| *is_met).count(), judged.count());
}

/// Whether there is, or can be, such a file; what is in it stays.
pub(crate) fn check_writable(file: &Path) -> anyhow::Result<()> {
    OpenOptions::new().append(true).create(true).open(file).with_context(|| cannot_be_written(file))?;
    Ok(())
}

pub(crate) fn write_json(
    file: &Path,
    (options, began): (&Options, &Circumstances),
    figures: &Figures,
    verdicts: &[Verdict],
    ended_early: &[&str],
) -> anyhow::Result<()> {
    let series: Vec<_> = figures
        .series()
        .iter()
        .map(|series| json!({ "figures": series, "spread": series.spread(), "ratio": figures.beside(series) }))
        .collect();
    let all = json!({
        "repetitions": options.repetitions,
        "quick": options.is_quick,
        "before": began,
        "after": circumstances(None),
        "series": series,
        "targets": verdicts,
        "rows_that_ended_early": ended_early,
    });
    fs::write(file, format!("{all:#}\n")).with_context(|| cannot_be_written(file))
}

fn cannot_be_written(file: &Path) -> String {
    format!("{} cannot be written", file.display())
}
