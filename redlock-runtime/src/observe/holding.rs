//! A held lock, as it is seen from outside.

use std::time::Instant;

use super::event::{End, Event};
use super::labels::Observed;
use crate::error::LostReason;
use crate::platform::clock;

/// That a lock is held, told when it begins and once when it ends; when this is dropped, if nothing else ended it.
pub(crate) struct Holding {
    observed: Observed,
    /// When it began.
    since: Instant,
    /// Whether its end was told.
    is_told: bool,
}

/// The end of a holding, which is told when this is dropped: where no mutex is locked, because whoever is told may do anything.
#[must_use = "whoever is told of it while a mutex is locked may want that, too"]
pub(crate) struct Ended {
    holding: Holding,
    end: End,
    lost: Option<LostReason>,
}

impl Holding {
    pub(crate) fn begin(observed: Observed) -> Self {
        #[cfg(feature = "metrics")]
        if let Some(handles) = observed.handles() {
            handles.held().increment(1.0);
        }
        observed.tell(Event::HoldBegan { lock: observed.label() });
        Self { observed, since: clock::now(), is_told: false }
    }

    /// Its end.
    pub(crate) fn end(self, end: End) -> Ended {
        Ended { holding: self, end, lost: None }
    }

    /// Its end, because the lock was lost for this reason.
    pub(crate) fn lost(self, reason: LostReason) -> Ended {
        Ended { holding: self, end: End::of(reason), lost: Some(reason) }
    }

    fn tell(&mut self, end: End, lost: Option<LostReason>) {
        if std::mem::replace(&mut self.is_told, true) {
            return;
        }
        let (observed, lock) = (&self.observed, self.observed.label());
        let held = clock::now().saturating_duration_since(self.since);
        #[cfg(feature = "metrics")]
        if let Some(handles) = observed.handles() {
            handles.held().decrement(1.0);
            handles.hold_duration(end).record(held);
            if let Some(reason) = lost {
                handles.lost(reason).increment(1);
            }
        }
        observed.tell(Event::HoldEnded { lock, end, held });
        if let Some(reason) = lost {
            observed.tell(Event::Lost { lock, reason });
        }
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        self.tell(End::Released, None);
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        self.holding.tell(self.end, self.lost);
    }
}
