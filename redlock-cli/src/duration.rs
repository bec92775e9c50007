//! Lengths of time, as people write and read them.

use std::time::Duration;

/// A longer one is not told from for ever, and no clock could be set by it: 1000 years.
const LONGEST: Duration = Duration::from_secs(1000 * 365 * 86_400);

/// Reads `5`, `1.5s`, `250ms`, `2m`, `1h30m` and `1d`; a number without a unit is one of seconds.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    match read(text) {
        Ok(length) if length > LONGEST => {
            Err(format!("`{text}` is longer than 1000 years, which is for ever: omit it"))
        }
        read => read,
    }
}

fn read(text: &str) -> Result<Duration, String> {
    let refuse = || format!("`{text}` is no length of time: write 5s, 250ms, 2m, 1h30m or 1d");
    let mut rest = text.trim();
    if let Ok(seconds) = rest.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).map_err(|_| refuse());
    }
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return Err(refuse());
    }
    while !rest.is_empty() {
        let digits = rest.find(|character: char| !character.is_ascii_digit() && character != '.').ok_or_else(refuse)?;
        let (number, after) = rest.split_at(digits);
        let letters = after.find(|character: char| !character.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let seconds = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            _ => return Err(refuse()),
        };
        let number: f64 = number.parse().map_err(|_| refuse())?;
        let part = Duration::try_from_secs_f64(number * seconds).map_err(|_| refuse())?;
        total = total.checked_add(part).ok_or_else(refuse)?;
        rest = after.trim_start();
    }
    Ok(total)
}

/// In the one or two units that suit it.
pub(crate) fn short(duration: Duration) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    match (duration.as_secs(), duration.as_micros()) {
        (seconds @ DAY.., _) => in_two((seconds / DAY, "d"), (seconds % DAY / HOUR, "h")),
        (seconds @ HOUR.., _) => in_two((seconds / HOUR, "h"), (seconds % HOUR / MINUTE, "m")),
        (seconds @ MINUTE.., _) => in_two((seconds / MINUTE, "m"), (seconds % MINUTE, "s")),
        (seconds @ 10.., _) => format!("{seconds}s"),
        (1.., micros) => format!("{}.{}s", micros / 1_000_000, micros / 100_000 % 10),
        (0, 0) => "0s".to_owned(),
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
    fn lengths_of_time_are_read_with_their_units() {
        for (text, milliseconds) in [
            ("5", 5000),
            ("0", 0),
            ("1.5", 1500),
            ("1.5s", 1500),
            ("250ms", 250),
            ("2m", 120_000),
            ("1h30m", 5_400_000),
            ("1h 30m", 5_400_000),
            ("1d", 86_400_000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in [
            "",
            " ",
            "s",
            "5x",
            "-1",
            "-1s",
            "1.2.3s",
            "5 s s",
            "nan",
            "inf",
            "1e999s",
            "99999999999999999999d",
            "9223372036854775807",
            "1001000d",
        ] {
            assert!(parse(text).is_err(), "{text}: {:?}", parse(text));
        }
        assert!(parse("365000d").is_ok());
    }

    #[test]
    fn lengths_of_time_are_shown_in_their_unit() {
        for (micros, expect) in [
            (0, "0s"),
            (7, "7µs"),
            (1_500, "1.5ms"),
            (999_000, "999ms"),
            (1_250_000, "1.2s"),
            (28_900_000, "28s"),
            (200_000_000, "3m 20s"),
            (3_600_000_000, "1h"),
            (7_320_000_000, "2h 2m"),
            (90_000_000_000, "1d 1h"),
        ] {
            assert_eq!(short(Duration::from_micros(micros)), expect);
        }
    }
}
