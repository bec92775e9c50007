//! The metrics, as handles of the installed recorder that are taken when they are needed first.

use std::sync::{Arc, OnceLock};

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Label, Level, Metadata, SharedString, Unit, with_recorder};

use super::event::{End, LOST_REASONS, NodeStanding, Operation, Outcome, Path, RenewalFailure};
use super::names;
use crate::error::LostReason;

static METADATA: Metadata<'static> = Metadata::new("redlock", Level::INFO, Some("redlock_runtime"));

/// Whether the program has installed a recorder.
///
/// The facade does not say. What it calls where there is none has no size, and whatever records has something to record into.
pub(super) fn is_installed() -> bool {
    const { assert!(size_of::<metrics::NoopRecorder>() == 0) };
    with_recorder(|recorder| size_of_val(recorder) > 0)
}

/// Says what each of them means, for those who look at what is exported.
pub(super) fn describe() {
    with_recorder(|recorder| {
        let histogram = |name: &'static str, about: &'static str| {
            recorder.describe_histogram(
                KeyName::from_const_str(name),
                Some(Unit::Seconds),
                SharedString::const_str(about),
            );
        };
        histogram(names::ACQUIRE_DURATION, "How long acquisitions of locks took, waiting included.");
        histogram(names::HOLD_DURATION, "How long locks were held.");
        histogram(names::NODE_DURATION, "How long a node took to answer.");
        let counter = |name: &'static str, about: &'static str| {
            recorder.describe_counter(KeyName::from_const_str(name), Some(Unit::Count), SharedString::const_str(about));
        };
        counter(names::LOST, "Held locks that were lost.");
        counter(names::RENEWAL_FAILURES, "Renewals of held locks that failed.");
        let gauge = |name: &'static str, unit: Unit, about: &'static str| {
            recorder.describe_gauge(KeyName::from_const_str(name), Some(unit), SharedString::const_str(about));
        };
        gauge(names::HELD, Unit::Count, "Locks that are held by this process.");
        gauge(names::WAITING, Unit::Count, "Callers of this process that wait for a lock.");
        gauge(names::LAST_RUN, Unit::Seconds, "When something ran under the lock last and ended well, since 1970.");
        gauge(names::NODE_VOTES, Unit::Count, "1 for the standing that a node has, 0 for the others.");
    });
}

/// A handle for each value of a label, or of several.
struct Each<T>(Box<[OnceLock<T>]>);

impl<T> Each<T> {
    fn of(count: usize) -> Self {
        Self((0..count).map(|_| OnceLock::new()).collect())
    }

    fn get(&self, index: usize, register: impl FnOnce() -> T) -> &T {
        self.0[index].get_or_init(register)
    }
}

/// What is recorded of the locks of one label.
pub(super) struct LockHandles {
    lock: Arc<str>,
    acquire: Each<Histogram>,
    hold: Each<Histogram>,
    lost: Each<Counter>,
    renewal_failures: Each<Counter>,
    held: OnceLock<Gauge>,
    waiting: OnceLock<Gauge>,
    last_run: OnceLock<Gauge>,
}

impl LockHandles {
    pub(super) fn new(lock: Arc<str>) -> Self {
        Self {
            lock,
            acquire: Each::of(Outcome::ALL.len() * Path::ALL.len()),
            hold: Each::of(End::ALL.len()),
            lost: Each::of(LOST_REASONS.len()),
            renewal_failures: Each::of(RenewalFailure::ALL.len()),
            held: OnceLock::new(),
            waiting: OnceLock::new(),
            last_run: OnceLock::new(),
        }
    }

    /// The lock's label and these.
    fn labels<const N: usize>(&self, others: [(&'static str, &'static str); N]) -> Vec<Label> {
        let lock = Label::new("lock", SharedString::from_shared(Arc::clone(&self.lock)));
        let others = others.into_iter().map(|(key, value)| Label::from_static_parts(key, value));
        std::iter::once(lock).chain(others).collect()
    }

    pub(super) fn acquire_duration(&self, outcome: Outcome, path: Path) -> &Histogram {
        let labels = || self.labels([("outcome", outcome.as_str()), ("path", path.as_str())]);
        let index = outcome as usize * Path::ALL.len() + path as usize;
        self.acquire.get(index, || histogram(names::ACQUIRE_DURATION, labels()))
    }

    pub(super) fn hold_duration(&self, end: End) -> &Histogram {
        self.hold.get(end as usize, || histogram(names::HOLD_DURATION, self.labels([("end", end.as_str())])))
    }

    pub(super) fn lost(&self, reason: LostReason) -> &Counter {
        // A loss counts from zero on, also the first: what rises is seen only where something stood before.
        let register = |reason: LostReason| counter(names::LOST, self.labels([("reason", reason.as_str())]));
        for (handle, reason) in self.lost.0.iter().zip(LOST_REASONS) {
            handle.get_or_init(|| register(*reason));
        }
        self.lost.get(reason as usize, || register(reason))
    }

    pub(super) fn renewal_failures(&self, reason: RenewalFailure) -> &Counter {
        let labels = || self.labels([("reason", reason.as_str())]);
        self.renewal_failures.get(reason as usize, || counter(names::RENEWAL_FAILURES, labels()))
    }

    pub(super) fn held(&self) -> &Gauge {
        self.held.get_or_init(|| {
            // Whoever holds a lock may lose it.
            self.lost(LostReason::Expired);
            for reason in RenewalFailure::ALL {
                self.renewal_failures(*reason);
            }
            gauge(names::HELD, self.labels([]))
        })
    }

    pub(super) fn waiting(&self) -> &Gauge {
        self.waiting.get_or_init(|| gauge(names::WAITING, self.labels([])))
    }

    pub(super) fn last_run(&self) -> &Gauge {
        self.last_run.get_or_init(|| gauge(names::LAST_RUN, self.labels([])))
    }
}

/// What is recorded of one node.
pub(super) struct NodeHandles {
    node: Arc<str>,
    duration: Each<Histogram>,
    votes: Each<Gauge>,
}

impl NodeHandles {
    pub(super) fn new(node: Arc<str>) -> Self {
        Self { node, duration: Each::of(Operation::ALL.len()), votes: Each::of(NodeStanding::ALL.len()) }
    }

    fn labels(&self, key: &'static str, value: &'static str) -> Vec<Label> {
        let node = Label::new("node", SharedString::from_shared(Arc::clone(&self.node)));
        vec![node, Label::from_static_parts(key, value)]
    }

    pub(super) fn duration(&self, operation: Operation) -> &Histogram {
        let labels = || self.labels("operation", operation.as_str());
        self.duration.get(operation as usize, || histogram(names::NODE_DURATION, labels()))
    }

    /// Sets all of them: one to 1, and the others to 0.
    pub(super) fn stands(&self, standing: NodeStanding) {
        for one in NodeStanding::ALL {
            let labels = || self.labels("standing", one.as_str());
            let handle = self.votes.get(*one as usize, || gauge(names::NODE_VOTES, labels()));
            handle.set(if *one == standing { 1.0 } else { 0.0 });
        }
    }
}

fn histogram(name: &'static str, labels: Vec<Label>) -> Histogram {
    with_recorder(|recorder| recorder.register_histogram(&Key::from_parts(name, labels), &METADATA))
}

fn counter(name: &'static str, labels: Vec<Label>) -> Counter {
    with_recorder(|recorder| recorder.register_counter(&Key::from_parts(name, labels), &METADATA))
}

fn gauge(name: &'static str, labels: Vec<Label>) -> Gauge {
    with_recorder(|recorder| recorder.register_gauge(&Key::from_parts(name, labels), &METADATA))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recorder_is_seen_where_there_is_one() {
        struct Somebody(#[expect(dead_code, reason = "it has a size")] u8);

        impl metrics::Recorder for Somebody {
            fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
            fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
            fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
            fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
                Counter::noop()
            }
            fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
                Gauge::noop()
            }
            fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
                Histogram::noop()
            }
        }

        assert!(!is_installed());
        assert!(metrics::with_local_recorder(&Somebody(0), is_installed));
        assert!(!is_installed());
    }

    #[test]
    fn each_reason_has_its_own_number() {
        for (number, reason) in LOST_REASONS.iter().enumerate() {
            assert_eq!(*reason as usize, number);
        }
    }
}
