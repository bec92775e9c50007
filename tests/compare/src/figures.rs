//! What was measured.

use serde::Serialize;

/// What a series is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Measure {
    /// The row's letter.
    pub(crate) row: char,
    /// What, with its percentile.
    pub(crate) what: &'static str,
    /// Under which circumstances; empty where there is but one.
    pub(crate) setting: &'static str,
    /// In which unit.
    pub(crate) unit: &'static str,
    /// Next to which contestant, under which circumstances, ratios are printed.
    pub(crate) beside: Option<(&'static str, &'static str)>,
}

impl Measure {
    /// The same under other circumstances.
    pub(crate) const fn when(self, setting: &'static str) -> Self {
        Self { setting, ..self }
    }
}

/// What a contestant did, a figure for each repetition.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Series {
    #[serde(flatten)]
    pub(crate) measure: Measure,
    /// How many nodes.
    pub(crate) nodes: usize,
    pub(crate) contestant: &'static str,
    /// One for each repetition.
    pub(crate) values: Vec<f64>,
    /// What it did not finish within, in seconds; it took part no more after that.
    pub(crate) gave_up_after: Option<f64>,
}

/// All that was measured.
#[derive(Debug, Default)]
pub(crate) struct Figures(Vec<Series>);

/// The least, the median and the greatest.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Spread {
    pub(crate) least: f64,
    pub(crate) median: f64,
    pub(crate) greatest: f64,
}

impl Figures {
    pub(crate) fn series(&self) -> &[Series] {
        &self.0
    }

    /// Has it stand here in the report, whoever is the first to have a figure.
    pub(crate) fn announce(&mut self, measure: Measure, nodes: usize, contestant: &'static str) {
        self.entry(measure, nodes, contestant);
    }

    pub(crate) fn add(&mut self, measure: Measure, nodes: usize, contestant: &'static str, value: f64) {
        self.entry(measure, nodes, contestant).values.push(value);
    }

    /// It was not done in time.
    pub(crate) fn give_up(&mut self, measure: Measure, nodes: usize, contestant: &'static str, seconds: f64) {
        self.entry(measure, nodes, contestant).gave_up_after = Some(seconds);
    }

    pub(crate) fn find(&self, measure: Measure, nodes: usize, contestant: &str) -> Option<&Series> {
        self.0.iter().find(|series| {
            let Measure { row, what, setting, .. } = series.measure;
            (row, what, setting) == (measure.row, measure.what, measure.setting)
                && (series.nodes, series.contestant) == (nodes, contestant)
        })
    }

    /// What a series is next to the one that its ratios are printed to; nothing for that one itself.
    pub(crate) fn beside(&self, series: &Series) -> Option<Spread> {
        let (contestant, setting) = series.measure.beside?;
        let other = self.find(series.measure.when(setting), series.nodes, contestant)?;
        if std::ptr::eq(series, other) { None } else { series.ratio(other) }
    }

    fn entry(&mut self, measure: Measure, nodes: usize, contestant: &'static str) -> &mut Series {
        let is_it =
            |series: &Series| series.measure == measure && series.nodes == nodes && series.contestant == contestant;
        let position = self.0.iter().position(is_it).unwrap_or_else(|| {
            self.0.push(Series { measure, nodes, contestant, values: Vec::new(), gave_up_after: None });
            self.0.len() - 1
        });
        &mut self.0[position]
    }
}

impl Series {
    pub(crate) fn spread(&self) -> Option<Spread> {
        Spread::of(self.values.clone())
    }

    /// What this is, divided by what the other is, repetition by repetition.
    pub(crate) fn ratio(&self, beside: &Self) -> Option<Spread> {
        Spread::of(self.values.iter().zip(&beside.values).map(|(this, other)| this / other).collect())
    }
}

impl Spread {
    pub(crate) fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (least, greatest) = (*values.first()?, *values.last()?);
        Some(Self { least, median: values[values.len() / 2], greatest })
    }
}

/// The value below which so many hundredths of the durations are, in the unit of so many nanoseconds.
pub(crate) fn percentile(sorted: &[i64], hundredths: usize, unit: f64) -> f64 {
    let position = (sorted.len() * hundredths / 100).min(sorted.len().saturating_sub(1));
    #[expect(clippy::cast_precision_loss, reason = "durations of seconds")]
    let nanoseconds = sorted.get(position).copied().unwrap_or(0) as f64;
    nanoseconds / unit
}

/// Nanoseconds of a microsecond.
pub(crate) const MICROSECOND: f64 = 1e3;
/// Nanoseconds of a millisecond.
pub(crate) const MILLISECOND: f64 = 1e6;
