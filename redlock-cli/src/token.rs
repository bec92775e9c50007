//! `redlock acquire`, `extend` and `release`: a lock that a script holds by its token.
//!
//! Whoever has the token can release the lock, so it is never an argument, which everybody can see who may list processes.

use std::fs::File;
use std::io::{IsTerminal, Read, stdin};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use redlock_runtime::LockToken;
use tokio::runtime::Builder;

use crate::args::Nodes;
use crate::duration;
use crate::exit::{ACQUIRE_CODES, Failure, TOKEN_CODES, tell};
use crate::owner;
use crate::request::{NODE_TIMEOUT, Wanted};
use crate::signals::{self, Signals};
use crate::token_file::{TokenFile, tell_if_others_may_read};
use crate::waits::{Telling, say_why};

const ACQUIRE_EXAMPLES: &str = "\
Examples:
  token=$(redlock acquire -w 30 --ttl 5m deploy) || exit
  trap 'redlock release <<<\"$token\"' EXIT
  redlock extend --ttl 5m <<<\"$token\" || exit      before the five minutes are over, again and again

Nobody renews such a lock: it is free when its TTL is over. `redlock run` renews, and ends the command if the lock is lost.";

const EXTEND_EXAMPLES: &str = "\
Examples:
  redlock extend --ttl 5m <<<\"$token\" || exit
  redlock extend --ttl 5m --token-file /run/deploy.token";

const RELEASE_EXAMPLES: &str = "\
Examples:
  redlock release <<<\"$token\"
  redlock release --token-file /run/deploy.token";

#[derive(Debug, Args)]
#[command(after_help = format!("{ACQUIRE_EXAMPLES}\n\n{ACQUIRE_CODES}"))]
pub(crate) struct AcquireOptions {
    #[command(flatten)]
    wanted: Wanted,
    #[command(flatten)]
    telling: Telling,
    /// Write the token to this file, which only its owner may read, instead of stdout
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The lock's name
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

#[derive(Debug, Args)]
#[command(after_help = format!("{EXTEND_EXAMPLES}\n\n{TOKEN_CODES}"))]
pub(crate) struct ExtendOptions {
    /// How long the lock lives from now on, at the least
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, default_value = "30s")]
    ttl: Duration,
    #[command(flatten)]
    given: Given,
}

#[derive(Debug, Args)]
#[command(after_help = format!("{RELEASE_EXAMPLES}\n\n{TOKEN_CODES}"))]
pub(crate) struct ReleaseOptions {
    #[command(flatten)]
    given: Given,
}

/// A token that `acquire` gave.
#[derive(Debug, Args)]
struct Given {
    /// Read the token from this file instead of stdin
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// The longest text that can be a token: names have 512 bytes.
const LONGEST: u64 = 4096;

impl Given {
    fn token(&self) -> Result<LockToken, Failure> {
        let mut text = String::new();
        let read = match &self.token_file {
            Some(path) => {
                let file = File::open(path).map_err(|error| unreadable(path, &error))?;
                tell_if_others_may_read(path, &file);
                file.take(LONGEST).read_to_string(&mut text).map_err(|error| unreadable(path, &error))
            }
            None if stdin().is_terminal() => {
                let cure = "give the token that `redlock acquire` printed on stdin (<<<\"$token\"), or in a file with --token-file";
                return Err(Failure::ours(cure));
            }
            None => {
                stdin().take(LONGEST).read_to_string(&mut text).map_err(|error| unreadable(Path::new("stdin"), &error))
            }
        };
        read?;
        text.trim_end_matches(['\n', '\r']).parse().map_err(|_| {
            Failure::ours("what was given is not the token of a lock; give what `redlock acquire` printed, unchanged")
        })
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::ours(format!("{} cannot be read: {error}", path.display()))
}

pub(crate) fn acquire(nodes: &Nodes, options: &AcquireOptions) -> Result<ExitCode, Failure> {
    nodes.check_shared()?;
    options.wanted.check_token(&options.names)?;
    // Before the lock is taken.
    let place = TokenFile::create(options.token_file.as_deref())?;
    let runtime = signals::runtime(&mut Builder::new_current_thread())?;
    runtime.block_on(acquire_now(nodes, options, place)).map_err(|failure| options.wanted.failure(failure))
}

async fn acquire_now(nodes: &Nodes, options: &AcquireOptions, place: TokenFile) -> Result<ExitCode, Failure> {
    let mut signals =
        Signals::that_end().map_err(|error| Failure::ours(format!("signals cannot be caught: {error}")))?;
    let locks = nodes.builder()?.owner_label(owner::of_script()).build()?;
    let request = options.wanted.request(&locks, &options.names)?;
    let acquired = {
        let acquiring = pin!(request.acquire());
        let waiting = pin!(say_why(&locks, &options.names, options.telling.is_wanted(), tell));
        tokio::select! {
            biased;
            signal = signals.next() => Err(signal),
            acquired = acquiring => Ok(acquired),
            never = waiting => match never {},
        }
    };
    let guard = match acquired {
        Ok(guard) => guard?,
        Err(signal) => {
            // Nothing stays behind of what was begun, on nodes that answer.
            let _ = locks.shutdown_within(NODE_TIMEOUT).await;
            return Ok(ExitCode::from(128 + signal as u8));
        }
    };
    let token = guard.detach();
    let text = format!("{token}\n");
    if let Err(error) = place.write(text.as_bytes()) {
        let _ = locks.release(&token).await;
        return Err(Failure::ours(format!("the token cannot be written, so the lock was released: {error}")));
    }
    // Who has it, which is told behind the lock's back.
    let _ = locks.shutdown_within(NODE_TIMEOUT).await;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn extend(nodes: &Nodes, options: &ExtendOptions) -> Result<ExitCode, Failure> {
    let token = options.given.token()?;
    nodes.manager()?.extend_blocking(&token, options.ttl)?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn release(nodes: &Nodes, options: &ReleaseOptions) -> Result<ExitCode, Failure> {
    let token = options.given.token()?;
    let locks = nodes.manager()?;
    locks.release_blocking(&token)?;
    // The nodes that are slower than a majority, if they answer at all.
    let _ = locks.shutdown_within_blocking(NODE_TIMEOUT);
    Ok(ExitCode::SUCCESS)
}
