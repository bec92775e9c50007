//! The number of a fire, as people read it.

use std::time::Duration;

use crate::duration::short;

/// Numbers between these are milliseconds since 1970 of the years 2001 to 9999, as those of periods and moments are; whoever counts
/// their runs does not get so far.
const MOMENTS: std::ops::Range<u64> = 1_000_000_000_000..253_402_300_800_000;

/// The number, and the moment that it stands for, if it does; `now` is the time since 1970.
pub(crate) fn told(fire: u64, now: Duration) -> String {
    if !MOMENTS.contains(&fire) {
        return fire.to_string();
    }
    let at = Duration::from_millis(fire);
    let distance = match now.checked_sub(at) {
        Some(ago) => format!("{} ago", short(ago)),
        None => format!("in {}", short(at.saturating_sub(now))),
    };
    format!("{fire} ({}, {distance})", utc(at))
}

/// A moment since 1970, to the second.
fn utc(since_1970: Duration) -> String {
    const DAY: u64 = 86_400;
    let (days, seconds) = (since_1970.as_secs() / DAY, since_1970.as_secs() % DAY);
    let (year, month, day) = date(days);
    format!("{year}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// Year, month and day of a day since 1970.
// Source: `civil_from_days`, https://howardhinnant.github.io/date_algorithms.html
fn date(days: u64) -> (u64, u64, u64) {
    // Years begin in March here, so that the day that leap years add is their last; eras have 400 years, and begin in the year 0.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, later) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + later, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fire_that_is_a_moment_is_shown_as_one() {
        let now = Duration::from_secs(1_800_000_000);
        for (fire, expect) in [
            (17, "17"),
            (999_999_999_999, "999999999999"),
            (1_799_999_988_000, "1799999988000 (2027-01-15 07:59:48 UTC, 12s ago)"),
            (1_800_000_060_000, "1800000060000 (2027-01-15 08:01:00 UTC, in 1m)"),
            ((1 << 53) - 1, "9007199254740991"),
        ] {
            assert_eq!(told(fire, now), expect);
        }
    }

    #[test]
    fn days_have_the_dates_of_the_calendar() {
        for (seconds, expect) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (951_868_800, "2000-03-01 00:00:00 UTC"),
            (1_735_689_599, "2024-12-31 23:59:59 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
        ] {
            assert_eq!(utc(Duration::from_secs(seconds)), expect);
        }
    }
}
