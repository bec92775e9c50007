//! `redlock reset`.

use std::process::ExitCode;

use clap::Args;

use crate::args::Nodes;
use crate::exit::{Failure, RESET_CODES};
use crate::output::{line, plain};

const EXAMPLES: &str = "\
Examples:
  redlock inspect deploy                             who holds it?
  redlock reset deploy --if-owner 1763712000000000   take it from that very holder, by its fencing token
  redlock reset deploy                               take it from whoever holds it, permits too
  redlock reset --marks rotate-keys                  a new job with --once, on nodes that were just started
  redlock reset --json deploy | jq .nodes            on how many nodes it was held

This is for a holder that is gone or stuck: whoever works under the lock learns of it only when the lock is extended next, and is
not alone until then.";

#[derive(Debug, Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{RESET_CODES}"))]
pub(crate) struct Options {
    /// The lock's name
    name: String,
    /// Only while it is held by the owner of this fencing token, or of this label: what `inspect` shows
    #[arg(long, value_name = "VALUE")]
    if_owner: Option<String>,
    /// Only this permit, counted from zero
    #[arg(long, value_name = "NUMBER", conflicts_with = "if_owner")]
    permit: Option<u32>,
    /// Keep the lock, and forget its job's completed runs (--once): for a new job, or to run one again
    #[arg(long, conflicts_with_all = ["if_owner", "permit"])]
    marks: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn main(nodes: &Nodes, options: &Options) -> Result<ExitCode, Failure> {
    let locks = nodes.manager()?;
    let Options { name, if_owner, permit, marks, json } = options;
    let (shown, lock) = (plain(name), name.as_str());
    // On how many nodes it, or a mark, was; of one owner's lock that is not known.
    let (on, said) = match (marks, if_owner, permit) {
        (true, _, _) => {
            let on = locks.reset_marks_blocking(lock)?;
            (Some(on), format!("{shown}: no completed run is left on any node; {} had one", nodes_of(on)))
        }
        (false, Some(owner), _) => {
            locks.reset_if_owner_blocking(lock, owner.as_str())?;
            (None, format!("{shown}: taken from {}", plain(owner)))
        }
        (false, None, permit) => {
            let on = match permit {
                Some(permit) => locks.reset_permit_blocking(lock, *permit)?,
                None => locks.reset_blocking(lock)?,
            };
            let said = match on {
                0 => format!("{shown}: nobody held it"),
                on => format!("{shown}: taken, on {}", nodes_of(on)),
            };
            (Some(on), said)
        }
    };
    if *json {
        line(serde_json::json!({ "name": name, "owner": if_owner, "permit": permit, "marks": marks, "nodes": on }))?;
    } else {
        line(said)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// So many nodes, in words.
fn nodes_of(count: usize) -> String {
    match count {
        0 => "none".to_owned(),
        1 => "1 node".to_owned(),
        nodes => format!("{nodes} nodes"),
    }
}
