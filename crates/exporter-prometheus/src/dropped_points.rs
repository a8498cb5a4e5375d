//! Logs once, and counts, the points that a scrape does not show.
//!
//! The Go collector logs them at every scrape; here each reason is logged once for each metric name, and every dropped
//! point is counted in `otelcol_exporter_prometheus_dropped_points`. That a series has the labels of another one is found
//! when a page needs it: its last point then counts, and all later ones.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::BuildHasher;

use foldhash::fast::FixedState;

use otelcore_config::codes::METRIC_NOT_SHOWN;
use otelcore_pipeline::{CODE_FIELD, Counter, LogField, LogLevel, Logger, MetricsLevel, Telemetry};

/// Why points are not shown.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum DropReason {
    /// An exponential histogram whose scale is below -4: Prometheus has no such buckets.
    ExponentialScale,
    /// An exponential histogram whose buckets do not add up to its count.
    BucketCounts,
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
    /// A new series above `max_series`.
    SeriesLimit,
}

impl DropReason {
    const COUNT: usize = Self::SeriesLimit as usize + 1;

    /// The value of the label `reason` of the metric.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ExponentialScale => "exponential_scale",
            Self::BucketCounts => "bucket_counts",
            Self::Temporality => "temporality",
            Self::DeltaUpDown => "delta_non_monotonic",
            Self::MisalignedDelta => "misaligned_delta",
            Self::OlderPoint => "older",
            Self::Name => "metric_name",
            Self::Label => "label",
            Self::TypeConflict => "type_conflict",
            Self::DuplicateSeries => "duplicate_series",
            Self::NameCollision => "name_collision",
            Self::TooLarge => "too_large",
            Self::Memory => "memory",
            Self::SeriesLimit => "series_limit",
        }
    }
}

/// Names remembered for each reason, at most, so that many names fill neither memory nor log.
const MAX_LOGGED_NAMES: usize = 256;

/// Metrics whose points above `max_series` are counted by name, at most, and bytes of such a name.
const MAX_COUNTED_METRICS: usize = 128;
const MAX_COUNTED_NAME_BYTES: usize = 256;

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
    /// Series whose labels were merged.
    merged: Option<Counter>,
    merged_count: u64,
    /// Points of new series above the limit, by metric.
    above_limit: BTreeMap<Vec<u8>, Counter>,
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
            merged: None,
            merged_count: 0,
            above_limit: BTreeMap::new(),
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

    /// Number of series of which labels were merged.
    #[must_use]
    pub fn merged_labels(&self) -> u64 {
        self.merged_count
    }

    /// Counts a new series of which labels were merged, and logs its metric once.
    pub(crate) fn add_merged_labels(&mut self, metric: &[u8]) {
        self.merged_count += 1;
        let (telemetry, exporter) = (&self.telemetry, &self.exporter);
        let counter = self.merged.get_or_insert_with(|| {
            telemetry.counter(
                MetricsLevel::Basic,
                "otelcol_exporter_prometheus_merged_labels",
                "Number of series of which labels with equal names were made one [Development]",
                vec![("exporter", exporter.clone())],
            )
        });
        counter.add(1);
        self.log_once(DropReason::Label, LogLevel::Warn, metric, || {
            let metric = String::from_utf8_lossy(metric);
            format!("labels of metric {metric:?} have equal names: the values of attributes are joined by a semicolon")
        });
    }

    /// Counts a point of a new series above `max_series`, by metric, and logs the first one.
    pub(crate) fn add_above_limit(&mut self, metric: &[u8], max_series: usize) {
        self.add(DropReason::SeriesLimit, 1);
        if self.above_limit.len() >= MAX_COUNTED_METRICS && !self.above_limit.contains_key(metric) {
            return;
        }
        if self.above_limit.is_empty()
            && let Some(log) = &self.log
        {
            let text = format!(
                "There are {max_series} series, the limit `max_series`. Points of new ones are dropped, and counted in \
                 otelcol_exporter_prometheus_series_above_limit; known ones are still updated."
            );
            log.warn(&text, &[(CODE_FIELD, LogField::Str(METRIC_NOT_SHOWN))]);
        }
        let (telemetry, exporter) = (&self.telemetry, &self.exporter);
        let key = metric.get(..MAX_COUNTED_NAME_BYTES).unwrap_or(metric).to_vec();
        let counter = self.above_limit.entry(key).or_insert_with_key(|name| {
            telemetry.counter(
                MetricsLevel::Basic,
                "otelcol_exporter_prometheus_series_above_limit",
                "Number of data points of new series above max_series [Development]",
                vec![("exporter", exporter.clone()), ("metric", String::from_utf8_lossy(name).into_owned())],
            )
        });
        counter.add(1);
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
