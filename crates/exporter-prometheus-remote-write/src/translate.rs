//! Reads a body and adds what its points are in Prometheus to a table of series.
//!
//! A point of a gauge or sum is a sample. One of a histogram with explicit bounds is `_sum`, `_count` and a `_bucket` for each
//! bound; one of a summary `_sum`, `_count` and a series for each quantile; one of an exponential histogram is a native
//! histogram. Each resource has a series `target_info`. A point that says that it has no recorded value is a staleness
//! marker. What is not cumulative has no form in Prometheus and is left out and counted.

use otelcore_net::LeftOutItems;
use otelcore_pdata::views::{
    Exemplar, ExponentialHistogramPoint, HistogramPoint, Metric, MetricData, NumberPoint, NumberValue,
    RepeatedMessages, Resource, ResourceMetrics, SummaryPoint, Temporality, View, resource_entries,
};
use otelcore_prometheus_translation::{OtlpMetricKind, unit_name};

use crate::exemplars::ExemplarEncoder;
use crate::format::RemoteWriteFormat;
use crate::labels::{LabelBuilder, set_label, with_label};
use crate::metadata::{MetadataMessages, MetricType, SeriesMetadata};
use crate::names::{kind_of, translated_name};
use crate::native_histogram::NativeHistogramEncoder;
use crate::series::{Label, STALE_NAN, Sample, SeriesTable};
use crate::shards::{Shard, hash_resource};

/// Bit 0 of a point's flags.
const NO_RECORDED_VALUE: u32 = 1;
/// Bytes of the labels of all series of one point, at most.
const MAX_POINT_BYTES: usize = 16 << 20;

const NOT_CUMULATIVE: &str = "a sum or histogram is not cumulative, which Prometheus can't express";
const NO_NAME: &str = "a metric has a name that gives no name in Prometheus";
const TOO_MANY_BUCKETS: &str = "the series of one histogram or summary have more than 16 MiB of labels";

/// A translated body.
#[derive(Debug)]
pub(crate) struct Translated {
    /// Its series.
    pub(crate) table: SeriesTable,
    /// Its metadata, in version 1.
    pub(crate) metadata: MetadataMessages,
    /// The points that are not in it.
    pub(crate) left_out: Option<LeftOutItems>,
}

/// The request would have more bytes than are allowed.
#[derive(Debug)]
pub(crate) struct TooLong;

/// Translates a body.
///
/// # Errors
/// [`TooLong`] once the request has more than `limit` bytes.
pub(crate) fn translate(format: &RemoteWriteFormat, shard: &Shard, limit: usize) -> Result<Translated, TooLong> {
    let mut translation = Translation {
        format,
        limit,
        labels: LabelBuilder::new(format),
        output: Output {
            table: SeriesTable::new(format.is_version_2()),
            exemplars: ExemplarEncoder::default(),
            histograms: NativeHistogramEncoder::default(),
            message: Vec::new(),
        },
        metadata: MetadataMessages::default(),
        left_out: None,
        name: Vec::new(),
        bound: Vec::new(),
        bounds: Vec::new(),
    };
    for entry in resource_entries::<ResourceMetrics<'_>>(&shard.body) {
        translation.add_resource(&entry, &shard.targets_elsewhere)?;
    }
    let Translation { output, metadata, left_out, .. } = translation;
    Ok(Translated { table: output.table, metadata, left_out })
}

struct Translation<'a> {
    format: &'a RemoteWriteFormat,
    limit: usize,
    labels: LabelBuilder<'a>,
    output: Output,
    metadata: MetadataMessages,
    left_out: Option<LeftOutItems>,
    /// A name with a suffix.
    name: Vec<u8>,
    /// A bound or a quantile as text.
    bound: Vec<u8>,
    /// Bounds of a point with exemplars, and the series of their buckets.
    bounds: Vec<(f64, usize)>,
}

/// What is written, and the buffers for it.
struct Output {
    table: SeriesTable,
    exemplars: ExemplarEncoder,
    histograms: NativeHistogramEncoder,
    message: Vec<u8>,
}

/// A metric with its name in Prometheus.
#[derive(Clone, Copy)]
struct NamedMetric<'m> {
    name: &'m [u8],
    metadata: SeriesMetadata<'m>,
    /// Whether its points count from a start.
    has_start: bool,
    /// Whether its exemplars are written.
    has_exemplars: bool,
}

/// When a point was made, and whether it is a staleness marker.
#[derive(Clone, Copy)]
struct PointTime {
    timestamp: i64,
    start: i64,
    is_stale: bool,
}

impl PointTime {
    fn new(metric: &NamedMetric<'_>, time: u64, start: u64, flags: u32) -> Self {
        let is_stale = flags & NO_RECORDED_VALUE != 0;
        let (timestamp, start) = (millis(time), millis(start));
        let has_start = metric.has_start && !is_stale && start <= timestamp;
        Self { timestamp, start: if has_start { start } else { 0 }, is_stale }
    }

    fn sample(self, value: f64) -> Sample {
        let value = if self.is_stale { f64::from_bits(STALE_NAN) } else { value };
        Sample { value, timestamp: self.timestamp, start: self.start }
    }
}

/// Nanoseconds as milliseconds, as Go converts them.
fn millis(nanos: u64) -> i64 {
    nanos.cast_signed() / 1_000_000
}

impl<'a> Translation<'a> {
    fn leave_out(&mut self, count: usize, reason: &'static str) {
        if count > 0 {
            let left_out = self.left_out.get_or_insert(LeftOutItems { count: 0, reason });
            left_out.count = left_out.count.saturating_add(u32::try_from(count).unwrap_or(u32::MAX));
        }
    }

    fn check_length(&self) -> Result<(), TooLong> {
        if self.output.table.encoded_len() > self.limit { Err(TooLong) } else { Ok(()) }
    }

    fn add_resource(&mut self, entry: &ResourceMetrics<'a>, targets_elsewhere: &[u64]) -> Result<(), TooLong> {
        self.labels.start_resource(&entry.resource);
        let mut newest = 0;
        for scope_metrics in entry.scope_metrics() {
            self.labels.start_scope(&scope_metrics.scope);
            for metric in scope_metrics.metrics() {
                newest = newest.max(newest_time(&metric));
                self.add_metric(&metric)?;
            }
        }
        let is_elsewhere = || targets_elsewhere.binary_search(&hash_resource(&entry.resource)).is_ok();
        if self.format.target_info && newest != 0 && (targets_elsewhere.is_empty() || !is_elsewhere()) {
            self.add_target(&entry.resource, newest);
        }
        self.check_length()
    }

    fn add_target(&mut self, resource: &Resource<'a>, newest: u64) {
        let Self { format, labels, output, name, .. } = self;
        // A target whose attributes give no label names has no series. No point is lost by that.
        let Ok(Some(mut labels)) = labels.labels_of_target(resource) else { return };
        name.clear();
        if !format.namespace.is_empty() {
            name.extend_from_slice(format.namespace.as_bytes());
            name.push(b'_');
        }
        name.extend_from_slice(b"target_info");
        set_label(&mut labels, b"__name__", name);
        let metadata = SeriesMetadata { metric_type: MetricType::Gauge, help: b"Target metadata", unit: b"" };
        let series = output.table.series(&labels, &metadata, false);
        output.table.add_sample(series, Sample { value: 1.0, timestamp: millis(newest), start: 0 });
    }

    fn add_metric(&mut self, metric: &Metric<'a>) -> Result<(), TooLong> {
        let cumulative = Temporality::Cumulative;
        let temporality = match metric.data {
            MetricData::Empty => Temporality::Unspecified,
            MetricData::Gauge(_) | MetricData::Summary(_) => cumulative,
            MetricData::Sum(sum) => sum.temporality,
            MetricData::Histogram(histogram) | MetricData::ExponentialHistogram(histogram) => histogram.temporality,
        };
        let is_version_2 = self.format.is_version_2();
        let name = translated_name(self.format, metric);
        let unit = if name.is_some() && (is_version_2 || self.format.metadata) {
            unit_name(metric.unit, self.format.strategy.keeps_utf8())
        } else {
            Vec::new()
        };
        let metadata = SeriesMetadata { metric_type: MetricType::of(metric), help: metric.description, unit: &unit };
        if let Some(name) = name.as_ref().filter(|_| self.format.metadata && !is_version_2) {
            self.metadata.add(name, &metadata);
        }
        let Some(name) = name.filter(|_| temporality == cumulative) else {
            let reason = if temporality == cumulative { NO_NAME } else { NOT_CUMULATIVE };
            self.leave_out(count_points(metric), reason);
            return Ok(());
        };
        let kind = kind_of(metric);
        let has_start = !matches!(kind, OtlpMetricKind::Gauge | OtlpMetricKind::UpDownCounter);
        let has_exemplars = is_version_2 || kind == OtlpMetricKind::Counter;
        let named = NamedMetric { name: &name, metadata, has_start, has_exemplars };
        match metric.data {
            MetricData::Empty => Ok(()),
            MetricData::Gauge(gauge) => self.add_points(gauge.points(), |this, point| this.add_number(&named, point)),
            MetricData::Sum(sum) => self.add_points(sum.points(), |this, point| this.add_number(&named, point)),
            MetricData::Histogram(histogram) => {
                self.add_points(histogram.points(), |this, point| this.add_histogram(&named, point))
            }
            MetricData::ExponentialHistogram(histogram) => {
                self.add_points(histogram.exponential_points(), |this, point| this.add_native(&named, point))
            }
            MetricData::Summary(summary) => {
                self.add_points(summary.points(), |this, point| this.add_summary(&named, point))
            }
        }
    }

    fn add_points<P: View<'a>>(
        &mut self,
        points: RepeatedMessages<'a, P>,
        mut add: impl FnMut(&mut Self, &P) -> Result<(), &'static str>,
    ) -> Result<(), TooLong> {
        for point in points {
            if let Err(reason) = add(self, &point) {
                self.leave_out(1, reason);
            }
            self.check_length()?;
        }
        Ok(())
    }

    fn add_number(&mut self, metric: &NamedMetric<'_>, point: &NumberPoint<'a>) -> Result<(), &'static str> {
        let mut labels = self.labels.labels_of_point(point.attributes())?;
        set_label(&mut labels, b"__name__", metric.name);
        let time = PointTime::new(metric, point.time_unix_nano, point.start_time_unix_nano, point.flags);
        let value = match point.value.0 {
            NumberValue::Empty => 0.0,
            NumberValue::Double(value) => value,
            NumberValue::Int(value) => value as f64,
        };
        let series = self.output.table.series(&labels, &metric.metadata, false);
        self.output.table.add_sample(series, time.sample(value));
        if metric.has_exemplars {
            point.exemplars().for_each(|exemplar| self.output.add_exemplar(series, &exemplar));
        }
        Ok(())
    }

    fn add_histogram(&mut self, metric: &NamedMetric<'_>, point: &HistogramPoint<'a>) -> Result<(), &'static str> {
        let Self { labels, output, name, bound, bounds, .. } = self;
        let labels = labels.labels_of_point(point.attributes())?;
        let counts = point.bucket_counts();
        let bucket_count = point.explicit_bounds().zip(counts).count();
        check_copies(&labels, metric.name, bucket_count)?;
        let time = PointTime::new(metric, point.time_unix_nano, point.start_time_unix_nano, point.flags);
        if let Some(sum) = point.sum {
            output.add_suffixed(metric, (name, b"_sum"), &labels, time.sample(sum));
        }
        output.add_suffixed(metric, (name, b"_count"), &labels, time.sample(point.count as f64));
        set_name(name, metric.name, b"_bucket");
        let labels = with_label(&labels, b"__name__", name);
        bounds.clear();
        let mut total = 0_u64;
        for (upper, count) in point.explicit_bounds().zip(counts) {
            total = total.wrapping_add(count);
            bound.clear();
            otelcore_go_number::put_decimal(bound, upper);
            let series = output.add_labeled(metric, &labels, (b"le", bound), time.sample(total as f64));
            if !upper.is_nan() {
                bounds.push((upper, series));
            }
        }
        let series = output.add_labeled(metric, &labels, (b"le", b"+Inf"), time.sample(point.count as f64));
        bounds.push((f64::INFINITY, series));
        let mut exemplars = point.exemplars().peekable();
        if exemplars.peek().is_some() {
            bounds.sort_by(|a, b| a.0.total_cmp(&b.0));
        }
        for exemplar in exemplars {
            let value = match exemplar.value.0 {
                NumberValue::Empty => 0.0,
                NumberValue::Double(value) => value,
                NumberValue::Int(value) => value as f64,
            };
            let bucket = bounds.partition_point(|(upper, _)| *upper < value);
            if let Some((_, series)) = bounds.get(bucket).filter(|_| !value.is_nan()) {
                output.add_exemplar(*series, &exemplar);
            }
        }
        Ok(())
    }

    fn add_summary(&mut self, metric: &NamedMetric<'_>, point: &SummaryPoint<'a>) -> Result<(), &'static str> {
        let Self { labels, output, name, bound, .. } = self;
        let mut labels = labels.labels_of_point(point.attributes())?;
        check_copies(&labels, metric.name, point.quantile_values().count())?;
        let time = PointTime::new(metric, point.time_unix_nano, point.start_time_unix_nano, point.flags);
        output.add_suffixed(metric, (name, b"_sum"), &labels, time.sample(point.sum));
        output.add_suffixed(metric, (name, b"_count"), &labels, time.sample(point.count as f64));
        set_label(&mut labels, b"__name__", metric.name);
        for quantile in point.quantile_values() {
            bound.clear();
            otelcore_go_number::put_decimal(bound, quantile.quantile);
            output.add_labeled(metric, &labels, (b"quantile", bound), time.sample(quantile.value));
        }
        Ok(())
    }

    fn add_native(
        &mut self,
        metric: &NamedMetric<'_>,
        point: &ExponentialHistogramPoint<'a>,
    ) -> Result<(), &'static str> {
        let mut labels = self.labels.labels_of_point(point.attributes())?;
        set_label(&mut labels, b"__name__", metric.name);
        let time = PointTime::new(metric, point.time_unix_nano, point.start_time_unix_nano, point.flags);
        let Output { table, histograms, message, .. } = &mut self.output;
        message.clear();
        let start = if self.format.is_version_2() { time.start } else { 0 };
        histograms.encode(message, point, (time.timestamp, start), time.is_stale)?;
        let series = table.series(&labels, &metric.metadata, true);
        table.add_histogram(series, message, time.timestamp);
        point.exemplars().for_each(|exemplar| self.output.add_exemplar(series, &exemplar));
        Ok(())
    }
}

impl Output {
    fn add_exemplar(&mut self, series: usize, exemplar: &Exemplar<'_>) {
        self.exemplars.encode(exemplar, self.table.symbols());
        self.table.add_exemplar(series, &self.exemplars.message, self.exemplars.timestamp);
    }

    /// Adds a sample to the series whose name has a suffix.
    fn add_suffixed(
        &mut self,
        metric: &NamedMetric<'_>,
        (name, suffix): (&mut Vec<u8>, &[u8]),
        labels: &[Label<'_>],
        sample: Sample,
    ) {
        set_name(name, metric.name, suffix);
        let labels = with_label(labels, b"__name__", name);
        let series = self.table.series(&labels, &metric.metadata, false);
        self.table.add_sample(series, sample);
    }

    /// Adds a sample to the series with one label more, and returns the series.
    fn add_labeled(
        &mut self,
        metric: &NamedMetric<'_>,
        labels: &[Label<'_>],
        (name, value): (&[u8], &[u8]),
        sample: Sample,
    ) -> usize {
        let labels = with_label(labels, name, value);
        let series = self.table.series(&labels, &metric.metadata, false);
        self.table.add_sample(series, sample);
        series
    }
}

fn set_name(out: &mut Vec<u8>, name: &[u8], suffix: &[u8]) {
    out.clear();
    out.extend_from_slice(name);
    out.extend_from_slice(suffix);
}

/// Refuses a point whose labels would be repeated in too many series.
fn check_copies(labels: &[Label<'_>], name: &[u8], copies: usize) -> Result<(), &'static str> {
    let bytes: usize = labels.iter().map(|(name, value)| name.len() + value.len() + 8).sum();
    let all = bytes.saturating_add(name.len() + 64).saturating_mul(copies.saturating_add(3));
    if all > MAX_POINT_BYTES { Err(TOO_MANY_BUCKETS) } else { Ok(()) }
}

/// The newest time of a metric's points.
fn newest_time(metric: &Metric<'_>) -> u64 {
    let newest = match metric.data {
        MetricData::Empty => None,
        MetricData::Gauge(gauge) => gauge.points().map(|point| point.time_unix_nano).max(),
        MetricData::Sum(sum) => sum.points().map(|point| point.time_unix_nano).max(),
        MetricData::Histogram(histogram) => histogram.points().map(|point| point.time_unix_nano).max(),
        MetricData::ExponentialHistogram(histogram) => {
            histogram.exponential_points().map(|point| point.time_unix_nano).max()
        }
        MetricData::Summary(summary) => summary.points().map(|point| point.time_unix_nano).max(),
    };
    newest.unwrap_or(0)
}

fn count_points(metric: &Metric<'_>) -> usize {
    match metric.data {
        MetricData::Empty => 0,
        MetricData::Gauge(gauge) => gauge.points().count(),
        MetricData::Sum(sum) => sum.points().count(),
        MetricData::Histogram(histogram) => histogram.points().count(),
        MetricData::ExponentialHistogram(histogram) => histogram.exponential_points().count(),
        MetricData::Summary(summary) => summary.points().count(),
    }
}
