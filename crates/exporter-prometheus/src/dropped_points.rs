//! Logs once, and counts, the points that a scrape does not show.
//!
//! The Go collector logs them at every scrape; here each reason is logged once for each metric name, and every dropped
//! point is counted in `otelcol_exporter_prometheus_dropped_points`.

use std::collections::BTreeSet;
use std::hash::BuildHasher;

use foldhash::fast::FixedState;

use otelcore_config::codes::METRIC_NOT_SHOWN;
use otelcore_pipeline::{CODE_FIELD, Counter, LogField, LogLevel, Logger, MetricsLevel, Telemetry};
use otelcore_prometheus_translation::LabelError;

/// Why points are not shown.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum DropReason {
    /// Exponential histograms are not supported yet.
    ExponentialHistogram,
    /// Neither delta nor cumulative.
    Temporality,
    /// A delta sum that is not monotonic.
    DeltaUpDown,
    /// A delta histogram that overlaps the previous one.
    MisalignedDelta,
    /// Older than the stored point.
    OlderPoint,
    /// The metric has no Prometheus name.
    Name,
    /// A label has no Prometheus name, a reserved one, or a value that is not UTF-8.
    Label,
    /// Two labels have the same name.
    DuplicateLabel,
    /// A summary with a label `quantile`.
    Quantile,
    /// The name belongs to another type.
    TypeConflict,
    /// Another series has the same name and labels.
    DuplicateSeries,
    /// The name is that of another family's `_count`, `_sum` or `_bucket`, or of `target_info`.
    NameCollision,
    /// More attributes or buckets, or longer ones, than one series can have.
    TooLarge,
    /// A new series, or more buckets of a known one, above the memory limit.
    Memory,
}

impl DropReason {
    /// The reason for which a series has no labels.
    pub(crate) fn of_labels(error: &LabelError) -> Self {
        match error {
            LabelError::Name(_) | LabelError::InvalidName(_) | LabelError::InvalidValue(_) => Self::Label,
            LabelError::Duplicate(_) => Self::DuplicateLabel,
            LabelError::Quantile(_) => Self::Quantile,
        }
    }

    const COUNT: usize = Self::Memory as usize + 1;

    /// The value of the label `reason` of the metric.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ExponentialHistogram => "exponential_histogram",
            Self::Temporality => "temporality",
            Self::DeltaUpDown => "delta_non_monotonic",
            Self::MisalignedDelta => "misaligned_delta",
            Self::OlderPoint => "older",
            Self::Name => "metric_name",
            Self::Label => "label",
            Self::DuplicateLabel => "duplicate_label",
            Self::Quantile => "quantile_label",
            Self::TypeConflict => "type_conflict",
            Self::DuplicateSeries => "duplicate_series",
            Self::NameCollision => "name_collision",
            Self::TooLarge => "too_large",
            Self::Memory => "memory",
        }
    }
}

/// Names remembered for each reason, at most, so that many names fill neither memory nor log.
const MAX_LOGGED_NAMES: usize = 256;

/// Bytes of a log message, at most: the sender decides the length of the names and labels in it.
const MAX_MESSAGE_BYTES: usize = 4096;

/// Counts and logs the points that are not shown.
#[derive(Debug)]
pub struct DroppedPoints {
    telemetry: Telemetry,
    exporter: String,
    log: Option<Logger>,
    counters: [Option<Counter>; DropReason::COUNT],
    /// Hashes of the names: a name may be megabytes long. If two hashes are equal, the second name is only not logged.
    logged_names: [BTreeSet<u64>; DropReason::COUNT],
    counts: [u64; DropReason::COUNT],
}

impl DroppedPoints {
    /// Counts for the exporter with this id.
    #[must_use]
    pub fn new(telemetry: &Telemetry, exporter: &str, log: Logger) -> Self {
        Self { telemetry: telemetry.clone(), exporter: exporter.to_owned(), log: Some(log), ..Self::without_log() }
    }

    /// Only counts, and logs nothing.
    #[must_use]
    pub fn without_log() -> Self {
        Self {
            telemetry: Telemetry::new(MetricsLevel::None),
            exporter: String::new(),
            log: None,
            counters: Default::default(),
            logged_names: Default::default(),
            counts: [0; DropReason::COUNT],
        }
    }

    /// Number of points that were dropped for this reason.
    #[must_use]
    pub fn count_of(&self, reason: DropReason) -> u64 {
        self.counts[reason as usize]
    }

    /// Counts points.
    pub(crate) fn add(&mut self, reason: DropReason, points: u64) {
        if points == 0 {
            return;
        }
        self.counts[reason as usize] += points;
        let (telemetry, exporter) = (&self.telemetry, &self.exporter);
        let counter = self.counters[reason as usize].get_or_insert_with(|| {
            telemetry.counter(
                MetricsLevel::Basic,
                "otelcol_exporter_prometheus_dropped_points",
                "Number of data points that are not shown to scrapers [Development]",
                vec![("exporter", exporter.clone()), ("reason", reason.name().to_owned())],
            )
        });
        counter.add(points);
    }

    /// Logs the reason for a metric, only the first time.
    pub(crate) fn log_once(
        &mut self,
        reason: DropReason,
        level: LogLevel,
        metric: &[u8],
        message: impl FnOnce() -> String,
    ) {
        let logged_names = &mut self.logged_names[reason as usize];
        if logged_names.len() >= MAX_LOGGED_NAMES || !logged_names.insert(FixedState::with_seed(0).hash_one(metric)) {
            return;
        }
        if let Some(log) = &self.log {
            let mut message = message();
            if message.len() > MAX_MESSAGE_BYTES {
                message.truncate(message.floor_char_boundary(MAX_MESSAGE_BYTES));
                message.push_str("...");
            }
            let code = [(CODE_FIELD, LogField::Str(METRIC_NOT_SHOWN))];
            log.log(level, &message, &code);
            if logged_names.len() == MAX_LOGGED_NAMES {
                log.warn(
                    &format!("{MAX_LOGGED_NAMES} metrics have this problem; further ones are only counted"),
                    &code,
                );
            }
        }
    }
}
