//! What there is to see, printed once.

use std::fmt::Write as _;
use std::process::ExitCode;

use redlock_runtime::NodeStanding;
use serde_json::json;

use crate::clock::std_now as now;
use crate::duration::short;
use crate::exit::{Failure, NO_QUORUM};
use crate::fleet::{Fleet, LockJson, Model, NodeJson, Sort, State, Window, padded};
use crate::output;

const HEADS: [&str; 6] = ["LOCK", "STATE", "HOLDER", "HELD FOR", "LEFT", "WAITING"];

/// All locks and nodes, for people.
pub(super) fn print(fleet: &Fleet, sort: Sort) -> Result<ExitCode, Failure> {
    let (model, now) = (fleet.model(), now());
    let window = Window { sort, order: sort.usual_order(), count: usize::MAX, ..Window::default() };
    let rows: Vec<[String; 6]> = window
        .of(&model, now)
        .rows
        .iter()
        .map(|row| {
            let (is_free, none) = (row.state == State::Free, || "-".to_owned());
            let known = if row.acquired.is_some() { "" } else { "≥" };
            [
                row.shown.to_string(),
                row.shown_state(),
                row.holder.as_deref().map_or_else(none, str::to_owned),
                if is_free { none() } else { format!("{known}{}", short(row.age(now))) },
                row.left(now).map_or_else(none, short),
                row.waiting.to_string(),
            ]
        })
        .collect();
    let mut text = String::new();
    let widths: [usize; 6] = std::array::from_fn(|column| {
        let width = |cell: &str| unicode_width::UnicodeWidthStr::width(cell);
        rows.iter().map(|row| width(&row[column])).chain([HEADS[column].len()]).max().unwrap_or_default()
    });
    let mut line = |cells: [&str; 6]| {
        let cells: Vec<_> = cells.iter().zip(widths).map(|(cell, width)| padded(cell, width)).collect();
        let line = cells.join("  ");
        text.push_str(line.trim_end());
        text.push('\n');
    };
    line(HEADS);
    for row in &rows {
        line(row.each_ref().map(String::as_str));
    }
    text.push('\n');
    for lamp in model.lamps() {
        let round_trip = lamp.round_trip.map(|took| format!(", {}", short(took))).unwrap_or_default();
        let failure = lamp.failure.as_ref().map(|failure| format!(", {failure}")).unwrap_or_default();
        // A String takes whatever is written.
        let _ = writeln!(text, "{}: {}{round_trip}{failure}", lamp.node, lamp.standing);
    }
    finish(&text, &model)
}

/// The same for programs.
pub(super) fn print_json(fleet: &Fleet) -> Result<ExitCode, Failure> {
    let (model, now) = (fleet.model(), now());
    let window = Window { sort: Sort::Name, order: Sort::Name.usual_order(), count: usize::MAX, ..Window::default() };
    let locks: Vec<_> = window.of(&model, now).rows.into_iter().map(|row| LockJson::of(row, now)).collect();
    let text = json!({ "locks": locks, "nodes": NodeJson::of_all(&model, now), "problem": model.problem() });
    finish(&format!("{text}\n"), &model)
}

/// Whoever reads may have had enough, as `head` has.
fn finish(text: &str, model: &Model) -> Result<ExitCode, Failure> {
    output::all(text.as_bytes())?;
    let Some(problem) = model.problem() else { return Ok(ExitCode::SUCCESS) };
    let is_anybody_there = model.lamps().iter().any(|lamp| lamp.standing != NodeStanding::Unreachable);
    let cure = if is_anybody_there { "" } else { "check --nodes or REDLOCK_NODES, and " };
    Err(Failure { code: NO_QUORUM, message: format!("{problem}; {cure}`redlock doctor` says what to do") })
}
