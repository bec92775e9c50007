//! How names, times and columns are written for people.

use std::time::Duration;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// What others wrote, without what would direct a terminal or a page: control and bidirectional characters are shown as `\u{…}`.
pub(crate) fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() || is_directive(character) {
            shown.extend(character.escape_unicode());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// Whether it says in which direction or on which line the text beside it is shown.
// Source: the property Bidi_Control, https://www.unicode.org/Public/UCD/latest/ucd/PropList.txt; and the two separators of lines
fn is_directive(character: char) -> bool {
    matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A duration in two units that suit it.
pub(crate) fn short(duration: Duration) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    match (duration.as_secs(), duration.as_micros()) {
        (seconds @ DAY.., _) => format!("{}d {}h", seconds / DAY, seconds % DAY / HOUR),
        (seconds @ HOUR.., _) => format!("{}h {}m", seconds / HOUR, seconds % HOUR / MINUTE),
        (seconds @ MINUTE.., _) => format!("{}m {}s", seconds / MINUTE, seconds % MINUTE),
        (seconds @ 10.., _) => format!("{seconds}s"),
        (1.., micros) => format!("{}.{}s", micros / 1_000_000, micros / 100_000 % 10),
        (0, micros @ 10_000..) => format!("{}ms", micros / 1000),
        (0, micros @ 1000..) => format!("{}.{}ms", micros / 1000, micros / 100 % 10),
        (0, micros) => format!("{micros}µs"),
    }
}

/// A text that takes so many columns of a terminal: cut with an ellipsis, or filled up.
pub(crate) fn padded(text: &str, columns: usize) -> String {
    let width = text.width();
    if width <= columns {
        return format!("{text}{}", " ".repeat(columns - width));
    }
    let (mut cut, mut taken) = (String::new(), 0);
    for character in text.chars() {
        let width = character.width().unwrap_or(0);
        if taken + width + 1 > columns {
            break;
        }
        taken += width;
        cut.push(character);
    }
    format!("{cut}…{}", " ".repeat(columns.saturating_sub(taken + 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_directs_a_terminal_is_escaped() {
        assert_eq!(shown("夜 \u{202e}evil\u{1b}[2J<script>"), "夜 \\u{202e}evil\\u{1b}[2J<script>");
    }

    #[test]
    fn durations_are_short() {
        for (micros, expect) in
            [(7, "7µs"), (1_500, "1.5ms"), (250_000, "250ms"), (1_250_000, "1.2s"), (200_000_000, "3m 20s")]
        {
            assert_eq!(short(Duration::from_micros(micros)), expect);
        }
    }

    #[test]
    fn columns_are_those_of_the_terminal() {
        for (text, expect) in [("ab", "ab  "), ("abcdef", "abc…"), ("夜間作業", "夜… "), ("夜間", "夜間")]
        {
            assert_eq!(padded(text, 4), expect);
        }
    }
}
