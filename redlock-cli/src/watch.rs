//! `redlock wait` and `watch`.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use redlock_runtime::{Error, LockInfo, LockManager};
use tokio::runtime::Builder;

use crate::args::Nodes;
use crate::clock::now;
use crate::duration;
use crate::exit::{Failure, NO_QUORUM, NOT_ACQUIRED, WAIT_CODES, WATCH_CODES, tell};
use crate::output::{self, line, plain};
use crate::signals;

const WAIT_EXAMPLES: &str = "\
Examples:
  redlock wait deploy && ./smoke-test     when no deploy is under way
  redlock wait -w 10m deploy              for ten minutes at most; the exit code is 75 then

Somebody else may have it by the time this returns: to do something only if nobody else does, use `redlock run`.";

#[derive(Debug, Args)]
#[command(after_help = format!("{WAIT_EXAMPLES}\n\n{WAIT_CODES}"))]
pub(crate) struct WaitOptions {
    /// The lock's name
    name: String,
    /// Wait for so long at most [default: as long as it takes]
    #[arg(short = 'w', long, value_name = "DURATION", value_parser = duration::parse)]
    wait: Option<Duration>,
    /// Print what it is in the end, in JSON
    #[arg(long)]
    json: bool,
}

const WATCH_EXAMPLES: &str = "\
Examples:
  redlock watch deploy          a line for each change, the present state first
  redlock watch                 all locks, new ones too
  redlock watch --json deploy | jq -r .owner

The servers report changes as they happen; where one cannot, it is asked once a second. While too few nodes answer, a line on stderr says so,
and it goes on when they do.";

#[derive(Debug, Args)]
#[command(after_help = format!("{WATCH_EXAMPLES}\n\n{WATCH_CODES}"))]
pub(crate) struct WatchOptions {
    /// The lock's name [default: all locks]
    name: Option<String>,
    /// Print an object in JSON for each change, a line each
    #[arg(long)]
    json: bool,
}

pub(crate) fn wait(nodes: &Nodes, options: &WaitOptions) -> Result<ExitCode, Failure> {
    let locks = nodes.manager()?;
    let deadline = options.wait.and_then(|wait| now().checked_add(wait));
    block_on(async {
        let mut watch = locks.watch(options.name.as_str());
        let mut last: Option<LockInfo> = None;
        let mut is_answered = false;
        loop {
            let next = async {
                match deadline {
                    Some(deadline) => tokio::time::timeout_at(deadline, watch.next()).await.ok(),
                    None => Some(watch.next().await),
                }
            };
            let seen = match next.await {
                // However short the time is, what the nodes answer when they are asked first is waited for.
                None if !is_answered => Some(watch.next().await),
                seen => seen,
            };
            is_answered = true;
            let Some(info) = seen else {
                let (name, waited) = (plain(&options.name), duration::short(options.wait.unwrap_or_default()));
                let (code, message) = if let Some(info) = last {
                    (NOT_ACQUIRED, format!("lock `{name}` was still {} after {waited}", info.state))
                } else {
                    let cure = "`redlock doctor` says what to do";
                    (
                        NO_QUORUM,
                        format!("too few nodes have told within {waited} whether lock `{name}` is free; {cure}"),
                    )
                };
                return Err(Failure { code, message });
            };
            let Some(info) = told(info)? else {
                // What was seen before says nothing of now.
                last = None;
                continue;
            };
            if is_free(&info) {
                if options.json {
                    line(output::lock(&info))?;
                }
                return Ok(ExitCode::SUCCESS);
            }
            last = Some(info);
        }
    })
}

/// Whether somebody who wanted it would get it, or one of its permits; and nobody reads or writes under its name.
fn is_free(info: &LockInfo) -> bool {
    use redlock_runtime::LockState::Free;
    let is_shared = info.shared.as_ref().is_some_and(|shared| shared.writer != Free || shared.readers > 0);
    let is_permitted = info.permits.is_empty() || info.permits.iter().any(|permit| permit.state == Free);
    info.state == Free && is_permitted && !is_shared
}

pub(crate) fn watch(nodes: &Nodes, options: &WatchOptions) -> Result<ExitCode, Failure> {
    let locks = nodes.manager()?;
    block_on(async {
        match &options.name {
            Some(name) => watch_one(&locks, name, options.json).await,
            None => watch_all(&locks, options.json).await,
        }
    })
}

async fn watch_one(locks: &LockManager, name: &str, is_json: bool) -> Result<ExitCode, Failure> {
    let mut watch = locks.watch(name);
    loop {
        print(told(watch.next().await)?.as_ref(), is_json)?;
    }
}

async fn watch_all(locks: &LockManager, is_json: bool) -> Result<ExitCode, Failure> {
    let mut watch = locks.watch_all();
    loop {
        print(told(watch.next().await)?.as_ref(), is_json)?;
    }
}

/// What was seen; `None` if too few nodes can tell for now, which is said on stderr.
fn told(seen: Result<LockInfo, Error>) -> Result<Option<LockInfo>, Failure> {
    match seen {
        Ok(info) => Ok(Some(info)),
        Err(error @ (Error::QuorumUnreachable { .. } | Error::ListIncomplete { .. })) => {
            tell(Failure::from(error));
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

fn print(info: Option<&LockInfo>, is_json: bool) -> Result<(), Failure> {
    let Some(info) = info else { return Ok(()) };
    if is_json { line(output::lock(info)) } else { line(info) }
}

fn block_on(done: impl Future<Output = Result<ExitCode, Failure>>) -> Result<ExitCode, Failure> {
    signals::runtime(&mut Builder::new_current_thread())?.block_on(done)
}
