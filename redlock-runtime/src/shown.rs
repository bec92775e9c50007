//! Text that somebody else wrote, and lengths of time that were measured, as people are shown them.

use std::fmt::{self, Write};
use std::time::Duration;

/// A text whose control and bidirectional characters are shown as `\u{…}`: whoever writes one into a name or a label would
/// else write over what stands before it, or turn around what comes after it, on the terminal of whoever reads it.
#[derive(Clone, Copy)]
pub(crate) struct Shown<'a>(&'a str);

pub(crate) fn shown(text: &str) -> Shown<'_> {
    Shown(text)
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            if character.is_control() || is_directive(character) {
                write!(f, "{}", character.escape_unicode())?;
            } else {
                f.write_char(character)?;
            }
        }
        Ok(())
    }
}

/// Whether it says in which direction or on which line the text beside it is shown.
// Source: the property Bidi_Control, https://www.unicode.org/Public/UCD/latest/ucd/PropList.txt; and the two separators of lines
fn is_directive(character: char) -> bool {
    matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A length of time in the unit that suits it, to about three digits. For what was measured: a setting is shown as it was set.
pub(crate) fn rounded(duration: Duration) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    match (duration.as_secs(), duration.as_micros()) {
        (seconds @ DAY.., _) => in_two((seconds / DAY, "d"), (seconds % DAY / HOUR, "h")),
        (seconds @ HOUR.., _) => in_two((seconds / HOUR, "h"), (seconds % HOUR / MINUTE, "m")),
        (seconds @ MINUTE.., _) => in_two((seconds / MINUTE, "m"), (seconds % MINUTE, "s")),
        (seconds @ 10.., _) => format!("{seconds}s"),
        (seconds @ 1.., micros) => format!("{seconds}.{}s", micros / 100_000 % 10),
        (0, micros @ 10_000..) => format!("{}ms", micros / 1000),
        (0, micros @ 1000..) => format!("{}.{}ms", micros / 1000, micros / 100 % 10),
        (0, micros) => format!("{micros}µs"),
    }
}

/// The second unit only where there is some of it.
fn in_two((large, unit): (u64, &str), (small, small_unit): (u64, &str)) -> String {
    if small == 0 { format!("{large}{unit}") } else { format!("{large}{unit} {small}{small_unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short() {
        for (duration, expect) in [
            (Duration::ZERO, "0µs"),
            (Duration::from_micros(999), "999µs"),
            (Duration::from_micros(1234), "1.2ms"),
            (Duration::from_millis(250), "250ms"),
            (Duration::from_nanos(1_000_776_989), "1.0s"),
            (Duration::from_millis(1250), "1.2s"),
            (Duration::from_secs(59), "59s"),
            (Duration::from_secs(200), "3m 20s"),
            (Duration::from_secs(300), "5m"),
            (Duration::from_secs(7320), "2h 2m"),
            (Duration::from_secs(90_000), "1d 1h"),
        ] {
            assert_eq!(rounded(duration), expect);
        }
    }

    #[test]
    fn what_directs_a_terminal_is_escaped_and_any_script_is_left() {
        for (text, expect) in [
            ("host pid 7", "host pid 7"),
            ("夜間 März עברית \u{1f511}", "夜間 März עברית \u{1f511}"),
            ("a\u{1b}[2Jb\r\n", r"a\u{1b}[2Jb\u{d}\u{a}"),
            ("\u{202e}live\u{2066}\u{200f}\u{9b}", r"\u{202e}live\u{2066}\u{200f}\u{9b}"),
        ] {
            assert_eq!(shown(text).to_string(), expect);
        }
    }
}
