//! `redlock list`, `inspect` and `last`.

use std::process::ExitCode;

use clap::Args;
use redlock_runtime::LockInfo;

use crate::args::Nodes;
use crate::clock::since_1970;
use crate::duration::short;
use crate::exit::{Failure, LOOK_CODES};
use crate::fires;
use crate::output::{self, foreign, line};

const LIST_EXAMPLES: &str = "\
Examples:
  redlock list                       the names, one a line
  redlock list --long                with holders and ages
  redlock list --json | jq -r .name  an object a line

A name is listed once, in no order. A list that may lack a lock that is held ends with the exit code 69. A name
in which somebody wrote control characters, as clients in other languages can, is listed with \\u{a} in their place; --json has it as it is.";

const INSPECT_EXAMPLES: &str = "\
Examples:
  redlock inspect deploy
  redlock inspect deploy --json | jq -r .owner

It tells what was, not what is: to do something only if nobody else does, use `redlock run`.";

#[derive(Debug, Args)]
#[command(after_help = format!("{LIST_EXAMPLES}\n\n{LOOK_CODES}"))]
pub(crate) struct ListOptions {
    /// Also show who holds each lock
    #[arg(short, long)]
    long: bool,
    /// Print an object in JSON for each lock, a line each
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = format!("{INSPECT_EXAMPLES}\n\n{LOOK_CODES}"))]
pub(crate) struct InspectOptions {
    /// The lock's name
    name: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  redlock last rotate-keys           the greatest completed fire
  redlock last rotate-keys --json

A fire of a period or a moment is a number of milliseconds since 1970: when the run was called, or was due. Nodes that restarted empty have forgotten what was completed.

Exit codes:
  0      a completed run is known
  1      none is known
  69     too few nodes answered
  125    wrong arguments or settings")]
pub(crate) struct LastOptions {
    /// The lock's name
    name: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn list(nodes: &Nodes, options: &ListOptions) -> Result<ExitCode, Failure> {
    let locks = nodes.manager()?;
    for name in locks.list_blocking() {
        let name = name?;
        match (options.long, options.json) {
            (false, false) => line(foreign(&name))?,
            (false, true) => line(serde_json::json!({ "name": name }))?,
            (true, false) => line(locks.inspect_blocking(name)?)?,
            (true, true) => line(output::lock(&locks.inspect_blocking(name)?))?,
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn inspect(nodes: &Nodes, options: &InspectOptions) -> Result<ExitCode, Failure> {
    let info = nodes.manager()?.inspect_blocking(options.name.as_str())?;
    if options.json {
        line(output::lock(&info))?;
    } else {
        for told in in_lines(&info) {
            line(told)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What is known of a lock, a line each.
fn in_lines(info: &LockInfo) -> Vec<String> {
    let mut lines = vec![format!("{}: {}", output::plain(&info.name), info.state)];
    let mut told = |what: &str, value: Option<String>| {
        lines.extend(value.map(|value| format!("  {what:<14}{value}")));
    };
    told("owner", info.owner_label.as_deref().map(output::plain));
    told("held for", info.held_for.map(short));
    told("remaining", info.remaining.map(|remaining| format!("{}, unless it is extended", short(remaining))));
    told("fencing token", info.fencing_token.map(|token| token.to_string()));
    told("nodes", Some(format!("{} of {} have it, {} are needed", info.votes, info.nodes, info.needed)));
    told("waiting", Some(info.waiting.to_string()));
    told("last run", info.last_run.map(|run| format!("fire {}", fires::told(run.fire, since_1970()))));
    for permit in &info.permits {
        told("", Some(permit.to_string()));
    }
    told("shared", info.shared.as_ref().map(ToString::to_string));
    for failure in info.failures.iter() {
        let said = format!("{}: {}", output::plain(&failure.node), output::plain(&failure.reason));
        told("no answer", Some(said));
    }
    lines
}

pub(crate) fn last(nodes: &Nodes, options: &LastOptions) -> Result<ExitCode, Failure> {
    let Some(run) = nodes.manager()?.last_run_blocking(options.name.as_str())? else {
        output::all(if options.json { b"null\n" } else { b"no completed run is known\n" })?;
        return Ok(ExitCode::FAILURE);
    };
    if options.json {
        line(output::last_run(&run))?;
    } else {
        let doubt = if run.is_confirmed { "" } else { ", which less than a majority of the nodes confirms" };
        let fire = fires::told(run.fire, since_1970());
        line(format_args!("fire {fire}, fencing token {}{doubt}", run.fencing_token))?;
    }
    Ok(ExitCode::SUCCESS)
}
