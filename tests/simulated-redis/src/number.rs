//! Numbers as Redis reads and writes them.

/// Reads an integer as strictly as Redis does: no sign but a minus, no zeros in front, no blanks.
// Source: `string2ll`, https://github.com/redis/redis/blob/7.0/src/util.c
pub(crate) fn parse_integer(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let is_canonical = match digits {
        [b'0'] => digits.len() == text.len(),
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    std::str::from_utf8(text).ok().filter(|_| is_canonical)?.parse().ok()
}

/// Reads a score.
pub(crate) fn parse_float(text: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(text).ok()?;
    let is_trimmed = !text.starts_with(char::is_whitespace);
    text.parse().ok().filter(|number: &f64| is_trimmed && !number.is_nan())
}

/// Writes a number as C does with `%.17g`.
pub(crate) fn format_float(number: f64) -> String {
    if number.is_infinite() {
        return if number > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    if let Some(whole) = whole(number) {
        return whole.to_string();
    }
    let scientific = format!("{number:.16e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..17).contains(&exponent) {
        let decimals = usize::try_from(16 - exponent).unwrap_or(0);
        return without_trailing_zeros(&format!("{number:.decimals$}")).to_owned();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", without_trailing_zeros(digits), exponent.abs())
}

/// The integer that a number is, if it is one that is written without an exponent.
#[allow(clippy::cast_possible_truncation, reason = "it has no fraction, and less than 17 digits")]
fn whole(number: f64) -> Option<i64> {
    (number.fract() == 0.0 && number.abs() < 1e17).then_some(number as i64)
}

fn without_trailing_zeros(number: &str) -> &str {
    if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { number }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_read_strictly() {
        for (text, expect) in [
            ("0", Some(0)),
            ("-1", Some(-1)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("-0", None),
            ("+1", None),
            ("01", None),
            (" 1", None),
            ("1.0", None),
            ("", None),
            ("-", None),
        ] {
            assert_eq!(parse_integer(text.as_bytes()), expect, "{text:?}");
        }
    }

    #[test]
    fn floats_are_written_as_c_does() {
        for (number, expect) in [
            (1_795_900_726_913.0, "1795900726913"),
            (0.1, "0.10000000000000001"),
            (1.25e20, "1.25e+20"),
            (-2.5, "-2.5"),
            (1e-7, "9.9999999999999995e-08"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(format_float(number), expect);
        }
    }
}
