//! What is told once a minute at most, however often it happens.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// So long the same is not told again.
pub(crate) const REPEAT: Duration = Duration::from_secs(60);

/// So many are remembered before those are forgotten that may be told again.
const ROOM: usize = 256;

/// When something was told last of each of these: locks, most of the time.
///
/// A std mutex: it is never held across an await, nor while something is told.
#[derive(Debug, Default)]
pub(crate) struct Seldom(Mutex<HashMap<Arc<str>, Instant>>);

impl Seldom {
    /// Whether it may be told of this one now; then it was.
    pub(crate) fn may_tell(&self, of: &str, now: Instant) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_recent = |moment: Instant| now.saturating_duration_since(moment) < REPEAT;
        if told.get(of).copied().is_some_and(is_recent) {
            return false;
        }
        if told.len() >= ROOM {
            told.retain(|_, moment| is_recent(*moment));
        }
        told.insert(of.into(), now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::clock;

    #[test]
    fn the_same_is_told_once_a_minute_and_what_is_long_past_is_forgotten() {
        let (seldom, start) = (Seldom::default(), clock::now());
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let told: Vec<_> =
            [0, 1, 59, 60, 61, 119, 121].into_iter().filter(|now| seldom.may_tell("a", at(*now))).collect();
        assert_eq!(told, [0, 60, 121]);
        assert!(seldom.may_tell("b", at(121)));
        for number in 0..u64::try_from(ROOM).unwrap() * 4 {
            assert!(seldom.may_tell(&number.to_string(), at(1000 + number)));
        }
        assert!(seldom.0.lock().unwrap().len() <= ROOM);
    }
}
