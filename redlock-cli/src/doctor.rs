//! `redlock doctor`.

use std::process::ExitCode;

use clap::Args;
use redlock_runtime::{CheckReport, CheckVerdict, ClockOffset, NodeCheck, Role};
use serde_json::{Value, json};

use crate::args::Nodes;
use crate::exit::Failure;
use crate::output::{all, milliseconds};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  redlock doctor
  redlock doctor --nodes redis://10.0.0.1,redis://10.0.0.2,redis://10.0.0.3
  redlock doctor --json | jq -r '.findings[].text'

A lock is tried out on each node, and nothing of it stays.

Exit codes:
  0      every node works
  1      locks work, and something is to be done
  2      no lock can be acquired
  125    wrong arguments or settings")]
pub(crate) struct Options {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn main(nodes: &Nodes, options: &Options) -> Result<ExitCode, Failure> {
    let report = nodes.manager()?.check_blocking()?;
    let text = if options.json { in_json(&report).to_string() } else { report.to_string() };
    // The verdict is what it is, whoever reads it.
    all((text + "\n").as_bytes())?;
    Ok(ExitCode::from(match report.verdict() {
        CheckVerdict::Healthy => 0,
        CheckVerdict::Degraded { .. } => 1,
        _ => 2,
    }))
}

fn in_json(report: &CheckReport) -> Value {
    let verdict = match report.verdict() {
        CheckVerdict::Healthy => "healthy",
        CheckVerdict::Degraded { .. } => "degraded",
        _ => "unusable",
    };
    let findings = report
        .findings()
        .iter()
        .map(|finding| json!({ "severity": finding.severity.to_string(), "node": finding.node, "text": finding.text }));
    json!({
        "verdict": verdict,
        "summary": report.verdict().to_string(),
        "nodes": report.nodes().iter().map(node).collect::<Vec<_>>(),
        "findings": findings.collect::<Vec<_>>(),
    })
}

fn node(check: &NodeCheck) -> Value {
    let microseconds = |offset| i64::try_from(offset).unwrap_or(i64::MAX);
    let role = |role| if role == Role::Master { "master" } else { "replica" };
    let clock = |clock| match clock {
        ClockOffset::Ahead(by) => Some(microseconds(by.as_micros())),
        ClockOffset::Behind(by) => Some(-microseconds(by.as_micros())),
        _ => None,
    };
    json!({
        "node": check.node,
        "address": check.address,
        "unreachable": check.unreachable,
        "can_lock": check.can_lock,
        "role": check.role.map(role),
        "version": check.version,
        "age_ms": check.age.map(milliseconds),
        "round_trip_us": check.round_trip.map(|round_trip| microseconds(round_trip.as_micros())),
        "clock_offset_us": check.clock.and_then(clock),
        "eviction": check.eviction,
        "persistence": check.persistence.map(|persistence| persistence.to_string()),
        "wakes_by": check.wakes.map(|wakes| wakes.to_string()),
    })
}
