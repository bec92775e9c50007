//! How a lock is asked for: what `run` and `acquire` have in common.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use clap::Args;
use redlock_runtime::{Fire, LockManager, LockRequest, Timeout};
use serde::{Deserialize, Serialize};

use crate::duration;
use crate::exit::Failure;

/// Which lock, how long to wait for it, and how it is held.
#[derive(Args, Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Wanted {
    /// Fail at once if somebody else holds the lock
    #[arg(short = 'n', long = "nonblock", conflicts_with = "wait")]
    pub(crate) nonblock: bool,
    /// Wait for so long at most: 30, 1.5s, 2m [default: as long as it takes]
    #[arg(short = 'w', long, value_name = "DURATION", value_parser = duration::parse, allow_negative_numbers = true)]
    pub(crate) wait: Option<Duration>,
    /// The exit code when somebody else holds the lock, or the fire already ran [default: 75]
    #[arg(short = 'E', long, value_name = "CODE", allow_negative_numbers = true)]
    pub(crate) conflict_exit_code: Option<u8>,
    /// How long the lock outlives a machine that dies [default: 30s]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, allow_negative_numbers = true)]
    pub(crate) ttl: Option<Duration>,
    /// Share the lock with other readers
    #[arg(long, conflicts_with = "write")]
    pub(crate) read: bool,
    /// Keep readers out, too
    #[arg(long)]
    pub(crate) write: bool,
}

impl Wanted {
    /// The request for these names.
    ///
    /// The one place where a kind of lock is chosen.
    pub(crate) fn request(&self, locks: &LockManager, names: &[String]) -> Result<LockRequest, Failure> {
        self.check(names)?;
        let request = match names {
            [name] if self.read => locks.read(name),
            [name] if self.write => locks.write(name),
            [name] => locks.lock(name),
            several => locks.lock_all(several),
        };
        let request = request.timeout(self.timeout());
        Ok(match self.ttl {
            Some(ttl) => request.ttl(ttl),
            None => request,
        })
    }

    /// Whether there is such a lock.
    pub(crate) fn check(&self, names: &[String]) -> Result<(), Failure> {
        if (self.read || self.write) && names.len() > 1 {
            return Err(Failure::ours(
                "--read and --write are about one name; write `redlock run --read A -- redlock run --read B -- COMMAND`, in the same order \
                 everywhere",
            ));
        }
        Ok(())
    }

    /// Whether a token could say what is held.
    pub(crate) fn check_token(&self, names: &[String]) -> Result<(), Failure> {
        self.check(names)?;
        if self.read || self.write || names.len() > 1 {
            return Err(Failure::ours(
                "a token is of one name, and of a lock that is not shared; use `redlock run` for --read, --write and several names",
            ));
        }
        Ok(())
    }

    fn timeout(&self) -> Timeout {
        match self.wait {
            _ if self.nonblock => Timeout::Skip,
            Some(limit) => Timeout::After(limit),
            None => Timeout::Forever,
        }
    }

    /// The failure, with the code that was asked for where somebody else has the lock.
    pub(crate) fn failure(&self, failure: Failure) -> Failure {
        match self.conflict_exit_code {
            // Whoever asks for success has said that nothing is wrong; a cron line has nothing to mail.
            Some(0) if failure.code == crate::exit::NOT_ACQUIRED => Failure { code: 0, message: String::new() },
            Some(code) if failure.code == crate::exit::NOT_ACQUIRED => Failure { code, ..failure },
            _ => failure,
        }
    }
}

/// How long one node's answer may take, as in every manager that sets nothing else. Whoever was asked to end waits no longer for nodes
/// that may not answer at all.
pub(crate) const NODE_TIMEOUT: Duration = Duration::from_millis(250);

/// Which run of a job it is.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) enum Once {
    /// A number that grows with each run.
    Number(u64),
    /// The moment at which it is due, in seconds since 1970.
    At(u64),
    /// Once a period.
    Every(Duration),
}

impl From<Once> for Fire {
    fn from(once: Once) -> Self {
        match once {
            Once::Number(number) => Self::from(number),
            Once::At(seconds) => Self::at(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)),
            Once::Every(period) => Self::every(period),
        }
    }
}

impl FromStr for Once {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(number) = text.parse() {
            return Ok(Self::Number(number));
        }
        if let Some(seconds) = text.strip_prefix('@') {
            // What a clock cannot show is no moment.
            let seconds: u64 = seconds.parse().map_err(|_| not_once(&text))?;
            return if seconds > 0 && seconds < 1 << 40 { Ok(Self::At(seconds)) } else { Err(not_once(&text)) };
        }
        duration::parse(text).map(Self::Every).map_err(|_| not_once(&text))
    }
}

fn not_once(text: &impl fmt::Display) -> String {
    format!(
        "`{text}` is no fire: write a period with its unit (1h), a number that grows (17), or a moment (@SECONDS since 1970)"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_a_number_a_moment_or_a_period() {
        for (text, expect) in [
            ("17", Once::Number(17)),
            ("@1800000000", Once::At(1_800_000_000)),
            ("1h", Once::Every(Duration::from_secs(3600))),
            ("1d", Once::Every(Duration::from_secs(86_400))),
        ] {
            assert_eq!(text.parse(), Ok(expect), "{text}");
        }
        for text in ["", "@", "@x", "@0", "@99999999999999", "hourly", "-1"] {
            assert!(text.parse::<Once>().is_err(), "{text}");
        }
    }
}
