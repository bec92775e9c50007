//! `redlock reset`.

use std::process::ExitCode;

use clap::Args;

use crate::args::Nodes;
use crate::exit::Failure;
use crate::output::{line, plain};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  redlock inspect deploy                             who holds it?
  redlock reset deploy --if-owner 1763712000000000   take it from that very holder, by its fencing token
  redlock reset deploy                               take it from whoever holds it, permits too
  redlock reset --marks rotate-keys                  a new job with --once, on nodes that were just started

This is for a holder that is gone or stuck: whoever works under the lock learns of it only when the lock is extended next, and is
not alone until then.")]
pub(crate) struct Options {
    /// The lock's name
    name: String,
    /// Only while it is held by the owner of this fencing token, or of this name: what `inspect` shows
    #[arg(long, value_name = "VALUE")]
    if_owner: Option<String>,
    /// Only this permit, counted from zero
    #[arg(long, value_name = "NUMBER", conflicts_with = "if_owner")]
    permit: Option<u32>,
    /// Leave the lock, and say that no run of its job with --once was completed: for a new job, or to run one again
    #[arg(long, conflicts_with_all = ["if_owner", "permit"])]
    marks: bool,
}

pub(crate) fn main(nodes: &Nodes, options: &Options) -> Result<ExitCode, Failure> {
    let locks = nodes.manager()?;
    let Options { name, if_owner, permit, marks } = options;
    let shown = plain(name);
    if *marks {
        let on = locks.reset_marks_blocking(name.as_str())?;
        line(format_args!("{shown}: no run was completed, say all nodes now; {on} of them knew one"))?;
        return Ok(ExitCode::SUCCESS);
    }
    match (if_owner, permit) {
        (Some(owner), _) => {
            locks.reset_if_owner_blocking(name.as_str(), owner.as_str())?;
            line(format_args!("{shown}: taken from {}", plain(owner)))?;
        }
        (None, permit) => {
            let on = match permit {
                Some(permit) => locks.reset_permit_blocking(name.as_str(), *permit)?,
                None => locks.reset_blocking(name.as_str())?,
            };
            line(match on {
                0 => format!("{shown}: nobody held it"),
                on => format!("{shown}: taken, on {on} nodes"),
            })?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
