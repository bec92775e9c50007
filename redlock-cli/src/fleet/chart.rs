//! How many waited and acquired, over the last quarter of an hour.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// One point of the chart covers this.
pub(crate) const STEP: Duration = Duration::from_secs(5);

/// So many points are kept: 15 minutes.
const POINTS: usize = 180;

/// What was seen within one step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Point {
    /// How many waited, at the most.
    pub(crate) waiting: u64,
    /// How many acquisitions were seen; one that was over before the next look was not.
    pub(crate) acquired: u64,
    /// How many locks were held, at the end.
    pub(crate) held: u64,
}

/// The points, the latest last.
#[derive(Debug)]
pub(crate) struct Chart {
    points: VecDeque<Point>,
    /// When the last point began.
    began: Instant,
    /// How many points there were in all.
    count: u64,
}

impl Chart {
    pub(crate) fn new(now: Instant) -> Self {
        Self { points: VecDeque::from([Point::default()]), began: now, count: 1 }
    }

    /// Begins the points that are due.
    pub(crate) fn go_on(&mut self, now: Instant) {
        while now.saturating_duration_since(self.began) >= STEP {
            self.began += STEP;
            let Point { waiting, held, .. } = self.points.back().copied().unwrap_or_default();
            self.points.push_back(Point { waiting, held, acquired: 0 });
            self.count += 1;
            if self.points.len() > POINTS {
                self.points.pop_front();
            }
        }
    }

    pub(crate) fn note_acquired(&mut self) {
        if let Some(last) = self.points.back_mut() {
            last.acquired += 1;
        }
    }

    pub(crate) fn note(&mut self, waiting: u64, held: u64) {
        if let Some(last) = self.points.back_mut() {
            last.waiting = last.waiting.max(waiting);
            last.held = held;
        }
    }

    /// Those that came behind the first `seen`, and the last of these, which may have grown; and how many there are now.
    pub(crate) fn since(&self, seen: u64) -> (Vec<Point>, u64) {
        let unseen = usize::try_from(self.count - seen.min(self.count)).unwrap_or(POINTS);
        let wanted = unseen.saturating_add(1).min(self.points.len());
        (self.points.iter().skip(self.points.len() - wanted).copied().collect(), self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_covers_a_quarter_of_an_hour() {
        let began = crate::clock::std_now();
        let mut chart = Chart::new(began);
        chart.note(7, 3);
        chart.note_acquired();
        chart.go_on(began + STEP);
        assert_eq!(chart.since(0).0.len(), 2);
        assert_eq!(chart.since(1), (chart.points.iter().copied().collect(), 2));
        chart.go_on(began + Duration::from_secs(3600));
        assert_eq!(chart.points.len(), POINTS);
        assert_eq!(chart.points.back(), Some(&Point { waiting: 7, held: 3, acquired: 0 }));
    }
}
