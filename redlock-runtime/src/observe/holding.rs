//! A held lock, as it is seen from outside.

use std::time::Instant;

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
    since: Instant,
    end: End,
    lost: Option<LostReason>,
}

impl Holding {
    pub(crate) fn begin(observed: Observed) -> Self {
        #[cfg(feature = "metrics")]
        if let Some(handles) = observed.handles() {
            harmless(|| handles.held().increment(1.0));
        }
        observed.tell(Event::HoldBegan { lock: observed.label() });
        Self { observed, since: clock::now(), is_over: false }
    }

    /// Who looks at the lock, also when it is not held any more.
    pub(crate) fn observed(&self) -> &Observed {
        &self.observed
    }

    /// Its end, if it has not ended before.
    pub(crate) fn end(&mut self, end: End) -> Option<Ended> {
        self.end_with(end, None)
    }

    /// Its end, because the lock was lost for this reason, if it has not ended before.
    pub(crate) fn lost(&mut self, reason: LostReason) -> Option<Ended> {
        self.end_with(End::of(reason), Some(reason))
    }

    fn end_with(&mut self, end: End, lost: Option<LostReason>) -> Option<Ended> {
        if std::mem::replace(&mut self.is_over, true) {
            return None;
        }
        Some(Ended { observed: self.observed.clone(), since: self.since, end, lost })
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        drop(self.end(End::Released));
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        let Self { observed, since, end, lost } = self;
        let lock = observed.label();
        let held = clock::now().saturating_duration_since(*since);
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
