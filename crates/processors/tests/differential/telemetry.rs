//! Telemetry with a small vocabulary, so that configurations match, groups form and series go on.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint, Metric,
    NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint, exemplar, number_data_point,
    summary_data_point::ValueAtQuantile,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;

use crate::Choices;

pub const KEYS: [&str; 5] = ["a", "b", "state", "host.name", "n"];
pub const VALUES: [&str; 5] = ["x", "y", "idle", "", "größe"];
pub const METRICS: [&str; 6] = ["m.one", "m.two", "http.requests.total", "http_errors_total", "mem", "M.one"];

/// Nanoseconds of a second.
pub const SECOND: u64 = 1_000_000_000;

pub fn value(c: &mut Choices) -> AnyValue {
    let value = match c.below(9) {
        0 => Value::IntValue(c.choose(&[0, 1, -7, 42])),
        1 => Value::BoolValue(c.one_in(2)),
        2 => Value::DoubleValue(c.choose(&[0.5, -1.25, 3.0])),
        _ => Value::StringValue(c.choose(&VALUES).to_owned()),
    };
    AnyValue { value: Some(value) }
}

pub fn key_value(key: &str, value: AnyValue) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }
}

pub fn attributes(c: &mut Choices, keys: &[&str]) -> Vec<KeyValue> {
    let mut out: Vec<KeyValue> = Vec::new();
    for key in keys {
        if c.one_in(2) {
            let at = c.below(out.len() + 1);
            out.insert(at, key_value(key, value(c)));
        }
    }
    out
}

pub fn many<T>(c: &mut Choices, most: usize, mut one: impl FnMut(&mut Choices) -> T) -> Vec<T> {
    (0..=c.below(most)).map(|_| one(c)).collect()
}

pub fn resource(c: &mut Choices) -> Option<Resource> {
    let resource = Resource { attributes: attributes(c, &["service.name", "a"]), ..Resource::default() };
    (!c.one_in(8)).then_some(resource)
}

pub fn scope(c: &mut Choices) -> Option<InstrumentationScope> {
    let name = c.choose(&["", "lib", "other"]).to_owned();
    let scope = InstrumentationScope { name, version: c.choose(&["", "1"]).to_owned(), ..Default::default() };
    (!c.one_in(8)).then_some(scope)
}

/// A body of metrics, each made by `metric`.
pub fn metrics_body(c: &mut Choices, mut metric: impl FnMut(&mut Choices) -> Metric) -> Vec<u8> {
    let mut scope_metrics =
        |c: &mut Choices| ScopeMetrics { scope: scope(c), metrics: many(c, 4, &mut metric), ..ScopeMetrics::default() };
    let entry = |c: &mut Choices| ResourceMetrics {
        resource: resource(c),
        scope_metrics: many(c, 2, &mut scope_metrics),
        ..ResourceMetrics::default()
    };
    ExportMetricsServiceRequest { resource_metrics: many(c, 2, entry) }.encode_to_vec()
}

/// What points of a metric have in common.
#[derive(Clone, Copy)]
pub struct PointOptions {
    pub times: &'static [u64],
    pub starts: &'static [u64],
    /// Offsets of exponential buckets.
    pub offsets: &'static [i32],
    pub scales: &'static [i32],
    pub zero_thresholds: &'static [f64],
    /// Of those that are not stale.
    pub one_stale_in: usize,
}

impl Default for PointOptions {
    fn default() -> Self {
        Self {
            times: &[1000 * SECOND, 2000 * SECOND],
            starts: &[0, 500 * SECOND, 600 * SECOND],
            offsets: &[0],
            scales: &[0, 2],
            zero_thresholds: &[0.0],
            one_stale_in: 30,
        }
    }
}

fn exemplars(c: &mut Choices) -> Vec<Exemplar> {
    let value = if c.one_in(2) { exemplar::Value::AsInt(7) } else { exemplar::Value::AsDouble(2.5) };
    if c.one_in(3) {
        vec![Exemplar { value: Some(value), time_unix_nano: 5, ..Exemplar::default() }]
    } else {
        Vec::new()
    }
}

/// Points whose values have one type.
pub fn number_points(c: &mut Choices, o: PointOptions) -> Vec<NumberDataPoint> {
    let is_int = c.one_in(2);
    many(c, 5, |c| NumberDataPoint {
        attributes: attributes(c, &KEYS),
        start_time_unix_nano: c.choose(o.starts),
        time_unix_nano: c.choose(o.times),
        flags: u32::from(c.one_in(o.one_stale_in)),
        exemplars: exemplars(c),
        value: Some(if is_int {
            number_data_point::Value::AsInt(c.choose(&[0, 1, 5, -3, 1000]))
        } else {
            number_data_point::Value::AsDouble(c.choose(&[0.0, 1.5, -2.25, 1e9]))
        }),
    })
}

pub fn histogram_point(c: &mut Choices, o: PointOptions) -> HistogramDataPoint {
    let counts: Vec<u64> = (0..4).map(|_| c.choose(&[0, 1, 5, 9])).collect();
    HistogramDataPoint {
        attributes: attributes(c, &KEYS),
        start_time_unix_nano: c.choose(o.starts),
        time_unix_nano: c.choose(o.times),
        flags: u32::from(c.one_in(o.one_stale_in)),
        exemplars: exemplars(c),
        count: counts.iter().sum(),
        bucket_counts: counts,
        explicit_bounds: c.choose(&[[1.0, 2.0, 5.0], [1.0, 2.0, 8.0]]).to_vec(),
        sum: Some(c.choose(&[0.0, 12.5, 99.0])),
        min: c.one_in(2).then_some(0.25),
        max: c.one_in(2).then_some(7.5),
    }
}

pub fn exponential_point(c: &mut Choices, o: PointOptions) -> ExponentialHistogramDataPoint {
    let buckets = |c: &mut Choices| {
        // The first and the last one are not empty.
        let mut counts: Vec<u64> = (0..1 + c.below(5)).map(|_| c.choose(&[0, 1, 3])).collect();
        counts.insert(0, 2);
        counts.push(1);
        Buckets { offset: c.choose(o.offsets), bucket_counts: counts }
    };
    let (positive, negative) = (buckets(c), c.one_in(2).then(|| buckets(c)));
    let counted = positive.bucket_counts.iter().chain(negative.iter().flat_map(|it| &it.bucket_counts)).sum::<u64>();
    let zero_count = c.choose(&[0, 2]);
    ExponentialHistogramDataPoint {
        attributes: attributes(c, &KEYS),
        start_time_unix_nano: c.choose(o.starts),
        time_unix_nano: c.choose(o.times),
        flags: u32::from(c.one_in(o.one_stale_in)),
        exemplars: exemplars(c),
        count: counted + zero_count,
        zero_count,
        zero_threshold: c.choose(o.zero_thresholds),
        scale: c.choose(o.scales),
        positive: Some(positive),
        negative,
        sum: Some(c.choose(&[0.0, 12.5, 99.0])),
        min: c.one_in(2).then_some(0.25),
        max: c.one_in(2).then_some(7.5),
    }
}

pub fn summary_point(c: &mut Choices, o: PointOptions) -> SummaryDataPoint {
    SummaryDataPoint {
        attributes: attributes(c, &KEYS),
        start_time_unix_nano: c.choose(o.starts),
        time_unix_nano: c.choose(o.times),
        count: 3,
        sum: 4.5,
        quantile_values: vec![ValueAtQuantile { quantile: 0.5, value: 1.5 }],
        ..SummaryDataPoint::default()
    }
}

/// A metric of one of the kinds: 0 gauge, 1 sum, 2 histogram, 3 exponential histogram, 4 summary.
pub fn metric(c: &mut Choices, kinds: &[usize], o: PointOptions) -> Metric {
    let temporality = c.choose(&[1, 2, 2]);
    let data = match c.choose(kinds) {
        0 => Data::Gauge(Gauge { data_points: number_points(c, o) }),
        1 => Data::Sum(Sum {
            data_points: number_points(c, o),
            aggregation_temporality: temporality,
            is_monotonic: !c.one_in(4),
        }),
        2 => Data::Histogram(Histogram {
            data_points: many(c, 5, |c| histogram_point(c, o)),
            aggregation_temporality: temporality,
        }),
        3 => Data::ExponentialHistogram(ExponentialHistogram {
            data_points: many(c, 5, |c| exponential_point(c, o)),
            aggregation_temporality: temporality,
        }),
        _ => Data::Summary(Summary { data_points: many(c, 3, |c| summary_point(c, o)) }),
    };
    Metric {
        name: c.choose(&METRICS).to_owned(),
        unit: c.choose(&["s", "s", "By"]).to_owned(),
        description: c.choose(&["", "text"]).to_owned(),
        data: Some(data),
        ..Metric::default()
    }
}

/// A body of spans, each made by `span`.
pub fn traces_body(c: &mut Choices, mut span: impl FnMut(&mut Choices) -> Span) -> Vec<u8> {
    let mut scope_spans =
        |c: &mut Choices| ScopeSpans { scope: scope(c), spans: many(c, 4, &mut span), ..ScopeSpans::default() };
    let entry = |c: &mut Choices| ResourceSpans {
        resource: resource(c),
        scope_spans: many(c, 2, &mut scope_spans),
        ..ResourceSpans::default()
    };
    ExportTraceServiceRequest { resource_spans: many(c, 2, entry) }.encode_to_vec()
}

/// A body of log records, each made by `record`.
pub fn logs_body(c: &mut Choices, mut record: impl FnMut(&mut Choices) -> LogRecord) -> Vec<u8> {
    let mut scope_logs =
        |c: &mut Choices| ScopeLogs { scope: scope(c), log_records: many(c, 4, &mut record), ..ScopeLogs::default() };
    let entry = |c: &mut Choices| ResourceLogs {
        resource: resource(c),
        scope_logs: many(c, 2, &mut scope_logs),
        ..ResourceLogs::default()
    };
    ExportLogsServiceRequest { resource_logs: many(c, 2, entry) }.encode_to_vec()
}

/// A trace id, now and then none.
pub fn trace_id(c: &mut Choices) -> Vec<u8> {
    if c.one_in(10) { Vec::new() } else { (0..16).map(|_| c.below(256) as u8).collect() }
}
