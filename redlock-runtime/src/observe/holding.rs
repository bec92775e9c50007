//! A held lock, as it is seen from outside.

use std::time::{Duration, Instant};

use super::event::{End, Event};
#[cfg(feature = "metrics")]
use super::harmless::harmless;
use super::labels::Observed;
use crate::error::LostReason;
use crate::platform::clock;

/// That a lock is held, told when it begins and once when it ends; when this is dropped, if nothing else ended it.
pub(crate) struct Holding {
    observed: Observed,
    /// When it began.
    since: Instant,
    /// Whether it has ended.
    is_over: bool,
}

/// The end of a holding, which is told when this is dropped: where no mutex is locked, because whoever is told may do anything.
#[must_use = "whoever is told of it while a mutex is locked may want that, too"]
pub(crate) struct Ended {
    observed: Observed,
    held: Duration,
    end: End,
    lost: Option<LostReason>,
}

impl Holding {
    /// It begins at this moment, which is now: a clock that was just read need not be read again.
    pub(crate) fn begin(observed: Observed, since: Instant) -> Self {
        #[cfg(feature = "metrics")]
        if let Some(handles) = observed.handles() {
            harmless(|| handles.held().increment(1.0));
        }
        observed.tell(Event::HoldBegan { lock: observed.label() });
        Self { observed, since, is_over: false }
    }

    /// Who looks at the lock, also when it is not held any more.
    pub(crate) fn observed(&self) -> &Observed {
        &self.observed
    }

    /// Its end, if it has not ended before.
    pub(crate) fn end(&mut self, end: End, now: impl FnOnce() -> Instant) -> Option<Ended> {
        self.end_with(end, None, now)
    }

    /// Its end, because the lock was lost for this reason, if it has not ended before.
    pub(crate) fn lost(&mut self, reason: LostReason) -> Option<Ended> {
        self.end_with(End::of(reason), Some(reason), clock::now)
    }

    fn end_with(&mut self, end: End, lost: Option<LostReason>, now: impl FnOnce() -> Instant) -> Option<Ended> {
        if std::mem::replace(&mut self.is_over, true) {
            return None;
        }
        let held = now().saturating_duration_since(self.since);
        Some(Ended { observed: self.observed.clone(), held, end, lost })
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        drop(self.end_with(End::Released, None, clock::now));
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        let Self { observed, held, end, lost } = self;
        let (lock, held) = (observed.label(), *held);
        #[cfg(feature = "metrics")]
        if let Some(handles) = observed.handles() {
            harmless(|| handles.held().decrement(1.0));
            harmless(|| handles.hold_duration(*end).record(held));
            if let Some(reason) = *lost {
                harmless(|| handles.lost(reason).increment(1));
            }
        }
        observed.tell(Event::HoldEnded { lock, end: *end, held });
        if let Some(reason) = *lost {
            observed.tell(Event::Lost { lock, reason });
        }
    }
}
