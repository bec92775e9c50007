//! The labels of locks, of which there is a bounded number, and what is told under each.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use super::event::{Event, Observer, Outcome, Path, RenewalFailure};
use super::harmless::harmless;
use super::names::{OTHER, OVERFLOW};
#[cfg(feature = "metrics")]
use super::recorded::LockHandles;

/// Whoever is told.
#[derive(Clone)]
pub(super) struct Told(Option<Arc<Guarded>>);

/// An observer, of which nothing that it does harms more than itself.
struct Guarded {
    observer: Arc<dyn Observer>,
    /// Whether it was told that it panicked.
    has_panicked: AtomicBool,
}

/// What is told of the locks of one label.
pub(super) struct Series {
    label: Arc<str>,
    told: Told,
    #[cfg(feature = "metrics")]
    recorded: LockHandles,
}

/// A lock that somebody looks at: it is told of under its label.
#[derive(Clone)]
pub(crate) struct Observed {
    series: Arc<Series>,
    /// Whether there was a recorder when it began. One that comes later does not hear of the end of what it has not heard begin, or
    /// gauges would fall below zero.
    #[cfg_attr(not(feature = "metrics"), allow(dead_code, reason = "there are no metrics"))]
    is_recorded: bool,
}

/// All labels of a manager.
pub(super) struct Labels {
    told: Told,
    /// So many are told apart.
    most: usize,
    /// Locks whose label nobody gave.
    other: Arc<Series>,
    /// Locks of labels beyond that number.
    overflow: Arc<Series>,
    /// A std lock: it is never held across an await.
    by_label: RwLock<HashMap<Arc<str>, Arc<Series>>>,
}

impl Told {
    pub(super) fn new(observer: Option<Arc<dyn Observer>>) -> Self {
        Self(observer.map(|observer| Arc::new(Guarded { observer, has_panicked: AtomicBool::new(false) })))
    }

    pub(super) fn is_somebody(&self) -> bool {
        self.0.is_some()
    }

    pub(super) fn tell(&self, event: Event<'_>) {
        let Some(guarded) = &self.0 else { return };
        if harmless(|| guarded.observer.event(&event)) && !guarded.has_panicked.swap(true, Ordering::Relaxed) {
            harmless(|| {
                tracing::error!(
                    ?event,
                    "the observer of a lock manager panicked; it is still called, and this is logged once"
                );
            });
        }
    }
}

impl Labels {
    pub(super) fn new(told: &Told, most: usize) -> Self {
        let of = |label: &str| Arc::new(Series::new(label.into(), told));
        Self { told: told.clone(), most, other: of(OTHER), overflow: of(OVERFLOW), by_label: RwLock::default() }
    }

    pub(super) fn series(&self, label: Option<&str>) -> Arc<Series> {
        let Some(label) = label.filter(|label| !label.is_empty()) else { return Arc::clone(&self.other) };
        {
            let by_label = self.by_label.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(series) = by_label.get(label) {
                return Arc::clone(series);
            }
            if by_label.len() >= self.most {
                return Arc::clone(&self.overflow);
            }
        }
        let mut by_label = self.by_label.write().unwrap_or_else(PoisonError::into_inner);
        if by_label.len() >= self.most && !by_label.contains_key(label) {
            return Arc::clone(&self.overflow);
        }
        let label: Arc<str> = label.into();
        Arc::clone(by_label.entry(Arc::clone(&label)).or_insert_with(|| Arc::new(Series::new(label, &self.told))))
    }
}

impl Series {
    fn new(label: Arc<str>, told: &Told) -> Self {
        Self {
            #[cfg(feature = "metrics")]
            recorded: LockHandles::new(Arc::clone(&label)),
            label,
            told: told.clone(),
        }
    }
}

impl Observed {
    pub(super) fn new(series: Arc<Series>, is_recorded: bool) -> Self {
        Self { series, is_recorded }
    }

    pub(super) fn label(&self) -> &str {
        &self.series.label
    }

    /// The metrics, if they are recorded.
    #[cfg(feature = "metrics")]
    pub(super) fn handles(&self) -> Option<&LockHandles> {
        self.is_recorded.then_some(&self.series.recorded)
    }

    pub(super) fn tell(&self, event: Event<'_>) {
        self.series.told.tell(event);
    }

    pub(super) fn acquire_ended(&self, outcome: Outcome, path: Path, took: Duration) {
        #[cfg(feature = "metrics")]
        if let Some(handles) = self.handles() {
            harmless(|| handles.acquire_duration(outcome, path).record(took));
        }
        self.tell(Event::AcquireEnded { lock: self.label(), outcome, path, took });
    }

    /// A lock was not extended when it was to be renewed.
    pub(crate) fn renewal_failed(&self, reason: RenewalFailure) {
        #[cfg(feature = "metrics")]
        if let Some(handles) = self.handles() {
            harmless(|| handles.renewal_failures(reason).increment(1));
        }
        self.tell(Event::RenewalFailed { lock: self.label(), reason });
    }

    /// What ran under the lock ended well, at this moment since 1970.
    pub(crate) fn run_ended(&self, moment: Duration) {
        #[cfg(feature = "metrics")]
        if let Some(handles) = self.handles() {
            harmless(|| handles.last_run().set(moment.as_secs_f64()));
        }
        self.tell(Event::RunEnded { lock: self.label(), at: SystemTime::UNIX_EPOCH + moment });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_many_labels_there_are_a_bounded_number_is_told_apart() {
        let labels = Labels::new(&Told::new(None), 3);
        let label = |label: Option<&str>| labels.series(label).label.to_string();
        let mut seen: Vec<_> = (0..10_000).map(|id| label(Some(&format!("invoice:{id}")))).collect();
        seen.dedup();
        assert_eq!(seen, ["invoice:0", "invoice:1", "invoice:2", OVERFLOW]);
        assert_eq!(label(None), OTHER);
        assert_eq!(label(Some("")), OTHER);
        assert!(Arc::ptr_eq(&labels.series(Some("invoice:1")), &labels.series(Some("invoice:1"))));
    }
}
