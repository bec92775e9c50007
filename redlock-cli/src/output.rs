//! What commands print: text for people, and JSON for programs.

use std::fmt::{Display, Write as _};
use std::io::{ErrorKind, IsTerminal, Write, stdout};
use std::time::Duration;

use redlock_runtime::{LastRun, LockInfo, NodeFailures, PermitInfo, SharedInfo};
use serde_json::{Value, json};

use crate::exit::Failure;

/// Prints a line. Whoever reads may have stopped to read, which ends what is printed and is no fault.
pub(crate) fn line(text: impl Display) -> Result<(), Failure> {
    match all(format!("{text}\n").as_bytes())? {
        Reader::Reads => Ok(()),
        Reader::IsGone => Err(Failure { code: 0, message: String::new() }),
    }
}

/// Whoever reads what is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reader {
    Reads,
    /// There is nobody any more.
    IsGone,
}

/// Prints all that there is to say, behind which the code of the process says something, too.
pub(crate) fn all(text: &[u8]) -> Result<Reader, Failure> {
    let mut stdout = stdout().lock();
    match stdout.write_all(text).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(Reader::Reads),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Reader::IsGone),
        Err(error) => Err(Failure::ours(format!("nothing can be written to stdout: {error}"))),
    }
}

/// A text that somebody else wrote, on a line of its own. On a terminal, control characters and those that turn the writing direction are
/// shown as `\u{…}`; a program gets what was written, but for control characters, of which one is the end of a line.
pub(crate) fn foreign(text: &str) -> String {
    if stdout().is_terminal() || text.contains(char::is_control) { plain(text) } else { text.to_owned() }
}

/// The same, as people are shown it, whoever reads it.
pub(crate) fn plain(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        // Source: the property Bidi_Control, https://www.unicode.org/Public/UCD/latest/ucd/PropList.txt; and the two separators of
        // lines
        let turns = matches!(
            character,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        );
        if character.is_control() || turns {
            // Text takes whatever is written to it.
            let _ = write!(shown, "{}", character.escape_unicode());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// A length of time, as a number of milliseconds.
pub(crate) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

pub(crate) fn lock(info: &LockInfo) -> Value {
    json!({
        "name": info.name,
        "state": info.state.to_string(),
        "owner": info.owner_label,
        "held_for_ms": info.held_for.map(milliseconds),
        "remaining_ms": info.remaining.map(milliseconds),
        "fencing_token": info.fencing_token,
        "votes": info.votes,
        "needed": info.needed,
        "nodes": info.nodes,
        "waiting": info.waiting,
        "last_run": info.last_run.as_ref().map(last_run),
        "permits": info.permits.iter().map(permit).collect::<Vec<_>>(),
        "shared": info.shared.as_ref().map(shared),
        "failures": failures(&info.failures),
    })
}

fn shared(info: &SharedInfo) -> Value {
    json!({
        "writer": info.writer.to_string(),
        "owner": info.owner_label,
        "readers": info.readers,
        "remaining_ms": info.remaining.map(milliseconds),
    })
}

fn permit(info: &PermitInfo) -> Value {
    json!({
        "permit": info.permit,
        "state": info.state.to_string(),
        "owner": info.owner_label,
        "held_for_ms": info.held_for.map(milliseconds),
        "remaining_ms": info.remaining.map(milliseconds),
        "fencing_token": info.fencing_token,
        "votes": info.votes,
    })
}

pub(crate) fn last_run(run: &LastRun) -> Value {
    json!({ "fire": run.fire, "fencing_token": run.fencing_token, "is_confirmed": run.is_confirmed })
}

fn failures(failures: &NodeFailures) -> Vec<Value> {
    failures.iter().map(|failure| json!({ "node": failure.node, "reason": failure.reason })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_directs_a_terminal_is_escaped() {
        assert_eq!(plain("夜間 März"), "夜間 März");
        assert_eq!(plain("a\u{1b}[2J\u{202e}b"), r"a\u{1b}[2J\u{202e}b");
        assert_eq!(plain("夜 \u{202e}evil\u{1b}[2J<script>"), "夜 \\u{202e}evil\\u{1b}[2J<script>");
    }
}
