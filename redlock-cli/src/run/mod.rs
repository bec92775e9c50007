//! `redlock run`: any command under a lock.
//!
//! Three processes: `front` is the one that was started, which hands signals on and ends as the command does; `holder` holds the
//! lock and renews it; and the command, in a process group of its own, which `launch` begins. Each of them notices when another
//! one is killed, and nothing of the command is left then.

mod elsewhere;
mod front;
mod group;
mod holder;
mod launch;
mod limits;
mod mark;
mod messages;
mod moment;
mod processes;
mod terminal;

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use tokio::runtime::Builder;

use self::limits::LEAST_TTL;
use self::mark::Mark;
use self::messages::Task;
use crate::args::Nodes;
use crate::duration;
use crate::exit::{Failure, RUN_CODES};
use crate::owner;
use crate::request::{Once, Wanted};
use crate::signals;
use crate::waits::Telling;

#[derive(Debug, Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{RUN_CODES}"))]
pub(crate) struct Options {
    #[command(flatten)]
    wanted: Wanted,
    #[command(flatten)]
    telling: Telling,
    /// End the command when it has run for so long: TERM, then KILL
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    max_hold: Option<Duration>,
    /// Keep the lock from others for so long at least, also if the command is faster
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    min_hold: Option<Duration>,
    /// Let up to so many run at once, 1 to 64; the same number everywhere
    #[arg(long, value_name = "K")]
    permits: Option<u32>,
    /// Run once per period (1h), number (17) or moment (@SECONDS since 1970), in the whole fleet
    #[arg(long, value_name = "FIRE|PERIOD")]
    once: Option<Once>,
    /// How long the command has between TERM and KILL, when its lock is lost or --max-hold is over; less if the lock ends sooner
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, default_value = "5s")]
    kill_after: Duration,
    /// The lock's name
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// The command and its arguments, behind `--`
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

const EXAMPLES: &str = "\
Examples:
  redlock run deploy -- ./deploy.sh                     one machine at a time; the others wait
  redlock run -n backup -- pg_dump -f backup.sql shop   skip it if another machine is at it
  redlock run -w 5m --max-hold 1h migrate -- ./migrate  wait for five minutes, run for an hour at most
  redlock run -E 0 --once 1d rotate -- rotate-keys      a cron line on every machine, one run a day
  redlock run --permits 3 import -- ./import            three at a time

The command runs in a process group of its own and is told of its lock by REDLOCK_NAME, REDLOCK_FENCING_TOKEN, REDLOCK_FIRE and
REDLOCK_PERMIT. TERM, INT, HUP, QUIT, USR1, USR2 and WINCH are handed on to the whole group. When the lock is lost the group is sent TERM,
and KILL before anybody else can have the lock.";

/// What a hidden first argument says: one of the other two processes of a run.
pub(crate) fn hidden(arguments: &[OsString]) -> Option<ExitCode> {
    match arguments.first()?.to_str()? {
        holder::WORD => Some(holder::main()),
        launch::WORD => Some(launch::main(&arguments[1..])),
        _ => None,
    }
}

pub(crate) fn main(nodes: &Nodes, options: Options) -> Result<ExitCode, Failure> {
    let Options { wanted, telling, max_hold, min_hold, permits, once, kill_after, names, command } = options;
    nodes.check_shared()?;
    wanted.check(&names)?;
    if let Some(ttl) = wanted.ttl.filter(|ttl| *ttl < LEAST_TTL) {
        return Err(Failure::ours(format!(
            "a --ttl of {} is too short to be renewed in time while a command runs; write {} or more, or omit it",
            duration::short(ttl),
            duration::short(LEAST_TTL)
        )));
    }
    let task = Task {
        nodes: nodes.clone(),
        names,
        wanted,
        min_hold,
        max_hold,
        permits,
        once,
        kill_after,
        label: owner::of_command(&command.first().map(|program| program.to_string_lossy()).unwrap_or_default()),
        tells_waits: telling.is_wanted(),
        mark: Mark::new(),
    };
    // One thread, which is the one that the command dies with.
    let runtime = signals::runtime(&mut Builder::new_current_thread())?;
    let done = runtime.block_on(front::run(&task, &command));
    // Nobody waits for the lock's holder, which may still be about a slow node.
    runtime.shutdown_background();
    done.map_err(|failure| task.wanted.failure(failure))
}
