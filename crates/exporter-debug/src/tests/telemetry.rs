//! Telemetry for tests, with which a dump has every possible line.

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::{
    logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest,
};
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, EntityRef, InstrumentationScope, KeyValue, KeyValueList, any_value::Value,
};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint, Metric,
    NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint, exemplar,
    exponential_histogram_data_point::Buckets, metric::Data, number_data_point, summary_data_point::ValueAtQuantile,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{
    ResourceSpans, ScopeSpans, Span, Status,
    span::{Event, Link},
};
use otelcore_pdata::{Rope, Signal};
use prost::Message;

const START: u64 = 1_544_712_660_000_000_000;
const TIME: u64 = 1_581_452_773_000_000_123;
const TRACE_ID: [u8; 16] = [0x5b, 0x8e, 0xff, 0xf7, 0x98, 3, 0x81, 3, 0xd2, 0x69, 0xb6, 0x33, 0x81, 0x3f, 0xc6, 0x0c];
const SPAN_ID: [u8; 8] = [0xee, 0xe1, 0x9b, 0x7e, 0xc3, 0xc1, 0xb1, 0x74];

fn checked_rope(signal: Signal, message: &impl Message) -> Rope {
    let bytes = Bytes::from(message.encode_to_vec());
    let summary = otelcore_pdata::check(signal, &bytes).expect("test telemetry is well formed");
    Rope::new(bytes, summary.items)
}

fn any_value(value: Value) -> AnyValue {
    AnyValue { value: Some(value) }
}

fn string_value(v: &str) -> Value {
    Value::StringValue(v.to_owned())
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(any_value(value)), ..KeyValue::default() }
}

fn string_attributes(pairs: &[(&str, &str)]) -> Vec<KeyValue> {
    pairs.iter().map(|(k, v)| attribute(k, string_value(v))).collect()
}

/// An attribute of each type.
fn attributes_of_every_type() -> Vec<KeyValue> {
    let inner = vec![attribute("b", Value::DoubleValue(1.0)), attribute("a", string_value("<&>"))];
    let list = vec![any_value(Value::IntValue(1)), AnyValue { value: None }, any_value(Value::BoolValue(false))];
    vec![
        attribute("string", string_value("x")),
        attribute("bool", Value::BoolValue(true)),
        attribute("int", Value::IntValue(-7)),
        attribute("double", Value::DoubleValue(1e21)),
        attribute("infinite", Value::DoubleValue(f64::NEG_INFINITY)),
        attribute("bytes", Value::BytesValue(vec![0, 255, 7])),
        attribute("map", Value::KvlistValue(KeyValueList { values: inner })),
        attribute("slice", Value::ArrayValue(ArrayValue { values: list })),
        KeyValue { key: "empty".to_owned(), value: None, ..KeyValue::default() },
    ]
}

fn resource() -> Resource {
    let entity = EntityRef {
        schema_url: "https://entity".to_owned(),
        r#type: "service".to_owned(),
        id_keys: vec!["service.name".to_owned()],
        description_keys: vec!["service.version".to_owned()],
    };
    let attributes = string_attributes(&[("service.name", "shop"), ("service.version", "2")]);
    Resource { attributes, entity_refs: vec![entity], ..Resource::default() }
}

fn scope() -> InstrumentationScope {
    let attributes = string_attributes(&[("k", "v")]);
    InstrumentationScope { name: "lib".to_owned(), version: "1.2".to_owned(), attributes, ..Default::default() }
}

/// A full span, and an empty one in a second scope.
pub(super) fn traces() -> Rope {
    let event = Event {
        time_unix_nano: TIME,
        name: "e".to_owned(),
        attributes: string_attributes(&[("k", "v")]),
        dropped_attributes_count: 2,
    };
    let link = Link {
        trace_id: TRACE_ID.to_vec(),
        span_id: SPAN_ID.to_vec(),
        trace_state: "a=b".to_owned(),
        attributes: string_attributes(&[("k", "v")]),
        dropped_attributes_count: 4,
        flags: 1,
    };
    let span = Span {
        trace_id: TRACE_ID.to_vec(),
        span_id: SPAN_ID.to_vec(),
        parent_span_id: vec![0; 8],
        trace_state: "x=1".to_owned(),
        name: "GET /".to_owned(),
        kind: 2,
        start_time_unix_nano: START,
        end_time_unix_nano: START + 1_500_000_000,
        attributes: attributes_of_every_type(),
        dropped_attributes_count: 1,
        events: vec![event, Event::default()],
        dropped_events_count: 2,
        links: vec![link, Link::default()],
        dropped_links_count: 3,
        status: Some(Status { message: "m".to_owned(), code: 2 }),
        ..Span::default()
    };
    let with_unknown_numbers =
        Span { kind: 9, status: Some(Status { code: 9, ..Status::default() }), ..Span::default() };
    let full_scope = ScopeSpans { scope: Some(scope()), spans: vec![span], schema_url: "https://scope".to_owned() };
    let scope_without_name = ScopeSpans { spans: vec![Span::default(), with_unknown_numbers], ..ScopeSpans::default() };
    let first = ResourceSpans {
        resource: Some(resource()),
        scope_spans: vec![full_scope, scope_without_name],
        schema_url: "https://resource".to_owned(),
    };
    let request = ExportTraceServiceRequest { resource_spans: vec![first, ResourceSpans::default()] };
    checked_rope(Signal::Traces, &request)
}

/// A full log record, and an empty one.
pub(super) fn logs() -> Rope {
    let record = LogRecord {
        time_unix_nano: TIME,
        observed_time_unix_nano: START,
        severity_number: 9,
        severity_text: "INFO".to_owned(),
        body: Some(any_value(string_value("it works"))),
        attributes: string_attributes(&[("a", "1"), ("b", "2")]),
        flags: 1,
        trace_id: TRACE_ID.to_vec(),
        span_id: SPAN_ID.to_vec(),
        event_name: "started".to_owned(),
        ..LogRecord::default()
    };
    let with_unknown_severity = LogRecord { severity_number: 99, ..LogRecord::default() };
    let logs =
        ScopeLogs { scope: Some(scope()), log_records: vec![record, with_unknown_severity], ..ScopeLogs::default() };
    let entry = ResourceLogs { resource: Some(resource()), scope_logs: vec![logs], ..ResourceLogs::default() };
    checked_rope(Signal::Logs, &ExportLogsServiceRequest { resource_logs: vec![entry] })
}

fn number_point(value: Option<number_data_point::Value>) -> NumberDataPoint {
    let exemplar = Exemplar {
        filtered_attributes: string_attributes(&[("f", "g")]),
        time_unix_nano: TIME,
        span_id: SPAN_ID.to_vec(),
        trace_id: TRACE_ID.to_vec(),
        value: Some(exemplar::Value::AsDouble(0.5)),
    };
    NumberDataPoint {
        attributes: string_attributes(&[("k", "v"), ("k2", "v2")]),
        start_time_unix_nano: START,
        time_unix_nano: TIME,
        exemplars: vec![exemplar, Exemplar { value: Some(exemplar::Value::AsInt(3)), ..Exemplar::default() }],
        value,
        ..NumberDataPoint::default()
    }
}

fn metric(name: &str, data: Option<Data>) -> Metric {
    Metric { name: name.to_owned(), data, ..Metric::default() }
}

/// A metric of each kind.
pub(super) fn metrics() -> Rope {
    let double = NumberDataPoint { value: Some(number_data_point::Value::AsDouble(2.5e6)), ..Default::default() };
    let gauge = Gauge { data_points: vec![number_point(Some(number_data_point::Value::AsInt(5))), double] };
    let sum = Sum { data_points: vec![NumberDataPoint::default()], aggregation_temporality: 2, is_monotonic: true };
    let histogram = HistogramDataPoint {
        time_unix_nano: TIME,
        count: 5,
        sum: Some(1.5),
        min: Some(0.0),
        max: Some(3.0),
        explicit_bounds: vec![0.0, 5.0],
        bucket_counts: vec![0, 4, 1],
        ..HistogramDataPoint::default()
    };
    let empty_point = HistogramDataPoint::default();
    let exponential = ExponentialHistogramDataPoint {
        count: 7,
        sum: Some(1e-7),
        zero_count: 1,
        negative: Some(Buckets { offset: 0, bucket_counts: vec![1, 3] }),
        positive: Some(Buckets { offset: 1, bucket_counts: vec![2] }),
        ..ExponentialHistogramDataPoint::default()
    };
    let summary = SummaryDataPoint {
        count: 1,
        sum: 15.0,
        quantile_values: vec![ValueAtQuantile { quantile: 0.5, value: 3.0 }],
        ..SummaryDataPoint::default()
    };
    let described = Metric {
        description: "what it is".to_owned(),
        unit: "1".to_owned(),
        metadata: string_attributes(&[("source", "test")]),
        ..metric("gauge", Some(Data::Gauge(gauge)))
    };
    let histogram = Histogram { data_points: vec![histogram, empty_point], aggregation_temporality: 1 };
    let exponential = ExponentialHistogram { data_points: vec![exponential], aggregation_temporality: 0 };
    let metrics = vec![
        described,
        metric("sum", Some(Data::Sum(sum))),
        metric("hist", Some(Data::Histogram(histogram))),
        metric("exphist", Some(Data::ExponentialHistogram(exponential))),
        metric("summary", Some(Data::Summary(Summary { data_points: vec![summary] }))),
        metric("nothing", None),
    ];
    let group = ScopeMetrics { metrics, ..ScopeMetrics::default() };
    let entry = ResourceMetrics { scope_metrics: vec![group], ..ResourceMetrics::default() };
    checked_rope(Signal::Metrics, &ExportMetricsServiceRequest { resource_metrics: vec![entry] })
}

/// One log record with this body.
pub(super) fn log_with_body(body: &[u8]) -> Rope {
    let record = LogRecord { body: Some(any_value(Value::StringValue("????".to_owned()))), ..LogRecord::default() };
    let entry = ResourceLogs {
        scope_logs: vec![ScopeLogs { log_records: vec![record], ..ScopeLogs::default() }],
        ..ResourceLogs::default()
    };
    let mut bytes = ExportLogsServiceRequest { resource_logs: vec![entry] }.encode_to_vec();
    // A Rust string is UTF-8; a string in received protobuf bytes need not be.
    let at = bytes.windows(4).position(|w| w == b"????").expect("the body stands there");
    bytes[at..at + 4].copy_from_slice(body);
    Rope::new(bytes.into(), 1)
}

/// `n` empty spans.
pub(crate) fn many_spans(n: usize) -> Rope {
    let spans = vec![Span::default(); n];
    let entry = ResourceSpans { scope_spans: vec![ScopeSpans { spans, ..Default::default() }], ..Default::default() };
    checked_rope(Signal::Traces, &ExportTraceServiceRequest { resource_spans: vec![entry] })
}
