//! The names of metrics in Prometheus.

use otelcore_pdata::views::{Metric, MetricData};
use otelcore_prometheus_translation::{MAX_NAME_BYTES, OtlpMetricKind, metric_name};

use crate::format::RemoteWriteFormat;

/// The kind of a metric, as far as its name depends on it.
pub(crate) fn kind_of(metric: &Metric<'_>) -> OtlpMetricKind {
    match metric.data {
        MetricData::Gauge(_) => OtlpMetricKind::Gauge,
        MetricData::Sum(sum) if sum.is_monotonic => OtlpMetricKind::Counter,
        // One without data has no suffix either.
        MetricData::Sum(_) | MetricData::Empty => OtlpMetricKind::UpDownCounter,
        MetricData::Histogram(_) | MetricData::ExponentialHistogram(_) => OtlpMetricKind::Histogram,
        MetricData::Summary(_) => OtlpMetricKind::Summary,
    }
}

/// The name of a metric without the suffixes of its series; `None` if it has none.
pub(crate) fn translated_name(format: &RemoteWriteFormat, metric: &Metric<'_>) -> Option<Vec<u8>> {
    let (name, unit) = (metric.name, metric.unit);
    if name.len() > MAX_NAME_BYTES || unit.len() > MAX_NAME_BYTES {
        return None;
    }
    metric_name(format.strategy, &format.namespace, name, unit, kind_of(metric)).ok()
}
