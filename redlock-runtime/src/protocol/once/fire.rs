use std::time::Duration;

use super::StoredMark;
use crate::rules::{Rule, holds};

/// One run of a job: a number that grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fire {
    /// The number; where it is a time, milliseconds since 1970.
    number: u64,
    /// What is known of its time.
    time: FireTime,
}

/// What is known of the time of a fire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum FireTime {
    /// Nothing: it is a plain number.
    Unknown,
    /// The number is when it is due.
    Due,
    /// The number is when it was called, and fires are so many milliseconds apart.
    Called { period: u64 },
}

/// No fire is greater. Scripts compare marks as Lua does, whose numbers are exact up to this.
// Source: the precision of an IEEE 754 double, which Lua 5.1 has for numbers; https://www.lua.org/pil/2.3.html
pub const GREATEST_FIRE: u64 = (1 << 53) - 1;

impl Fire {
    /// A plain number: of a build, of a batch. `None` if it is above [`GREATEST_FIRE`].
    #[must_use]
    pub fn counted(number: u64) -> Option<Self> {
        (number <= GREATEST_FIRE).then_some(Self { number, time: FireTime::Unknown })
    }

    /// What is due at a time since 1970, of which whole milliseconds count.
    #[must_use]
    pub fn due_at(since_1970: Duration) -> Self {
        Self { number: millis(since_1970), time: FireTime::Due }
    }

    /// What is called at a moment since 1970 by the own clock, and once a period. There is no grid, because any has a boundary at
    /// which some schedule fires: the fire *is* the moment of the call, and one that was completed less than half a period
    /// before is the same. So it holds while calls of one fire are less than half a period apart, clocks included. The moment should
    /// be one that the nodes' clocks find [`plausible`](crate::protocol::plausible): one far ahead stands in the way of all fires until then.
    #[must_use]
    pub fn called_at(since_1970: Duration, period: Duration) -> Self {
        Self { number: millis(since_1970), time: FireTime::Called { period: millis(period) } }
    }

    /// The number, which is what a mark says of it.
    #[must_use]
    pub fn number(self) -> u64 {
        self.number
    }

    /// When it is due, as a time since 1970; `None` for what is not planned for a time.
    #[must_use]
    pub fn due(self) -> Option<Duration> {
        (self.time == FireTime::Due).then(|| Duration::from_millis(self.number))
    }

    /// The moment that its number is, since 1970: when it is due, or was called; `None` for a plain number.
    #[must_use]
    pub fn moment(self) -> Option<Duration> {
        (self.time != FireTime::Unknown).then(|| Duration::from_millis(self.number))
    }

    /// Whether it was completed where this is the greatest completed fire: that is as great, or less than half a period before.
    #[must_use]
    pub fn is_covered_by(self, completed: u64) -> bool {
        if completed == StoredMark::NONE.fire {
            return false;
        }
        let since = self.number.saturating_sub(completed);
        since == 0 || matches!(self.time, FireTime::Called { period } if since.saturating_mul(2) < period)
    }

    /// Whether the greatest completed fire is a later one, and not this: then this one may have been completed before it, or missed.
    #[must_use]
    pub(crate) fn is_overtaken_by(self, completed: u64) -> bool {
        let later = completed.saturating_sub(self.number);
        match self.time {
            FireTime::Called { period } => later.saturating_mul(2) >= period,
            FireTime::Unknown | FireTime::Due => later > 0,
        }
    }

    /// The least mark that covers it: see [`Self::is_covered_by`].
    #[must_use]
    pub fn least_covering(self) -> u64 {
        let least = match self.time {
            FireTime::Called { period } => self.number.saturating_sub(period.saturating_sub(1) / 2),
            FireTime::Unknown | FireTime::Due => self.number,
        };
        least.max(StoredMark::NONE.fire + 1)
    }

    /// How long until it may be asked for, when the own clock says `now` since 1970: until `max_clock_skew` before it is due, or what
    /// [`Self::may_be_ahead`] makes of that. Zero: it may; also for what is not planned for a time.
    #[must_use]
    pub fn asked_in(self, now: Duration, max_clock_skew: Duration) -> Duration {
        let ahead = self.may_be_ahead(max_clock_skew);
        let early = self.due().unwrap_or_default().saturating_sub(now.saturating_add(ahead));
        if holds(Rule::NotBeforeDue) { early } else { Duration::ZERO }
    }

    /// How far ahead of a clock the moment of a fire may be that is asked for. Without a greatest difference of clocks (`Duration::MAX`) this
    /// still has a bound, because the mark of a fire far ahead keeps all others until then from running: half a period, within which the next
    /// one runs all the same; of a moment, an hour.
    #[must_use]
    pub(crate) fn may_be_ahead(self, max_clock_skew: Duration) -> Duration {
        const UNLESS_SET: Duration = Duration::from_secs(60 * 60);
        match self.time {
            _ if max_clock_skew < Duration::MAX => max_clock_skew,
            FireTime::Called { period } => Duration::from_millis(period / 4),
            FireTime::Unknown | FireTime::Due => UNLESS_SET,
        }
    }

    /// How long its mark is kept: for the retention that is `configured`, and a period at least, so that it is there when the next
    /// call compares itself with it.
    #[must_use]
    pub fn kept_for(self, configured: Duration) -> Duration {
        match self.time {
            FireTime::Called { period } => configured.max(Duration::from_millis(period)),
            FireTime::Unknown | FireTime::Due => configured,
        }
    }

    /// The moment before which nobody whose clock is right has called for this fire, or for one that covers it and is not
    /// greater; `None` if it is not known.
    pub(super) fn earliest(self) -> Option<Duration> {
        match self.time {
            FireTime::Unknown => None,
            FireTime::Due => Some(Duration::from_millis(self.number)),
            FireTime::Called { period } => Some(Duration::from_millis(self.number.saturating_sub(period.div_ceil(2)))),
        }
    }
}

/// As many as a fire can have.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).min(GREATEST_FIRE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::MARK_RETENTION;
    use crate::protocol::once::tests::{HOUR, NOW, SKEW, before, counted};

    #[test]
    fn a_fire_is_covered_by_one_as_great_and_within_half_a_period() {
        let check = |fire: Fire, completed: Duration, expect: bool| {
            let completed = u64::try_from(completed.as_millis()).unwrap();
            assert_eq!(fire.is_covered_by(completed), expect, "{fire:?} {completed}");
        };
        let moment = Duration::from_millis(1);
        let day = 24 * HOUR;
        check(Fire::due_at(NOW), NOW, true);
        check(Fire::due_at(NOW), NOW + HOUR, true);
        check(Fire::due_at(NOW), before(moment), false);
        check(Fire::called_at(NOW, day), NOW + day, true);
        check(Fire::called_at(NOW, day), before(12 * HOUR) + moment, true);
        check(Fire::called_at(NOW, day), before(12 * HOUR), false);
        check(Fire::called_at(NOW, 3 * moment), before(moment), true);
        check(Fire::called_at(NOW, 3 * moment), before(2 * moment), false);
        check(Fire::called_at(NOW, Duration::ZERO), NOW, true);
        check(Fire::called_at(NOW, Duration::MAX), moment, true);
        // A mark of no fire covers none, however near a clock is to 1970.
        check(Fire::called_at(NOW, Duration::MAX), Duration::ZERO, false);
    }

    #[test]
    fn a_fire_is_overtaken_by_a_later_one_and_not_by_a_call_that_is_the_same() {
        let check = |fire: Fire, completed: Duration, expect: bool| {
            let completed = u64::try_from(completed.as_millis()).unwrap();
            assert_eq!(fire.is_overtaken_by(completed), expect, "{fire:?} {completed}");
        };
        let moment = Duration::from_millis(1);
        check(Fire::due_at(NOW), NOW, false);
        check(Fire::due_at(NOW), NOW + moment, true);
        check(Fire::called_at(NOW, HOUR), before(HOUR), false);
        check(Fire::called_at(NOW, HOUR), NOW + HOUR / 2, true);
        check(Fire::called_at(NOW, HOUR), NOW + HOUR / 3, false);
    }

    #[test]
    fn a_fire_is_asked_for_when_it_is_due_less_the_skew() {
        let check = |fire: Fire, expect| assert_eq!(fire.asked_in(NOW, SKEW), expect, "{fire:?}");
        check(Fire::due_at(before(HOUR)), Duration::ZERO);
        check(Fire::due_at(NOW + SKEW), Duration::ZERO);
        check(Fire::due_at(NOW + HOUR), HOUR.saturating_sub(SKEW));
        check(Fire::called_at(NOW + HOUR, HOUR), Duration::ZERO);
        check(counted(GREATEST_FIRE), Duration::ZERO);
    }

    #[test]
    fn a_fire_is_a_number_that_scripts_can_compare() {
        assert_eq!(Fire::counted(GREATEST_FIRE).map(Fire::number), Some(GREATEST_FIRE));
        assert_eq!(Fire::counted(GREATEST_FIRE + 1), None);
        assert_eq!(Fire::due_at(Duration::from_micros(7_999)).number(), 7);
        assert_eq!(Fire::due_at(Duration::MAX).number(), GREATEST_FIRE);
        assert_eq!(Fire::due_at(NOW).due(), Some(NOW));
        assert_eq!(Fire::called_at(NOW, HOUR).due(), None);
    }

    #[test]
    fn a_mark_is_kept_for_a_period_at_least() {
        assert_eq!(counted(5).kept_for(MARK_RETENTION), MARK_RETENTION);
        assert_eq!(Fire::called_at(NOW, HOUR).kept_for(MARK_RETENTION), MARK_RETENTION);
        assert_eq!(Fire::called_at(NOW, 5 * MARK_RETENTION).kept_for(MARK_RETENTION), 5 * MARK_RETENTION);
    }
}
