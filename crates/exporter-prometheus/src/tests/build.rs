//! Short constructors for test metrics.

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint,
    NumberDataPoint, ScopeMetrics, Sum, Summary, SummaryDataPoint, exemplar, metric, number_data_point,
    summary_data_point::ValueAtQuantile,
};
pub(super) use opentelemetry_proto::tonic::metrics::v1::{Metric, ResourceMetrics};
use opentelemetry_proto::tonic::resource::v1::Resource;
use otelcore_pdata::{Rope, Signal, check};
use prost::Message;

pub(super) type Attributes<'a> = &'a [(&'a str, &'a str)];
pub(super) type Point = NumberDataPoint;

pub(super) const DELTA: i32 = 1;
pub(super) const CUMULATIVE: i32 = 2;

pub(super) fn bytes(resources: Vec<ResourceMetrics>) -> Vec<u8> {
    ExportMetricsServiceRequest { resource_metrics: resources }.encode_to_vec()
}

pub(super) fn rope(resources: Vec<ResourceMetrics>) -> Rope {
    let body = bytes(resources);
    let summary = check(Signal::Metrics, &body).unwrap();
    Rope::new(Bytes::from(body), summary.items)
}

pub(super) fn wrap_value(value: any_value::Value) -> Option<AnyValue> {
    Some(AnyValue { value: Some(value) })
}

pub(super) fn attributes(list: Attributes<'_>) -> Vec<KeyValue> {
    let pair = |(k, v): &(&str, &str)| KeyValue {
        key: (*k).to_owned(),
        value: wrap_value(any_value::Value::StringValue((*v).to_owned())),
        ..KeyValue::default()
    };
    list.iter().map(pair).collect()
}

pub(super) fn resource(list: Attributes<'_>, scope_metrics: Vec<ScopeMetrics>) -> ResourceMetrics {
    let resource = Some(Resource { attributes: attributes(list), ..Resource::default() });
    ResourceMetrics { resource, scope_metrics, ..ResourceMetrics::default() }
}

pub(super) fn scope(name: &str, version: &str, metrics: Vec<Metric>) -> ScopeMetrics {
    let scope = Some(InstrumentationScope { name: name.to_owned(), version: version.to_owned(), ..Default::default() });
    ScopeMetrics { scope, metrics, ..ScopeMetrics::default() }
}

fn metric(name: &str, unit: &str, data: metric::Data) -> Metric {
    Metric { name: name.to_owned(), unit: unit.to_owned(), data: Some(data), ..Metric::default() }
}

pub(super) fn with_description(mut metric: Metric, description: &str) -> Metric {
    metric.description = description.to_owned();
    metric
}

/// A point at a time in seconds.
pub(super) fn point(time: u64, value: f64, list: Attributes<'_>) -> Point {
    NumberDataPoint {
        attributes: attributes(list),
        time_unix_nano: time * 1_000_000_000,
        value: Some(number_data_point::Value::AsDouble(value)),
        ..Point::default()
    }
}

pub(super) fn with_int(mut point: Point, value: i64) -> Point {
    point.value = Some(number_data_point::Value::AsInt(value));
    point
}

pub(super) fn with_start(mut point: Point, start: u64) -> Point {
    point.start_time_unix_nano = start * 1_000_000_000;
    point
}

pub(super) fn without_recorded_value(mut point: Point) -> Point {
    point.flags = 1;
    point.value = None;
    point
}

pub(super) fn gauge(name: &str, unit: &str, data_points: Vec<Point>) -> Metric {
    metric(name, unit, metric::Data::Gauge(Gauge { data_points }))
}

pub(super) fn sum(name: &str, unit: &str, temporality: i32, is_monotonic: bool, data_points: Vec<Point>) -> Metric {
    let data = Sum { data_points, aggregation_temporality: temporality, is_monotonic };
    metric(name, unit, metric::Data::Sum(data))
}

pub(super) fn counter(name: &str, data_points: Vec<Point>) -> Metric {
    sum(name, "", CUMULATIVE, true, data_points)
}

/// A histogram's point from `start` to `time`; the count is that of its buckets.
pub(super) fn buckets(span: (u64, u64), bounds: &[f64], counts: &[u64], sum: f64) -> HistogramDataPoint {
    HistogramDataPoint {
        start_time_unix_nano: span.0 * 1_000_000_000,
        time_unix_nano: span.1 * 1_000_000_000,
        count: counts.iter().sum(),
        sum: Some(sum),
        explicit_bounds: bounds.to_vec(),
        bucket_counts: counts.to_vec(),
        ..HistogramDataPoint::default()
    }
}

pub(super) fn histogram(name: &str, temporality: i32, data_points: Vec<HistogramDataPoint>) -> Metric {
    metric(name, "", metric::Data::Histogram(Histogram { data_points, aggregation_temporality: temporality }))
}

/// A point of an exponential histogram from `start` to `time`; the count is that of its buckets.
pub(super) fn exponential_point(
    span: (u64, u64),
    scale: i32,
    offset: i32,
    counts: &[u64],
) -> ExponentialHistogramDataPoint {
    ExponentialHistogramDataPoint {
        start_time_unix_nano: span.0 * 1_000_000_000,
        time_unix_nano: span.1 * 1_000_000_000,
        count: counts.iter().sum(),
        sum: Some(1.5),
        scale,
        positive: Some(Buckets { offset, bucket_counts: counts.to_vec() }),
        ..ExponentialHistogramDataPoint::default()
    }
}

pub(super) fn exponential(name: &str, temporality: i32, data_points: Vec<ExponentialHistogramDataPoint>) -> Metric {
    let data = ExponentialHistogram { data_points, aggregation_temporality: temporality };
    metric(name, "", metric::Data::ExponentialHistogram(data))
}

/// An exemplar with these bytes in the ids of trace and span.
pub(super) fn exemplar(trace: u8, span: u8, value: f64) -> Exemplar {
    Exemplar {
        trace_id: vec![trace; 16],
        span_id: vec![span; 8],
        time_unix_nano: 1_500_000_000,
        value: Some(exemplar::Value::AsDouble(value)),
        ..Exemplar::default()
    }
}

pub(super) fn summary(name: &str, time: u64, quantiles: &[(f64, f64)], list: Attributes<'_>) -> Metric {
    let quantile_values =
        quantiles.iter().map(|(quantile, value)| ValueAtQuantile { quantile: *quantile, value: *value });
    let point = SummaryDataPoint {
        attributes: attributes(list),
        time_unix_nano: time * 1_000_000_000,
        count: 4,
        sum: 10.5,
        quantile_values: quantile_values.collect(),
        ..SummaryDataPoint::default()
    };
    metric(name, "", metric::Data::Summary(Summary { data_points: vec![point] }))
}
