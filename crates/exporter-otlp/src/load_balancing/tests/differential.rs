//! Which backend each item goes to, compared with the Go exporter: recorded answers, and by `scripts/differential` the
//! running one.

use std::path::{Path, PathBuf};

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint,
    ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use otelcore_pdata::{Rope, Signal};
use otelcore_test_support::{Choices, CorpusCase, ask_about_seeds, push_frame, read_corpus, split_frames};
use prost::Message;

use super::super::ring::Ring;
use super::super::rule::Rule;
use super::super::split::split;

const CASES: u64 = 600;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/loadbalancing.corpus.zst")
}

fn value(c: &mut Choices, depth: usize) -> Option<AnyValue> {
    let value = match c.below(if depth > 2 { 12 } else { 14 }) {
        0 => Value::IntValue(c.below(3) as i64 - 1),
        1 => Value::DoubleValue(c.below(3) as f64 / 2.0),
        2 => Value::BoolValue(c.one_in(2)),
        3 => Value::BytesValue(vec![1, 2]),
        4 => return (c.one_in(2)).then(AnyValue::default),
        12 => {
            let values = (0..c.below(3)).filter_map(|_| value(c, depth + 1)).collect();
            Value::ArrayValue(ArrayValue { values })
        }
        13 => Value::KvlistValue(KeyValueList { values: attributes(c, depth + 1) }),
        _ => Value::StringValue(c.choose(&["a", "b", "checkout", "", "über"]).to_owned()),
    };
    Some(AnyValue { value: Some(value) })
}

fn attributes(c: &mut Choices, depth: usize) -> Vec<KeyValue> {
    let keys = ["service.name", "zone", "host", "span.name", "k"];
    (0..c.below(5))
        .map(|_| KeyValue { key: c.choose(&keys).to_owned(), value: value(c, depth), ..KeyValue::default() })
        .collect()
}

fn resource(c: &mut Choices) -> Option<Resource> {
    (!c.one_in(8)).then(|| Resource { attributes: attributes(c, 0), ..Resource::default() })
}

fn scope(c: &mut Choices) -> Option<InstrumentationScope> {
    let (name, version) = (c.choose(&["lib", "other", ""]).to_owned(), c.choose(&["", "1"]).to_owned());
    let attributes = if c.one_in(2) { attributes(c, 0) } else { Vec::new() };
    (!c.one_in(4)).then(|| InstrumentationScope { name, version, attributes, ..InstrumentationScope::default() })
}

/// Numbers of items, counted up.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 += 1;
        self.0
    }

    fn next_id(&mut self) -> Vec<u8> {
        self.next().to_be_bytes().to_vec()
    }
}

fn trace_id(c: &mut Choices) -> Vec<u8> {
    vec![1 + c.below(6) as u8; 16]
}

fn traces(c: &mut Choices, n: &mut Numbers) -> Vec<u8> {
    let span = |c: &mut Choices, n: &mut Numbers| Span {
        trace_id: if c.one_in(20) { Vec::new() } else { trace_id(c) },
        span_id: n.next_id(),
        name: c.choose(&["GET /", "POST /", ""]).to_owned(),
        kind: c.below(7) as i32,
        attributes: attributes(c, 0),
        ..Span::default()
    };
    let scope_spans = |c: &mut Choices, n: &mut Numbers| ScopeSpans {
        scope: scope(c),
        spans: (0..c.below(6)).map(|_| span(c, n)).collect(),
        ..ScopeSpans::default()
    };
    let entry = |c: &mut Choices, n: &mut Numbers| ResourceSpans {
        resource: resource(c),
        scope_spans: (0..1 + c.below(3)).map(|_| scope_spans(c, n)).collect(),
        ..ResourceSpans::default()
    };
    ExportTraceServiceRequest { resource_spans: (0..1 + c.below(3)).map(|_| entry(c, n)).collect() }.encode_to_vec()
}

fn logs(c: &mut Choices, n: &mut Numbers) -> Vec<u8> {
    let record = |c: &mut Choices, n: &mut Numbers| LogRecord {
        trace_id: trace_id(c),
        span_id: n.next_id(),
        attributes: attributes(c, 0),
        ..LogRecord::default()
    };
    let scope_logs = |c: &mut Choices, n: &mut Numbers| ScopeLogs {
        scope: scope(c),
        log_records: (0..c.below(6)).map(|_| record(c, n)).collect(),
        ..ScopeLogs::default()
    };
    let entry = |c: &mut Choices, n: &mut Numbers| ResourceLogs {
        resource: resource(c),
        scope_logs: (0..1 + c.below(3)).map(|_| scope_logs(c, n)).collect(),
        ..ResourceLogs::default()
    };
    ExportLogsServiceRequest { resource_logs: (0..1 + c.below(3)).map(|_| entry(c, n)).collect() }.encode_to_vec()
}

fn data(c: &mut Choices, n: &mut Numbers) -> Data {
    let points = 1 + c.below(4);
    let temporality = c.below(3) as i32;
    let numbers = |c: &mut Choices, n: &mut Numbers| -> Vec<NumberDataPoint> {
        let point = |_| NumberDataPoint {
            attributes: attributes(c, 0),
            time_unix_nano: n.next(),
            value: Some(number_data_point::Value::AsInt(1)),
            ..NumberDataPoint::default()
        };
        (0..points).map(point).collect()
    };
    match c.below(5) {
        0 => Data::Gauge(Gauge { data_points: numbers(c, n) }),
        1 => {
            let is_monotonic = c.one_in(2);
            Data::Sum(Sum { data_points: numbers(c, n), aggregation_temporality: temporality, is_monotonic })
        }
        2 => {
            let point = |_| HistogramDataPoint {
                attributes: attributes(c, 0),
                time_unix_nano: n.next(),
                ..HistogramDataPoint::default()
            };
            let data_points = (0..points).map(point).collect();
            Data::Histogram(Histogram { data_points, aggregation_temporality: temporality })
        }
        3 => {
            let point = |_| ExponentialHistogramDataPoint {
                attributes: attributes(c, 0),
                time_unix_nano: n.next(),
                ..ExponentialHistogramDataPoint::default()
            };
            let data_points = (0..points).map(point).collect();
            Data::ExponentialHistogram(ExponentialHistogram { data_points, aggregation_temporality: temporality })
        }
        _ => {
            let point = |_| SummaryDataPoint {
                attributes: attributes(c, 0),
                time_unix_nano: n.next(),
                ..SummaryDataPoint::default()
            };
            Data::Summary(Summary { data_points: (0..points).map(point).collect() })
        }
    }
}

fn metrics(c: &mut Choices, n: &mut Numbers) -> Vec<u8> {
    let metric = |c: &mut Choices, n: &mut Numbers| Metric {
        name: c.choose(&["cpu", "mem", "net", ""]).to_owned(),
        unit: c.choose(&["", "By"]).to_owned(),
        description: "d".to_owned(),
        data: Some(data(c, n)),
        ..Metric::default()
    };
    let scope_metrics = |c: &mut Choices, n: &mut Numbers| ScopeMetrics {
        scope: scope(c),
        metrics: (0..c.below(4)).map(|_| metric(c, n)).collect(),
        ..ScopeMetrics::default()
    };
    let entry = |c: &mut Choices, n: &mut Numbers| ResourceMetrics {
        resource: resource(c),
        scope_metrics: (0..1 + c.below(3)).map(|_| scope_metrics(c, n)).collect(),
        ..ResourceMetrics::default()
    };
    let resource_metrics = (0..1 + c.below(3)).map(|_| entry(c, n)).collect();
    ExportMetricsServiceRequest { resource_metrics }.encode_to_vec()
}

fn input(seed: u64) -> Vec<u8> {
    let c = &mut Choices::new(seed, 6000);
    let signal = Signal::ALL[c.below(3)];
    let key = match signal {
        Signal::Traces => c.choose(&["", "traceID", "service", "attributes", "attributes", "metric"]),
        Signal::Metrics => c.choose(&[
            "",
            "service",
            "resource",
            "metric",
            "streamID",
            "streamID",
            "attributes",
            "attributes",
            "traceID",
        ]),
        Signal::Logs => c.choose(&["", "traceID", "service"]),
    };
    let mut head = vec![signal.name().to_owned(), key.to_owned()];
    let names = ["service.name", "zone", "host", "span.name", "span.kind", "k"];
    let count = if key == "attributes" { 1 + c.below(3) } else { 0 };
    head.push((0..count).map(|_| c.choose(&names)).collect::<Vec<_>>().join(","));
    head.extend((0..1 + c.below(6)).map(|_| c.below(16).to_string()));
    let n = &mut Numbers(0);
    let body = match signal {
        Signal::Traces => traces(c, n),
        Signal::Metrics => metrics(c, n),
        Signal::Logs => logs(c, n),
    };
    let mut input = Vec::new();
    push_frame(&mut input, head.join("\n").as_bytes());
    push_frame(&mut input, &body);
    input
}

fn times(data: Data) -> Vec<u64> {
    match data {
        Data::Gauge(gauge) => gauge.data_points.iter().map(|point| point.time_unix_nano).collect(),
        Data::Sum(sum) => sum.data_points.iter().map(|point| point.time_unix_nano).collect(),
        Data::Histogram(data) => data.data_points.iter().map(|point| point.time_unix_nano).collect(),
        Data::ExponentialHistogram(data) => data.data_points.iter().map(|point| point.time_unix_nano).collect(),
        Data::Summary(data) => data.data_points.iter().map(|point| point.time_unix_nano).collect(),
    }
}

/// The numbers of the items of a body.
fn numbers(signal: Signal, body: &[u8]) -> Vec<u64> {
    let number = |id: &[u8]| u64::from_be_bytes(id.try_into().unwrap());
    match signal {
        Signal::Traces => {
            let entries = ExportTraceServiceRequest::decode(body).unwrap().resource_spans;
            let spans = entries.into_iter().flat_map(|e| e.scope_spans).flat_map(|s| s.spans);
            spans.map(|span| number(&span.span_id)).collect()
        }
        Signal::Logs => {
            let entries = ExportLogsServiceRequest::decode(body).unwrap().resource_logs;
            let records = entries.into_iter().flat_map(|e| e.scope_logs).flat_map(|s| s.log_records);
            records.map(|record| number(&record.span_id)).collect()
        }
        Signal::Metrics => {
            let entries = ExportMetricsServiceRequest::decode(body).unwrap().resource_metrics;
            let metrics = entries.into_iter().flat_map(|e| e.scope_metrics).flat_map(|s| s.metrics);
            metrics.filter_map(|metric| metric.data).flat_map(times).collect()
        }
    }
}

/// Our answer, in the form of the oracle's.
fn answer(input: &[u8]) -> Result<String, String> {
    let frames = split_frames(input);
    let head = String::from_utf8(frames[0].to_vec()).unwrap();
    let mut lines = head.split('\n');
    let mut next = || lines.next().unwrap().to_owned();
    let (signal, key, attributes) = (next(), next(), next());
    let signal = Signal::ALL.into_iter().find(|known| known.name() == signal).unwrap();
    let attributes: Vec<String> = attributes.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    let rule = Rule::of(signal, &key, &attributes)?;
    let mut endpoints: Vec<String> =
        lines.map(|number| format!("unix-abstract:otelcore-loadbalancing-oracle-{number}")).collect();
    endpoints.sort();
    let ring = Ring::new(endpoints);
    let items = otelcore_pdata::check(signal, frames[1]).unwrap().items;
    let body = Rope::new(frames[1].to_vec().into(), items);
    let split = split(signal, &body, &rule, &ring, 0).unwrap();
    let mut placed = Vec::new();
    for (backend, piece) in &split.pieces {
        let bytes = piece.to_bytes();
        assert_eq!(otelcore_pdata::check(signal, &bytes).unwrap().items, piece.items());
        let of_piece = numbers(signal, &bytes);
        assert_eq!(of_piece.len(), piece.items() as usize);
        placed.extend(of_piece.into_iter().map(|number| format!("{number:020} {}", ring.endpoints()[*backend])));
    }
    assert_eq!(placed.len() + split.without_key as usize, items as usize);
    if placed.is_empty() && split.without_key > 0 {
        return Err("every item is refused".to_owned());
    }
    placed.sort();
    Ok(placed.join("\n"))
}

fn compare(case: &CorpusCase) {
    let (status, expected) = case.answer.split_first().unwrap();
    let expected = String::from_utf8_lossy(expected);
    let head = String::from_utf8_lossy(split_frames(&case.input)[0]).into_owned();
    match (status, answer(&case.input)) {
        (0, Ok(ours)) => assert_eq!(ours, expected, "{head}"),
        // A resource with a name and without points is enough for Go.
        (0, Err(_)) if expected.is_empty() => {}
        (0, Err(why)) => panic!("Go takes it: {why}\n{head}"),
        // There are no items to refuse.
        (_, Ok(ours)) if ours.is_empty() => {}
        (_, Ok(ours)) => panic!("Go says: {expected}\n{head}\n{ours}"),
        (_, Err(_)) => {}
    }
}

#[test]
fn recorded_items_go_to_the_backends_of_the_go_exporter() {
    let cases = read_corpus(&corpus());
    assert_eq!(cases.len() as u64, CASES);
    cases.iter().for_each(compare);
}

#[test]
#[ignore = "needs the oracle; run by scripts/differential"]
fn items_of_fixed_and_fresh_seeds_go_to_the_backends_of_the_go_exporter() {
    let cases = ask_about_seeds("loadbalancing-oracle", &corpus(), CASES, input);
    cases.into_iter().flatten().for_each(|case| compare(&case));
}
