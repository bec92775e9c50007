//! How names, times and columns are written for people.

use std::time::Duration;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

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
