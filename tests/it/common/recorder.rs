//! A recorder of metrics for this process.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, OnceLock};

use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};

/// What is recorded in this process from when it is installed.
#[derive(Clone, Default)]
pub(crate) struct Recorded(Arc<Mutex<Series>>);

/// What was recorded for each name and labels.
type Series = BTreeMap<String, Arc<Value>>;

/// Of a counter or a gauge, what it shows; of a histogram, all that was recorded.
#[derive(Default)]
pub(crate) struct Value(Mutex<Vec<f64>>);

impl Recorded {
    /// Installs it, if that was not done before.
    pub(crate) fn install() -> Self {
        static INSTALLED: OnceLock<Recorded> = OnceLock::new();
        let recorded = INSTALLED.get_or_init(|| {
            let recorded = Recorded::default();
            metrics::set_global_recorder(HandsOut(recorded.clone())).unwrap_or_else(|_| panic!("nobody else records"));
            recorded
        });
        recorded.clone()
    }

    /// The names of all metrics with the labels that they have.
    pub(crate) fn names(&self) -> BTreeSet<String> {
        let name = |series: &String| {
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let keys: Vec<_> =
                labels.trim_end_matches('}').split(", ").filter_map(|label| label.split('=').next()).collect();
            format!("{name} {}", keys.join(" "))
        };
        self.0.lock().unwrap().keys().map(name).collect()
    }

    /// The labels of all series of this name.
    pub(crate) fn labels(&self, name: &str) -> BTreeSet<String> {
        let series = self.0.lock().unwrap();
        series
            .keys()
            .filter_map(|series| series.strip_prefix(name)?.strip_prefix('{')?.strip_suffix('}'))
            .map(str::to_owned)
            .collect()
    }

    /// What a counter or a gauge shows; `None` if there is none.
    pub(crate) fn value(&self, series: &str) -> Option<f64> {
        self.values(series)?.last().copied()
    }

    /// All that was recorded; `None` if there is none.
    pub(crate) fn values(&self, series: &str) -> Option<Vec<f64>> {
        Some(self.0.lock().unwrap().get(series)?.0.lock().unwrap().clone())
    }
}

/// What has one handle for a metric, of whatever kind that is.
pub(crate) trait Handles {
    type Handle: CounterFn + GaugeFn + HistogramFn + Send + Sync + 'static;

    fn handle(&self, key: &Key) -> Arc<Self::Handle>;
}

/// A recorder that hands these out.
pub(crate) struct HandsOut<T>(pub(crate) T);

impl Handles for Recorded {
    type Handle = Value;

    fn handle(&self, key: &Key) -> Arc<Value> {
        let labels: Vec<_> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        let series = format!("{}{{{}}}", key.name(), labels.join(", "));
        Arc::clone(self.0.lock().unwrap().entry(series).or_default())
    }
}

impl<T: Handles> Recorder for HandsOut<T> {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.0.handle(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.0.handle(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.0.handle(key))
    }
}

impl Value {
    fn change(&self, by: f64) {
        let mut values = self.0.lock().unwrap();
        let before = values.pop().unwrap_or(0.0);
        values.push(before + by);
    }
}

#[expect(clippy::cast_precision_loss, reason = "no test counts that far")]
impl CounterFn for Value {
    fn increment(&self, value: u64) {
        self.change(value as f64);
    }

    fn absolute(&self, value: u64) {
        *self.0.lock().unwrap() = vec![value as f64];
    }
}

impl GaugeFn for Value {
    fn increment(&self, value: f64) {
        self.change(value);
    }

    fn decrement(&self, value: f64) {
        self.change(-value);
    }

    fn set(&self, value: f64) {
        *self.0.lock().unwrap() = vec![value];
    }
}

impl HistogramFn for Value {
    fn record(&self, value: f64) {
        self.0.lock().unwrap().push(value);
    }
}
