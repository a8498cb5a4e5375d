//! Telemetry with the attributes, names and numbers that the statements mention.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::summary_data_point::ValueAtQuantile;
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint, Metric,
    NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint, exemplar, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use otelcore_pdata::Signal;
use prost::Message;

use crate::Choices;

/// Keys of attributes.
pub const KEYS: [&str; 6] = ["a", "b", "http.method", "list", "map", "service.name"];

/// Names and other texts.
pub const TEXTS: [&str; 8] = ["", "a", "b", "GET /a", "größe", "metric.name", "42", "1.5"];

fn key_value(key: &str, value: AnyValue) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }
}

fn scalar(c: &mut Choices) -> AnyValue {
    const DOUBLES: [f64; 6] = [0.0, 1.5, -1.5, 1e19, 1e-7, 1000.0];
    let value = match c.below(10) {
        0..=4 => Value::StringValue(c.choose(&TEXTS).to_owned()),
        5 => Value::BoolValue(c.one_in(2)),
        6 | 7 => Value::IntValue([42, -7, 0, 1, i64::MAX][c.below(5)]),
        8 => Value::DoubleValue(DOUBLES[c.below(DOUBLES.len())]),
        _ if c.one_in(3) => return AnyValue::default(),
        _ => Value::BytesValue(vec![1, 2]),
    };
    AnyValue { value: Some(value) }
}

fn list(c: &mut Choices) -> AnyValue {
    let values = (0..c.below(4)).map(|_| scalar(c)).collect();
    AnyValue { value: Some(Value::ArrayValue(ArrayValue { values })) }
}

fn map(c: &mut Choices) -> AnyValue {
    let mut values = Vec::new();
    for key in ["a", "b", "inner"] {
        if c.one_in(2) {
            let value = match (key, c.one_in(2)) {
                ("inner", true) => AnyValue {
                    value: Some(Value::KvlistValue(KeyValueList { values: vec![key_value("c", scalar(c))] })),
                },
                ("inner", false) => list(c),
                _ => scalar(c),
            };
            values.push(key_value(key, value));
        }
    }
    AnyValue { value: Some(Value::KvlistValue(KeyValueList { values })) }
}

fn value(c: &mut Choices, key: &str) -> AnyValue {
    match (key, c.one_in(6)) {
        ("list", false) => list(c),
        ("map", false) => map(c),
        _ => scalar(c),
    }
}

/// No key twice.
fn attributes(c: &mut Choices) -> Vec<KeyValue> {
    let keys = KEYS.iter().filter(|_| c.one_in(2)).copied().collect::<Vec<_>>();
    keys.into_iter().map(|key| key_value(key, value(c, key))).collect()
}

fn number(c: &mut Choices) -> u32 {
    [0, 0, 1, 7][c.below(4)]
}

fn time(c: &mut Choices) -> u64 {
    [0, 1, 1_700_000_000_123_456_789, 1_000_000_000][c.below(4)]
}

fn string(c: &mut Choices) -> String {
    c.choose(&TEXTS).to_owned()
}

fn resource(c: &mut Choices) -> Option<Resource> {
    let resource = Resource { attributes: attributes(c), dropped_attributes_count: number(c), ..Resource::default() };
    (!c.one_in(8)).then_some(resource)
}

fn scope(c: &mut Choices) -> Option<InstrumentationScope> {
    let scope = InstrumentationScope {
        name: string(c),
        version: string(c),
        attributes: attributes(c),
        dropped_attributes_count: number(c),
    };
    (!c.one_in(8)).then_some(scope)
}

fn some<T>(c: &mut Choices, mut one: impl FnMut(&mut Choices) -> T) -> Vec<T> {
    (0..1 + c.below(2)).map(|_| one(c)).collect()
}

fn any<T>(c: &mut Choices, mut one: impl FnMut(&mut Choices) -> T) -> Vec<T> {
    (0..c.below(3)).map(|_| one(c)).collect()
}

fn url(c: &mut Choices) -> String {
    if c.one_in(3) { "url".to_owned() } else { String::new() }
}

pub fn body(c: &mut Choices, signal: Signal) -> Vec<u8> {
    match signal {
        Signal::Traces => {
            let scopes = |c: &mut Choices| ScopeSpans { scope: scope(c), schema_url: url(c), spans: some(c, span) };
            let entry = |c: &mut Choices| ResourceSpans {
                resource: resource(c),
                schema_url: url(c),
                scope_spans: some(c, scopes),
            };
            ExportTraceServiceRequest { resource_spans: some(c, entry) }.encode_to_vec()
        }
        Signal::Metrics => {
            let scopes =
                |c: &mut Choices| ScopeMetrics { scope: scope(c), schema_url: url(c), metrics: some(c, metric) };
            let entry = |c: &mut Choices| ResourceMetrics {
                resource: resource(c),
                schema_url: url(c),
                scope_metrics: some(c, scopes),
            };
            ExportMetricsServiceRequest { resource_metrics: some(c, entry) }.encode_to_vec()
        }
        Signal::Logs => {
            let scopes =
                |c: &mut Choices| ScopeLogs { scope: scope(c), schema_url: url(c), log_records: some(c, record) };
            let entry = |c: &mut Choices| ResourceLogs {
                resource: resource(c),
                schema_url: url(c),
                scope_logs: some(c, scopes),
            };
            ExportLogsServiceRequest { resource_logs: some(c, entry) }.encode_to_vec()
        }
    }
}

fn id(c: &mut Choices, len: usize) -> Vec<u8> {
    match c.below(3) {
        0 => Vec::new(),
        1 => (1..=len).map(|byte| byte as u8).collect(),
        _ => vec![0xab; len],
    }
}

fn span(c: &mut Choices) -> Span {
    const STATES: [&str; 5] = ["", "a=1", "a=1,b=2", "b=2, c@d=3", "bad"];
    let event = |c: &mut Choices| Event {
        time_unix_nano: time(c),
        name: string(c),
        attributes: attributes(c),
        dropped_attributes_count: number(c),
    };
    let link = |c: &mut Choices| Link { trace_id: id(c, 16), span_id: id(c, 8), ..Link::default() };
    let status = Status { message: string(c), code: c.below(3) as i32 };
    Span {
        trace_id: id(c, 16),
        span_id: id(c, 8),
        trace_state: c.choose(&STATES).to_owned(),
        parent_span_id: id(c, 8),
        flags: number(c),
        name: string(c),
        kind: c.below(7) as i32,
        start_time_unix_nano: time(c),
        end_time_unix_nano: time(c),
        attributes: attributes(c),
        dropped_attributes_count: number(c),
        events: any(c, event),
        dropped_events_count: number(c),
        links: any(c, link),
        dropped_links_count: number(c),
        status: (!c.one_in(4)).then_some(status),
    }
}

fn record(c: &mut Choices) -> LogRecord {
    let body = match c.below(4) {
        0 => map(c),
        1 => list(c),
        _ => scalar(c),
    };
    LogRecord {
        time_unix_nano: time(c),
        observed_time_unix_nano: time(c),
        severity_number: c.below(25) as i32,
        severity_text: string(c),
        body: (!c.one_in(6)).then_some(body),
        attributes: attributes(c),
        dropped_attributes_count: number(c),
        flags: number(c),
        trace_id: id(c, 16),
        span_id: id(c, 8),
        event_name: string(c),
    }
}

fn exemplar(c: &mut Choices) -> Exemplar {
    Exemplar { time_unix_nano: time(c), value: Some(exemplar::Value::AsInt(3)), ..Exemplar::default() }
}

fn number_point(c: &mut Choices) -> NumberDataPoint {
    let value = match c.below(8) {
        0 => None,
        1..=4 => Some(number_data_point::Value::AsInt([5, -3, 0, 7][c.below(4)])),
        _ => Some(number_data_point::Value::AsDouble([0.5, -1.5, 2.0, 100.25][c.below(4)])),
    };
    NumberDataPoint {
        attributes: attributes(c),
        start_time_unix_nano: time(c),
        time_unix_nano: time(c),
        exemplars: any(c, exemplar),
        flags: number(c),
        value,
    }
}

fn optional(c: &mut Choices, v: f64) -> Option<f64> {
    (!c.one_in(3)).then_some(v)
}

fn histogram_point(c: &mut Choices) -> HistogramDataPoint {
    let (bucket_counts, explicit_bounds) = match c.below(4) {
        0 => (vec![], vec![]),
        1 => (vec![4], vec![]),
        2 => (vec![1, 2, 0, 3], vec![-1.0, 1.0, 2.5]),
        _ => (vec![1, 2, 1], vec![1.0, 2.0]),
    };
    HistogramDataPoint {
        attributes: attributes(c),
        start_time_unix_nano: time(c),
        time_unix_nano: time(c),
        count: bucket_counts.iter().sum(),
        sum: optional(c, 7.5),
        bucket_counts,
        explicit_bounds,
        exemplars: any(c, exemplar),
        flags: number(c),
        min: optional(c, 0.25),
        max: optional(c, 4.0),
    }
}

fn exponential_point(c: &mut Choices) -> ExponentialHistogramDataPoint {
    let buckets = |c: &mut Choices| Buckets {
        offset: [0, 0, 2, -3][c.below(4)],
        bucket_counts: [vec![], vec![1, 2], vec![3, 0, 1]][c.below(3)].clone(),
    };
    let (positive, negative) = (buckets(c), buckets(c));
    let zero_count = u64::from(number(c));
    ExponentialHistogramDataPoint {
        attributes: attributes(c),
        start_time_unix_nano: time(c),
        time_unix_nano: time(c),
        count: zero_count + positive.bucket_counts.iter().chain(&negative.bucket_counts).sum::<u64>(),
        sum: optional(c, 7.5),
        scale: [0, 1, -1, 2][c.below(4)],
        zero_count,
        positive: Some(positive),
        negative: Some(negative),
        flags: number(c),
        exemplars: any(c, exemplar),
        min: optional(c, 0.25),
        max: optional(c, 4.0),
        zero_threshold: 0.0,
    }
}

fn summary_point(c: &mut Choices) -> SummaryDataPoint {
    let quantile = |c: &mut Choices| ValueAtQuantile { quantile: [0.5, 0.99][c.below(2)], value: 2.5 };
    SummaryDataPoint {
        attributes: attributes(c),
        start_time_unix_nano: time(c),
        time_unix_nano: time(c),
        count: u64::from(number(c)),
        sum: [0.0, 2.5][c.below(2)],
        quantile_values: any(c, quantile),
        flags: number(c),
    }
}

fn metric(c: &mut Choices) -> Metric {
    let aggregation_temporality = c.below(3) as i32;
    let data = match c.below(11) {
        0 | 1 => Some(Data::Gauge(Gauge { data_points: any(c, number_point) })),
        2 | 3 => {
            let is_monotonic = c.one_in(2);
            Some(Data::Sum(Sum { data_points: any(c, number_point), aggregation_temporality, is_monotonic }))
        }
        4 | 5 => Some(Data::Histogram(Histogram { data_points: any(c, histogram_point), aggregation_temporality })),
        6 | 7 => Some(Data::ExponentialHistogram(ExponentialHistogram {
            data_points: any(c, exponential_point),
            aggregation_temporality,
        })),
        8 | 9 => Some(Data::Summary(Summary { data_points: any(c, summary_point) })),
        _ => None,
    };
    Metric { name: string(c), description: string(c), unit: string(c), metadata: attributes(c), data }
}
