//! The collector's own metrics.
//!
//! Each series is a few atomics with one writer; any thread may read them. Names and labels are those of the Go
//! collector. Registration takes a lock; counting never does.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use otelcore_pdata::Signal;

use crate::own_traces::TracerSlot;
use crate::{Outcome, QueueTable};

/// How much is measured: `service::telemetry::metrics::level`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum MetricsLevel {
    /// Nothing.
    None,
    /// Metrics that every collector should have.
    Basic,
    /// The default.
    Normal,
    /// Everything.
    Detailed,
}

/// Names and values of one series' labels, sorted by name.
pub type Labels = Vec<(&'static str, String)>;

/// The kinds of family.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FamilyKind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by bounds.
    Histogram,
}

/// The current value of one series.
#[derive(Clone, Debug, PartialEq)]
pub enum SeriesValue {
    /// Of a counter or gauge.
    Number(f64),
    /// Of a histogram.
    Histogram {
        /// Upper bounds, ascending, without infinity.
        bounds: &'static [f64],
        /// Counts by bucket, not cumulative, one more than there are bounds.
        counts: Vec<u64>,
        /// Sum of the observations.
        sum: f64,
    },
}

/// One series at the moment of reading.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesSample {
    /// Its labels.
    pub labels: Labels,
    /// Its value.
    pub value: SeriesValue,
}

/// Series of one name.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricFamily {
    /// Metric name as scraped, `otelcol_...`.
    pub name: &'static str,
    /// The description for people.
    pub help: &'static str,
    /// Counter, gauge or histogram.
    pub kind: FamilyKind,
    /// Whether its numbers are fractions; such a counter is read from the system, and not counted.
    pub is_fractional: bool,
    /// The series.
    pub samples: Vec<SeriesSample>,
}

#[derive(Debug)]
enum SeriesCells {
    Number(Arc<AtomicU64>),
    /// An `f64`, stored as its bits.
    Float(Arc<AtomicU64>),
    Histogram(Arc<HistogramCells>),
}

#[derive(Debug)]
struct HistogramCells {
    bounds: &'static [f64],
    counts: Vec<AtomicU64>,
    sum: AtomicU64,
}

#[derive(Debug)]
pub(crate) struct FamilyEntry {
    pub(crate) name: &'static str,
    help: &'static str,
    kind: FamilyKind,
    series: Vec<(Labels, SeriesCells)>,
}

/// The registry. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Telemetry {
    level: MetricsLevel,
    entries: Arc<Mutex<Vec<FamilyEntry>>>,
    tracer: TracerSlot,
    queues: QueueTable,
}

impl Telemetry {
    /// An empty registry that keeps series up to `level`.
    #[must_use]
    pub fn new(level: MetricsLevel) -> Self {
        Self { level, entries: Arc::default(), tracer: TracerSlot::default(), queues: QueueTable::default() }
    }

    /// The place of the tracer of own spans.
    #[must_use]
    pub fn tracer(&self) -> &TracerSlot {
        &self.tracer
    }

    /// The queues of exporters, which are listed at every level.
    #[must_use]
    pub fn queues(&self) -> &QueueTable {
        &self.queues
    }

    /// How much is measured.
    #[must_use]
    pub fn level(&self) -> MetricsLevel {
        self.level
    }

    /// A counter; two calls for the same series give the same counter.
    #[must_use]
    pub fn counter(&self, level: MetricsLevel, name: &'static str, help: &'static str, labels: Labels) -> Counter {
        match self.register(level, name, help, FamilyKind::Counter, labels, || SeriesCells::Number(Arc::default())) {
            SeriesCells::Number(cell) => Counter(cell),
            SeriesCells::Float(_) | SeriesCells::Histogram(_) => Counter::default(),
        }
    }

    /// A gauge of whole numbers.
    #[must_use]
    pub fn gauge(&self, level: MetricsLevel, name: &'static str, help: &'static str, labels: Labels) -> Gauge {
        match self.register(level, name, help, FamilyKind::Gauge, labels, || SeriesCells::Number(Arc::default())) {
            SeriesCells::Number(cell) => Gauge(cell),
            SeriesCells::Float(_) | SeriesCells::Histogram(_) => Gauge::default(),
        }
    }

    /// A counter of fractions, for example of seconds. It is set, not added to.
    #[must_use]
    pub fn float_counter(&self, level: MetricsLevel, name: &'static str, help: &'static str, labels: Labels) -> Gauge {
        match self.register(level, name, help, FamilyKind::Counter, labels, || SeriesCells::Float(Arc::default())) {
            SeriesCells::Float(cell) => Gauge(cell),
            SeriesCells::Number(_) | SeriesCells::Histogram(_) => Gauge::default(),
        }
    }

    /// A histogram.
    #[must_use]
    pub fn histogram(
        &self,
        level: MetricsLevel,
        name: &'static str,
        help: &'static str,
        labels: Labels,
        bounds: &'static [f64],
    ) -> Histogram {
        let make = || {
            let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
            SeriesCells::Histogram(Arc::new(HistogramCells { bounds, counts, sum: AtomicU64::new(0) }))
        };
        match self.register(level, name, help, FamilyKind::Histogram, labels, make) {
            SeriesCells::Histogram(cells) => Histogram(Some(cells)),
            SeriesCells::Number(_) | SeriesCells::Float(_) => Histogram(None),
        }
    }

    fn register(
        &self,
        level: MetricsLevel,
        name: &'static str,
        help: &'static str,
        kind: FamilyKind,
        mut labels: Labels,
        make_cells: impl FnOnce() -> SeriesCells,
    ) -> SeriesCells {
        let clone_cells = |cells: &SeriesCells| match cells {
            SeriesCells::Number(c) => SeriesCells::Number(c.clone()),
            SeriesCells::Float(c) => SeriesCells::Float(c.clone()),
            SeriesCells::Histogram(c) => SeriesCells::Histogram(c.clone()),
        };
        if level > self.level || self.level == MetricsLevel::None {
            return make_cells();
        }
        labels.sort_unstable();
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let index = entries.iter().position(|e| e.name == name).unwrap_or_else(|| {
            entries.push(FamilyEntry { name, help, kind, series: Vec::new() });
            entries.len() - 1
        });
        let entry = &mut entries[index];
        if let Some((_, cells)) = entry.series.iter().find(|(l, _)| *l == labels) {
            return clone_cells(cells);
        }
        let cells = make_cells();
        entry.series.push((labels, clone_cells(&cells)));
        cells
    }

    /// All families, in no order. Registration waits while they are read.
    pub(crate) fn entries(&self) -> MutexGuard<'_, Vec<FamilyEntry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every family that has a series, sorted by name, series sorted by labels.
    #[must_use]
    pub fn collect(&self) -> Vec<MetricFamily> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let mut families: Vec<_> = entries
            .iter()
            .map(|e| {
                let mut samples: Vec<_> = e
                    .series
                    .iter()
                    .map(|(labels, cells)| SeriesSample { labels: labels.clone(), value: cells.read() })
                    .collect();
                samples.sort_by(|a, b| a.labels.cmp(&b.labels));
                let is_fractional = e.series.iter().any(|(_, cells)| matches!(cells, SeriesCells::Float(_)));
                MetricFamily { name: e.name, help: e.help, kind: e.kind, is_fractional, samples }
            })
            .collect();
        families.sort_by_key(|f| f.name);
        families
    }
}

impl FamilyEntry {
    /// The labels and the value of each series that is a whole number.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = (&Labels, u64)> {
        self.series.iter().filter_map(|(labels, cells)| match cells {
            SeriesCells::Number(cell) => Some((labels, cell.load(Ordering::Relaxed))),
            SeriesCells::Float(_) | SeriesCells::Histogram(_) => None,
        })
    }
}

impl SeriesCells {
    fn read(&self) -> SeriesValue {
        match self {
            Self::Number(c) => SeriesValue::Number(c.load(Ordering::Relaxed) as f64),
            Self::Float(c) => SeriesValue::Number(f64::from_bits(c.load(Ordering::Relaxed))),
            Self::Histogram(h) => SeriesValue::Histogram {
                bounds: h.bounds,
                counts: h.counts.iter().map(|c| c.load(Ordering::Relaxed)).collect(),
                sum: f64::from_bits(h.sum.load(Ordering::Relaxed)),
            },
        }
    }
}

/// Adds to `cell`, which only this thread writes.
fn add_single_writer(cell: &AtomicU64, n: u64) {
    cell.store(cell.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
}

/// A series that only grows.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    /// Counts `n` more.
    pub fn add(&self, n: u64) {
        add_single_writer(&self.0, n);
    }

    /// The current count.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A series that is set.
#[derive(Clone, Debug, Default)]
pub struct Gauge(Arc<AtomicU64>);

impl Gauge {
    /// Sets a whole number.
    pub fn set(&self, v: u64) {
        self.0.store(v, Ordering::Relaxed);
    }

    /// The number itself, for readers that need no series.
    #[must_use]
    pub fn number(&self) -> Arc<AtomicU64> {
        self.0.clone()
    }

    /// Sets one part of a number that several writers on the loop add up to.
    pub(crate) fn replace_part(&self, before: u64, now: u64) {
        add_single_writer(&self.0, now.wrapping_sub(before));
    }

    /// Sets a fraction; only for series made by [`Telemetry::float_counter`].
    pub fn set_float(&self, v: f64) {
        self.0.store(v.to_bits(), Ordering::Relaxed);
    }
}

/// A series of counts by bounds.
#[derive(Clone, Debug, Default)]
pub struct Histogram(Option<Arc<HistogramCells>>);

impl Histogram {
    /// Counts one observation.
    pub fn observe(&self, v: f64) {
        let Some(cells) = &self.0 else { return };
        let bucket = cells.bounds.partition_point(|b| *b < v);
        if let Some(count) = cells.counts.get(bucket) {
            add_single_writer(count, 1);
        }
        let sum = f64::from_bits(cells.sum.load(Ordering::Relaxed)) + v;
        cells.sum.store(sum.to_bits(), Ordering::Relaxed);
    }
}

/// The counters of a receiver, by transport: `grpc`, `http`.
#[derive(Clone, Debug)]
pub struct ReceiverMetrics {
    /// By signal: accepted, refused, failed.
    counters: [[Counter; 3]; 3],
    /// By signal: what is held, as the graph counts it too.
    held: [Gauge; 3],
}

impl ReceiverMetrics {
    /// Registers the nine series of `receiver` and `transport` for the given signals.
    #[must_use]
    pub fn new(telemetry: &Telemetry, receiver: &str, transport: &str, signals: &[Signal]) -> Self {
        let names: [[(&str, &str); 3]; 3] = [
            [
                ("otelcol_receiver_accepted_spans", "Number of spans successfully pushed into the pipeline. [Alpha]"),
                (
                    "otelcol_receiver_refused_spans",
                    "Number of spans that could not be pushed into the pipeline. [Alpha]",
                ),
                (
                    "otelcol_receiver_failed_spans",
                    "The number of spans that failed to be processed by the receiver due to internal errors. [Alpha]",
                ),
            ],
            [
                (
                    "otelcol_receiver_accepted_metric_points",
                    "Number of metric points successfully pushed into the pipeline. [Alpha]",
                ),
                (
                    "otelcol_receiver_refused_metric_points",
                    "Number of metric points that could not be pushed into the pipeline. [Alpha]",
                ),
                (
                    "otelcol_receiver_failed_metric_points",
                    "The number of metric points that failed to be processed by the receiver due to internal errors. [Alpha]",
                ),
            ],
            [
                (
                    "otelcol_receiver_accepted_log_records",
                    "Number of log records successfully pushed into the pipeline. [Alpha]",
                ),
                (
                    "otelcol_receiver_refused_log_records",
                    "Number of log records that could not be pushed into the pipeline. [Alpha]",
                ),
                (
                    "otelcol_receiver_failed_log_records",
                    "The number of log records that failed to be processed by the receiver due to internal errors. [Alpha]",
                ),
            ],
        ];
        let labels = || vec![("receiver", receiver.to_owned()), ("transport", transport.to_owned())];
        let counters = Signal::ALL.map(|signal| {
            let wanted = signals.contains(&signal);
            names[signal as usize].map(|(name, help)| {
                if wanted { telemetry.counter(MetricsLevel::Basic, name, help, labels()) } else { Counter::default() }
            })
        });
        let held = Signal::ALL.map(|signal| {
            let labels = vec![("receiver", receiver.to_owned()), ("otel_signal", signal.name().to_owned())];
            let help = "Number of items of the receiver whose outcome the pipelines have not reported.";
            match signals.contains(&signal) {
                true => telemetry.gauge(MetricsLevel::Basic, "otelcol_receiver_held_items", help, labels),
                false => Gauge::default(),
            }
        });
        Self { counters, held }
    }

    /// The receiver keeps items that the pipelines have refused, and sends them again
    /// ([`PipelineInput::resend`](crate::PipelineInput::resend)).
    pub fn record_kept(&self, signal: Signal, items: u32) {
        self.held[signal as usize].replace_part(0, u64::from(items));
    }

    /// Items that the receiver has kept are sent again.
    pub fn record_resent(&self, signal: Signal, items: u32) {
        self.held[signal as usize].replace_part(u64::from(items), 0);
    }

    /// Counts a request's items by their outcome. All downstream errors count as refused, as in the Go collector.
    pub fn record_outcome(&self, signal: Signal, items: u32, outcome: &Outcome) {
        let [accepted, refused, _failed] = &self.counters[signal as usize];
        match outcome {
            Outcome::Delivered => accepted.add(u64::from(items)),
            Outcome::Retry { .. } | Outcome::Permanent(_) | Outcome::Lost(_) => refused.add(u64::from(items)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_registered_twice_is_one_counter_and_series_above_the_level_is_hidden() {
        let telemetry = Telemetry::new(MetricsLevel::Normal);
        let labels = || vec![("exporter", "jaeger".to_owned())];
        telemetry.counter(MetricsLevel::Basic, "otelcol_x", "X", labels()).add(2);
        telemetry.counter(MetricsLevel::Basic, "otelcol_x", "X", labels()).add(3);
        telemetry.counter(MetricsLevel::Detailed, "otelcol_y", "Y", labels()).add(3);
        let h = telemetry.histogram(MetricsLevel::Normal, "otelcol_h", "H", vec![], &[1.0, 10.0]);
        for v in [0.5, 1.0, 7.0, 100.0] {
            h.observe(v);
        }
        let families = telemetry.collect();
        assert_eq!(families.iter().map(|f| f.name).collect::<Vec<_>>(), ["otelcol_h", "otelcol_x"]);
        assert_eq!(families[1].samples, [SeriesSample { labels: labels(), value: SeriesValue::Number(5.0) }]);
        let expected = SeriesValue::Histogram { bounds: &[1.0, 10.0], counts: vec![2, 1, 1], sum: 108.5 };
        assert_eq!(families[0].samples[0].value, expected);
    }
}
