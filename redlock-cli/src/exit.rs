//! What a run ends with: a code, and one line that names the cure.

use std::fmt;
use std::process::ExitCode;

/// Nothing that can be helped by trying again: wrong arguments, or no way to a majority.
pub(crate) const OURS: u8 = 125;

/// Why a command ended without doing what was asked, in one line, and the code that says so.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: u8,
    pub(crate) message: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<redlock_runtime::Error> for Failure {
    fn from(error: redlock_runtime::Error) -> Self {
        Self { code: OURS, message: error.to_string() }
    }
}

/// Prints what went wrong, if anything did, and turns it into the code of the process.
pub(crate) fn report(done: Result<ExitCode, Failure>) -> ExitCode {
    done.unwrap_or_else(|failure| {
        eprintln!("redlock: {failure}");
        ExitCode::from(failure.code)
    })
}
