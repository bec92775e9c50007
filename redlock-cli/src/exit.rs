//! What a run ends with: a code, and one line that names the cure.

use std::error::Error as _;
use std::fmt;
use std::process::ExitCode;

use redlock_runtime::Error;

use crate::clock::since_1970;
use crate::fires;
use crate::output::plain;
use crate::words::{of_options, quoted};

/// Too few nodes answered.
// Source: EX_UNAVAILABLE and EX_TEMPFAIL, https://man.openbsd.org/sysexits
pub(crate) const NO_QUORUM: u8 = 69;

/// Somebody else holds the lock, or the fire already ran.
pub(crate) const NOT_ACQUIRED: u8 = 75;

/// The lock was lost, or is not the token's any more.
pub(crate) const LOST: u8 = 122;

/// The command ran for longer than it was allowed to.
// Source: timeout(1), as those that follow are those of env(1), https://www.gnu.org/software/coreutils/manual/
pub(crate) const MAX_HOLD: u8 = 124;

/// Nothing that can be helped by trying again: wrong arguments, or something of ours that failed.
pub(crate) const OURS: u8 = 125;

/// The command is there and cannot be started.
pub(crate) const CANNOT_START: u8 = 126;

/// The command is not there.
pub(crate) const NOT_FOUND: u8 = 127;

/// What `--help` says of the codes.
pub(crate) const CODES: &str = "\
Exit codes:
  0      done; of `run`: the command's own code
  1      `last`: no completed run is known; `doctor`: locks work, and something is to be done
  2      `doctor`: no lock can be acquired
  128+n  the command, or the wait for the lock, was ended by signal n
  75     somebody else holds the lock, or the fire already ran (-E sets another code)
  69     too few nodes answered
  122    the lock was lost, or is not held by this owner any more
  124    the command was ended because of --max-hold
  125    wrong arguments or settings
  126    the command cannot be started
  127    there is no such command";

/// What `run --help` says of them.
pub(crate) const RUN_CODES: &str = "\
Exit codes:
  0      the command ended with 0; any other code of its own is handed on as well
  128+n  the command, or the wait for the lock, was ended by signal n
  75     somebody else holds the lock, or the fire already ran (-E sets another code)
  69     too few nodes answered
  122    the lock was lost, and the command was ended
  124    the command was ended because of --max-hold
  125    wrong arguments or settings
  126    the command cannot be started
  127    there is no such command";

/// What `acquire --help` says of them.
pub(crate) const ACQUIRE_CODES: &str = "\
Exit codes:
  0      the lock is held, and its token was written
  128+n  the wait for the lock was ended by signal n
  75     somebody else holds the lock (-E sets another code)
  69     too few nodes answered
  125    wrong arguments or settings, or the token cannot be written";

/// What `extend --help` and `release --help` say of them.
pub(crate) const TOKEN_CODES: &str = "\
Exit codes:
  0      done
  69     too few nodes answered
  122    the lock is not the token's any more: it expired, or was reset
  125    wrong arguments or settings";

/// What `list --help`, `inspect --help` and `top --help` say of them.
pub(crate) const LOOK_CODES: &str = "\
Exit codes:
  0      done
  69     too few nodes answered
  125    wrong arguments or settings, or nothing can be printed";

/// What `reset --help` says of them.
pub(crate) const RESET_CODES: &str = "\
Exit codes:
  0      done, also if nobody held it
  69     too few nodes answered; doing it again does no harm
  122    --if-owner: another one holds it, or nobody
  125    wrong arguments or settings";

/// What `wait --help` says of them.
pub(crate) const WAIT_CODES: &str = "\
Exit codes:
  0      the lock was free
  75     it was held when the time of -w was over
  69     the time of -w was over, and too few nodes had answered
  125    wrong arguments or settings";

/// What `watch --help` says of them.
pub(crate) const WATCH_CODES: &str = "\
Exit codes:
  0      whoever read the lines has stopped to read
  125    wrong arguments or settings, or nothing can be printed";

/// Why a command ended without doing what was asked, in one line, and the code that says so.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: u8,
    pub(crate) message: String,
}

impl Failure {
    /// Wrong arguments, or something of ours.
    pub(crate) fn ours(message: impl Into<String>) -> Self {
        Self { code: OURS, message: message.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let code = match &error {
            Error::NotAcquired { .. } | Error::AlreadyRan { .. } => NOT_ACQUIRED,
            Error::QuorumUnreachable { .. }
            | Error::NoNodeAnswered { .. }
            | Error::ListIncomplete { .. }
            | Error::FireInDoubt { .. }
            | Error::NotCompleted { .. } => NO_QUORUM,
            Error::Lost { .. } | Error::NotHeld { .. } => LOST,
            _ => OURS,
        };
        let source = error.source().map(|source| of_options(&source.to_string())).filter(|source| !source.is_empty());
        let message = match (&error, source) {
            (
                Error::QuorumUnreachable { .. }
                | Error::NoNodeAnswered { .. }
                | Error::ListIncomplete { .. }
                | Error::NotCompleted { .. },
                source,
            ) => {
                let source = source.map(|source| format!(" ({source})")).unwrap_or_default();
                format!("{error}{source}; `redlock doctor` says what to do")
            }
            (Error::FireInDoubt { covered_by: Some(_), .. }, _) => {
                format!("{error}; `redlock doctor` says what is wrong with them")
            }
            (Error::FireInDoubt { name, fire, .. }, source) => format!(
                "fire {} of lock `{}` is in doubt and does not run: too few nodes know whether it was completed ({}); if the job is new, say \
                 so once with `redlock reset --marks {}`, else `redlock doctor` says what is wrong with the nodes",
                fires::told(*fire, since_1970()),
                plain(name),
                source.unwrap_or_default(),
                quoted(name)
            ),
            (Error::AlreadyRan { name, fire, completed }, _) if completed <= fire => format!(
                "fire {fire} of lock `{}` already ran: the last one that was completed is {}; if it may run again, say so with \
                 `redlock reset --marks {}`",
                plain(name),
                fires::told(*completed, since_1970()),
                quoted(name)
            ),
            (Error::Config { .. }, _) => of_options(&error.to_string()),
            _ => error.to_string(),
        };
        Self { code, message }
    }
}

/// Says something to whoever runs this, in a line on stderr. A stderr that is closed is none of our business.
pub(crate) fn tell(message: impl fmt::Display) {
    use std::io::Write as _;
    let line = format!("redlock: {message}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// Prints what went wrong, if anything did, and turns it into the code of the process.
pub(crate) fn report(done: Result<ExitCode, Failure>) -> ExitCode {
    done.unwrap_or_else(|failure| {
        if !failure.message.is_empty() {
            tell(&failure);
        }
        ExitCode::from(failure.code)
    })
}
