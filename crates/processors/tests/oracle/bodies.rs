//! Telemetry whose attributes, names and kinds are those that the configurations mention.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint,
    ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint, exponential_histogram_data_point::Buckets,
    number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use otelcore_pdata::Signal;
use prost::Message;

use crate::Choices;
use crate::configs::{KEYS, TEXTS};

fn value(c: &mut Choices) -> AnyValue {
    const STRINGS: [&str; 17] = [
        "",
        "v1",
        "42",
        "-7",
        "1.5",
        "0x1p-2",
        "1_000.5",
        "1e400",
        "inf",
        "NaN",
        "+5",
        "true",
        "http://h/p",
        "https://h",
        "svc",
        "größe",
        " 1",
    ];
    const DOUBLES: [f64; 9] = [0.0, 1.5, -1.9, 1e19, -1e19, 1e21, 1e-7, 1000.0, f64::INFINITY];
    let value = match c.below(12) {
        0..=5 => Some(Value::StringValue(c.choose(&STRINGS).to_owned())),
        6 => Some(Value::BoolValue(c.one_in(2))),
        7 => Some(Value::IntValue([42, -7, 0, i64::MIN, i64::MAX][c.below(5)])),
        8 => Some(Value::DoubleValue(DOUBLES[c.below(DOUBLES.len())])),
        9 => {
            let values = [vec![], vec![integer(1), text("a")], vec![integer(1), text("a"), list(vec![boolean(true)])]];
            Some(Value::ArrayValue(ArrayValue { values: values[c.below(3)].clone() }))
        }
        10 => {
            let entry = |value: f64| key_value("k", AnyValue { value: Some(Value::DoubleValue(value)) });
            let values = [vec![], vec![entry(1.5)], vec![entry(2.5)]];
            Some(Value::KvlistValue(KeyValueList { values: values[c.below(3)].clone() }))
        }
        _ if c.one_in(2) => Some(Value::BytesValue(vec![1, 2])),
        _ => None,
    };
    AnyValue { value }
}

fn integer(v: i64) -> AnyValue {
    AnyValue { value: Some(Value::IntValue(v)) }
}

fn boolean(v: bool) -> AnyValue {
    AnyValue { value: Some(Value::BoolValue(v)) }
}

fn text(v: &str) -> AnyValue {
    AnyValue { value: Some(Value::StringValue(v.to_owned())) }
}

fn list(values: Vec<AnyValue>) -> AnyValue {
    AnyValue { value: Some(Value::ArrayValue(ArrayValue { values })) }
}

fn key_value(key: &str, value: AnyValue) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }
}

/// No key twice.
fn attributes(c: &mut Choices) -> Vec<KeyValue> {
    let mut attributes: Vec<KeyValue> = Vec::new();
    for key in KEYS {
        if c.one_in(2) {
            let at = c.below(attributes.len() + 1);
            attributes.insert(at, key_value(key, value(c)));
        }
    }
    attributes
}

fn resource(c: &mut Choices) -> Option<Resource> {
    let resource = Resource { attributes: attributes(c), dropped_attributes_count: 1, ..Resource::default() };
    (!c.one_in(8)).then_some(resource)
}

fn scope(c: &mut Choices) -> Option<InstrumentationScope> {
    let scope = InstrumentationScope {
        name: c.choose(&TEXTS).to_owned(),
        version: c.choose(&TEXTS).to_owned(),
        ..InstrumentationScope::default()
    };
    (!c.one_in(8)).then_some(scope)
}

fn many<T>(c: &mut Choices, mut one: impl FnMut(&mut Choices) -> T) -> Vec<T> {
    (0..1 + c.below(3)).map(|_| one(c)).collect()
}

pub fn body(c: &mut Choices, signal: Signal) -> Vec<u8> {
    match signal {
        Signal::Traces => {
            let scope_spans =
                |c: &mut Choices| ScopeSpans { scope: scope(c), spans: many(c, span), ..ScopeSpans::default() };
            let entry = |c: &mut Choices| ResourceSpans {
                resource: resource(c),
                scope_spans: many(c, scope_spans),
                ..ResourceSpans::default()
            };
            ExportTraceServiceRequest { resource_spans: many(c, entry) }.encode_to_vec()
        }
        Signal::Metrics => {
            let scope_metrics =
                |c: &mut Choices| ScopeMetrics { scope: scope(c), metrics: many(c, metric), ..ScopeMetrics::default() };
            let entry = |c: &mut Choices| ResourceMetrics {
                resource: resource(c),
                scope_metrics: many(c, scope_metrics),
                ..ResourceMetrics::default()
            };
            ExportMetricsServiceRequest { resource_metrics: many(c, entry) }.encode_to_vec()
        }
        Signal::Logs => {
            let scope_logs =
                |c: &mut Choices| ScopeLogs { scope: scope(c), log_records: many(c, record), ..ScopeLogs::default() };
            let entry = |c: &mut Choices| ResourceLogs {
                resource: resource(c),
                scope_logs: many(c, scope_logs),
                ..ResourceLogs::default()
            };
            ExportLogsServiceRequest { resource_logs: many(c, entry) }.encode_to_vec()
        }
    }
}

pub fn spans_named(names: &[&str]) -> Vec<u8> {
    let span = |name: &&str| Span { name: (*name).to_owned(), ..Span::default() };
    let scope_spans = vec![ScopeSpans { spans: names.iter().map(span).collect(), ..ScopeSpans::default() }];
    let entry = ResourceSpans { scope_spans, ..ResourceSpans::default() };
    ExportTraceServiceRequest { resource_spans: vec![entry] }.encode_to_vec()
}

fn span(c: &mut Choices) -> Span {
    Span {
        name: c.choose(&TEXTS).to_owned(),
        kind: c.below(7) as i32,
        attributes: attributes(c),
        events: vec![opentelemetry_proto::tonic::trace::v1::span::Event {
            attributes: vec![key_value("a", text("event"))],
            ..Default::default()
        }],
        ..Span::default()
    }
}

fn record(c: &mut Choices) -> LogRecord {
    LogRecord {
        severity_number: c.below(12) as i32,
        severity_text: c.choose(&TEXTS).to_owned(),
        body: if c.one_in(2) { Some(text(c.choose(&TEXTS))) } else { Some(value(c)) },
        attributes: attributes(c),
        ..LogRecord::default()
    }
}

fn metric(c: &mut Choices) -> Metric {
    let number = |c: &mut Choices| NumberDataPoint {
        attributes: attributes(c),
        value: Some(number_data_point::Value::AsInt(5)),
        ..NumberDataPoint::default()
    };
    let data = match c.below(5) {
        0 => Data::Gauge(Gauge { data_points: many(c, number) }),
        1 => Data::Sum(Sum { data_points: many(c, number), aggregation_temporality: 2, is_monotonic: true }),
        2 => {
            let point =
                |c: &mut Choices| HistogramDataPoint { attributes: attributes(c), ..HistogramDataPoint::default() };
            Data::Histogram(Histogram { data_points: many(c, point), aggregation_temporality: 1 })
        }
        3 => {
            let point = |c: &mut Choices| ExponentialHistogramDataPoint {
                attributes: attributes(c),
                ..ExponentialHistogramDataPoint::default()
            };
            Data::ExponentialHistogram(ExponentialHistogram { data_points: many(c, point), aggregation_temporality: 1 })
        }
        _ => {
            let point = |c: &mut Choices| SummaryDataPoint { attributes: attributes(c), ..SummaryDataPoint::default() };
            Data::Summary(Summary { data_points: many(c, point) })
        }
    };
    Metric { name: c.choose(&TEXTS).to_owned(), data: Some(data), ..Metric::default() }
}

fn sort(attributes: &mut [KeyValue]) {
    attributes.sort_by(|a, b| a.key.cmp(&b.key));
}

/// The body in one form: messages that Go always writes are there, and attributes are sorted, since Go's deletion moves
/// the last one.
pub fn normalized(signal: Signal, body: &[u8]) -> Vec<u8> {
    match signal {
        Signal::Traces => traces(body).encode_to_vec(),
        Signal::Metrics => metrics(body).encode_to_vec(),
        Signal::Logs => logs(body).encode_to_vec(),
    }
}

/// A normalized body as text.
pub fn show(signal: Signal, body: &[u8]) -> String {
    match signal {
        Signal::Traces => format!("{:#?}", traces(body)),
        Signal::Metrics => format!("{:#?}", metrics(body)),
        Signal::Logs => format!("{:#?}", logs(body)),
    }
}

fn traces(body: &[u8]) -> ExportTraceServiceRequest {
    let mut request = ExportTraceServiceRequest::decode(body).unwrap();
    for entry in &mut request.resource_spans {
        sort(&mut entry.resource.get_or_insert_default().attributes);
        for spans in &mut entry.scope_spans {
            spans.scope.get_or_insert_default();
            for span in &mut spans.spans {
                sort(&mut span.attributes);
                span.status.get_or_insert_with(Status::default);
            }
        }
    }
    request
}

fn logs(body: &[u8]) -> ExportLogsServiceRequest {
    let mut request = ExportLogsServiceRequest::decode(body).unwrap();
    for entry in &mut request.resource_logs {
        sort(&mut entry.resource.get_or_insert_default().attributes);
        for records in &mut entry.scope_logs {
            records.scope.get_or_insert_default();
            records.log_records.iter_mut().for_each(|record| sort(&mut record.attributes));
        }
    }
    request
}

fn metrics(body: &[u8]) -> ExportMetricsServiceRequest {
    let mut request = ExportMetricsServiceRequest::decode(body).unwrap();
    for entry in &mut request.resource_metrics {
        sort(&mut entry.resource.get_or_insert_default().attributes);
        for metrics in &mut entry.scope_metrics {
            metrics.scope.get_or_insert_default();
            for metric in &mut metrics.metrics {
                match metric.data.as_mut().unwrap() {
                    Data::Gauge(data) => data.data_points.iter_mut().for_each(|point| sort(&mut point.attributes)),
                    Data::Sum(data) => data.data_points.iter_mut().for_each(|point| sort(&mut point.attributes)),
                    Data::Histogram(data) => data.data_points.iter_mut().for_each(|point| sort(&mut point.attributes)),
                    Data::Summary(data) => data.data_points.iter_mut().for_each(|point| sort(&mut point.attributes)),
                    Data::ExponentialHistogram(data) => {
                        for point in &mut data.data_points {
                            sort(&mut point.attributes);
                            point.positive.get_or_insert_with(Buckets::default);
                            point.negative.get_or_insert_with(Buckets::default);
                        }
                    }
                }
            }
        }
    }
    request
}
