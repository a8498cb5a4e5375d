//! Metrics compared with those of the Go connector: recorded answers in the first tier, the running Go code by
//! `scripts/differential`.
#![allow(clippy::panic, clippy::unwrap_used, missing_docs, reason = "a test")]

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{Exemplar, Metric, exponential_histogram_data_point::Buckets};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::Event;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use otelcore_connector_span_metrics::SpanMetricsFactory;
use otelcore_pdata::{Rope, Signal};
use otelcore_pipeline::{Connector, Outcome, WallTime};
use otelcore_test_support::{Choices, CorpusCase, ask_about_seeds, push_frame, read_corpus, split_frames};
use otelcore_testkit::{ConnectorTest, TestContext, connector, payload};
use prost::Message;

const CASES: u64 = 400;
const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/span_metrics.corpus.zst");
const START: u64 = 1_700_000_000_000_000_000;
/// The interval of exports of every case.
const INTERVAL: Duration = Duration::from_secs(10);

const LISTS: [&str; 9] = [
    "[]",
    "[]",
    "[{name: a}]",
    "[{name: a, default: x}, {name: b}]",
    "[{name: b, default: ''}, {name: db.name}]",
    "[{glob: 'db.*'}]",
    "[{glob: 'db.**'}, {name: a, default: none}]",
    "[{glob: '?b.name'}, {glob: 'k8s.*.name'}]",
    "[{name: service.version}]",
];

fn config(c: &mut Choices) -> String {
    let mut yaml = "metrics_flush_interval: 10s\n".to_owned();
    let mut line = |text: String| writeln!(yaml, "{text}").unwrap();
    line(format!("dimensions: {}", c.choose(&LISTS)));
    line(format!("calls_dimensions: {}", c.choose(&LISTS)));
    let mut excluded = "collector.instance.id".to_owned();
    for name in ["service.name", "span.name", "span.kind", "status.code"] {
        if c.below(6) == 0 {
            excluded = format!("{excluded}, {name}");
        }
    }
    line(format!("exclude_dimensions: [{excluded}]"));
    let unit = c.choose(&["", "unit: s, ", "unit: ms, ", "unit: S, "]);
    let kind = c.choose(&[
        "",
        "explicit: , ",
        "explicit: {}, ",
        "explicit: {buckets: [1ms, 10ms, 100ms]}, ",
        "explicit: {buckets: [100us, 1s]}, ",
        "exponential: , ",
        "exponential: {}, ",
        "exponential: {max_size: 2}, ",
        "exponential: {max_size: 10}, ",
        "disable: true, ",
    ]);
    line(format!("histogram: {{{unit}{kind}dimensions: {}}}", c.choose(&LISTS)));
    if c.below(3) == 0 {
        line(format!("exemplars: {{enabled: true, max_per_data_point: {}}}", c.below(4)));
    }
    if c.below(3) == 0 {
        let list = c.choose(&["[{name: a}]", "[{name: e, default: d}, {name: b}]", "[{glob: 'db.*'}]", "[{name: e}]"]);
        line(format!("events: {{enabled: true, dimensions: {list}}}"));
    }
    if c.below(4) == 0 {
        line(format!("aggregation_cardinality_limit: {}", 1 + c.below(4)));
    }
    if c.below(4) == 0 {
        line(format!("series_expiration: {}s", 5 + c.below(20)));
    }
    if c.below(4) == 0 {
        line(format!("metrics_expiration: {}s", 5 + c.below(20)));
    }
    if c.below(4) == 0 {
        line(format!(
            "resource_metrics_key_attributes: {}",
            c.choose(&["[service.name]", "[a, service.name]", "[none]"])
        ));
    }
    if c.below(3) == 0 {
        line("aggregation_temporality: AGGREGATION_TEMPORALITY_DELTA".to_owned());
    }
    if c.below(4) == 0 {
        line(format!("namespace: '{}'", c.choose(&["", "ns", "a.b"])));
    }
    if c.below(4) == 0 {
        line("enable_metrics_sampling_method: true".to_owned());
    }
    // Scopes of one case have one name: Go counts spans of different ones together.
    if c.below(4) == 0 {
        line("include_instrumentation_scope: [lib]".to_owned());
    }
    yaml
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), key_strindex: 0 }
}

/// In Go the key of a series has what a glob matches in the order of its places, so that equal dimensions are several
/// series; `other` is a key that is in one place only.
fn attributes(c: &mut Choices, other: &str) -> Vec<KeyValue> {
    let mut all = Vec::new();
    for key in ["a", "b", "e", other, "k8s.pod.name", "service.version"] {
        if c.below(3) != 0 {
            continue;
        }
        let text = c.choose(&["x", "y", "", "1", "true"]).to_owned();
        let value = match c.below(8) {
            0 => Value::IntValue(1),
            1 => Value::BoolValue(true),
            2 => Value::DoubleValue(1.5),
            3 => Value::ArrayValue(ArrayValue { values: vec![AnyValue { value: Some(Value::IntValue(2)) }] }),
            _ => Value::StringValue(text),
        };
        all.push(attribute(key, value));
    }
    all
}

fn span(c: &mut Choices) -> Span {
    let nanos = [0, 1, 1000, 999_999, 1_000_000, 2_000_000, 3_500_000, 17_000_000, 999_000_000, 5_000_000_000];
    let event =
        |c: &mut Choices| Event { attributes: attributes(c, "db.x.y"), name: "e".to_owned(), ..Event::default() };
    let duration = nanos[c.below(10)];
    Span {
        trace_id: vec![c.below(3) as u8; 16],
        span_id: vec![c.below(3) as u8; 8],
        trace_state: c.choose(&["", "", "", "ot=th:8", "ot=th:c", "a=1,ot=th:0", "ot=rv:1;th:8", "x"]).to_owned(),
        name: c.choose(&["GET", "POST"]).to_owned(),
        kind: [0, 1, 2, 3, 2, 2, 9][c.below(7)],
        start_time_unix_nano: START,
        end_time_unix_nano: if c.below(8) == 0 { START - 5 } else { START + duration },
        attributes: attributes(c, "db.name"),
        events: (0..c.below(3)).map(|_| event(c)).collect(),
        status: (c.below(3) > 0).then(|| Status { code: [0, 1, 2, 2, 7][c.below(5)], message: String::new() }),
        ..Span::default()
    }
}

fn body(c: &mut Choices) -> Vec<u8> {
    let resource = |c: &mut Choices| {
        let mut all = attributes(c, "db.x.y");
        match c.below(8) {
            0 => {}
            1 => all.push(attribute("service.name", Value::IntValue(3))),
            n => all.push(attribute("service.name", Value::StringValue(["s", "t"][n % 2].to_owned()))),
        }
        Resource { attributes: all, ..Resource::default() }
    };
    let scope = |c: &mut Choices| ScopeSpans {
        scope: Some(InstrumentationScope {
            name: "lib".to_owned(),
            version: "1".to_owned(),
            ..InstrumentationScope::default()
        }),
        spans: (0..c.below(5)).map(|_| span(c)).collect(),
        ..ScopeSpans::default()
    };
    let entry = |c: &mut Choices| ResourceSpans {
        resource: Some(resource(c)),
        scope_spans: (0..1 + c.below(2)).map(|_| scope(c)).collect(),
        schema_url: String::new(),
    };
    ExportTraceServiceRequest { resource_spans: (0..1 + c.below(2)).map(|_| entry(c)).collect() }.encode_to_vec()
}

/// The type, the section, bodies and times.
fn input(seed: u64) -> Vec<u8> {
    let mut c = Choices::new(seed, 8000);
    let mut input = Vec::new();
    push_frame(&mut input, b"span_metrics");
    push_frame(&mut input, config(&mut c).as_bytes());
    for _ in 0..2 + c.below(5) {
        if c.below(2) == 0 {
            let nanos = [3, 7, 10, 10, 25][c.below(5)] * 1_000_000_000_u64;
            push_frame(&mut input, &[b"a", nanos.to_le_bytes().as_slice()].concat());
        } else {
            push_frame(&mut input, &[b"t", body(&mut c).as_slice()].concat());
        }
    }
    push_frame(&mut input, &[b"a", 20_000_000_000_u64.to_le_bytes().as_slice()].concat());
    input
}

// ---- answers in one form --------------------------------------------------------------------------------------------

fn value_text(value: Option<&AnyValue>) -> String {
    match value.and_then(|value| value.value.as_ref()) {
        Some(value) => format!("{value:?}"),
        None => "none".to_owned(),
    }
}

fn attributes_text(attributes: &[KeyValue]) -> String {
    let mut all: Vec<_> = attributes.iter().map(|kv| format!("{}={}", kv.key, value_text(kv.value.as_ref()))).collect();
    all.sort();
    all.join(" ")
}

fn exemplars_text(exemplars: &[Exemplar]) -> String {
    let one = |e: &Exemplar| {
        // Go writes an id of zeros where there is none.
        let span_id = e.span_id.iter().any(|b| *b != 0).then_some(&e.span_id);
        format!("{:?}/{span_id:?}/{:?}@{}", e.trace_id, e.value, e.time_unix_nano)
    };
    exemplars.iter().map(one).collect::<Vec<_>>().join(" ")
}

fn buckets_text(buckets: Option<&Buckets>) -> String {
    let Some(buckets) = buckets.filter(|buckets| !buckets.bucket_counts.is_empty()) else { return String::new() };
    format!("{}:{:?}", buckets.offset, buckets.bucket_counts)
}

/// The points of a metric, each in a line. `starts`: with deltas the start of a point is left out if it is false.
fn metric_lines(metric: &Metric, resource: &str, lines: &mut Vec<String>) {
    let head = format!("{resource} | {} {} {}", metric.name, metric.unit, metric.description);
    let mut add = |kind: &str, start: u64, time: u64, attributes: &[KeyValue], rest: String| {
        lines.push(format!("{head} {kind} {start}..{time} {} {rest}", attributes_text(attributes)));
    };
    match metric.data.as_ref().unwrap() {
        Data::Sum(data) => data.data_points.iter().for_each(|p| {
            let kind = format!("sum {} {}", data.aggregation_temporality, data.is_monotonic);
            let rest = format!("{:?} [{}]", p.value, exemplars_text(&p.exemplars));
            add(&kind, p.start_time_unix_nano, p.time_unix_nano, &p.attributes, rest);
        }),
        Data::Histogram(data) => data.data_points.iter().for_each(|p| {
            let rest = format!(
                "{} {:?} {:?} {:?} {:?} {:?} [{}]",
                p.count,
                p.sum,
                p.bucket_counts,
                p.explicit_bounds,
                p.min,
                p.max,
                exemplars_text(&p.exemplars)
            );
            let kind = format!("histogram {}", data.aggregation_temporality);
            add(&kind, p.start_time_unix_nano, p.time_unix_nano, &p.attributes, rest);
        }),
        Data::ExponentialHistogram(data) => data.data_points.iter().for_each(|p| {
            let rest = format!(
                "{} {:?} {} {} {} {} {:?} {:?} [{}]",
                p.count,
                p.sum,
                p.scale,
                p.zero_count,
                buckets_text(p.positive.as_ref()),
                buckets_text(p.negative.as_ref()),
                p.min,
                p.max,
                exemplars_text(&p.exemplars)
            );
            let kind = format!("exponential {}", data.aggregation_temporality);
            add(&kind, p.start_time_unix_nano, p.time_unix_nano, &p.attributes, rest);
        }),
        other => panic!("{other:?}"),
    }
}

/// The points of the payloads of one export, sorted.
fn lines<T: AsRef<[u8]>>(payloads: &[T]) -> Vec<String> {
    let mut lines = Vec::new();
    for body in payloads {
        for entry in ExportMetricsServiceRequest::decode(body.as_ref()).unwrap().resource_metrics {
            let resource = attributes_text(&entry.resource.unwrap_or_default().attributes);
            for scope in entry.scope_metrics {
                let scope_name = scope.scope.unwrap_or_default().name;
                let head = format!("{resource} | {scope_name}");
                scope.metrics.iter().for_each(|metric| metric_lines(metric, &head, &mut lines));
            }
        }
    }
    lines.sort();
    lines
}

/// The exports of a case, each as the lines of its points.
fn exports(input: &[u8]) -> Result<Vec<Vec<String>>, String> {
    let frames = split_frames(input);
    let yaml = String::from_utf8(frames[1].to_vec()).unwrap();
    let component = TestContext::new().create(&SpanMetricsFactory, "span_metrics", &yaml)?;
    let mut test: ConnectorTest<dyn Connector> = ConnectorTest::new(connector(component));
    test.world.set_wall_time(WallTime(START));
    test.start().unwrap();
    let mut exports = Vec::new();
    let (mut settled, mut passed) = (0, Duration::ZERO);
    for frame in frames.iter().skip(2) {
        let (step, body) = frame.split_first().unwrap();
        if *step == b't' {
            let items = otelcore_pdata::check(Signal::Traces, body).unwrap().items;
            test.process(payload(Signal::Traces, Rope::new(body.to_vec().into(), items)));
            continue;
        }
        let mut left = Duration::from_nanos(u64::from_le_bytes(body.try_into().unwrap()));
        while !left.is_zero() {
            let until = INTERVAL - Duration::from_nanos((passed.as_nanos() % INTERVAL.as_nanos()) as u64);
            let advance = until.min(left);
            test.run_for(advance);
            (passed, left) = (passed + advance, left - advance);
            if advance < until {
                break;
            }
            let mut payloads = Vec::new();
            for (_, payload, _) in test.take_passed_on() {
                payloads.push(payload.body.to_bytes().to_vec());
                test.settle(settled, Outcome::Delivered);
                settled += 1;
            }
            exports.push(lines(&payloads));
        }
    }
    Ok(exports)
}

/// With deltas Go takes the time of the last export by the dimensions alone, so that points of two resources with the same
/// dimensions have wrong starts. A start that is the time of its own point is that.
fn without_differences(go: &str, ours: &str, expires: bool) -> (String, String) {
    let is_delta = go.contains(" sum 1 ") || go.contains("histogram 1 ") || go.contains("exponential 1 ");
    let without = |line: &str| -> String {
        let Some((before, after)) = line.split_once("..") else { return line.to_owned() };
        let start = before.rfind(' ').unwrap_or(0);
        format!("{}{after}", &before[..start])
    };
    if is_delta {
        return (without(go), without(ours));
    }
    // A series that is new and expires at once is zero in Go, and its count is lost.
    match (go.split_once(" Some(AsInt(0))"), ours.split_once(" Some(AsInt(")) {
        (Some((go, _)), Some((ours, _))) if expires => (go.to_owned(), ours.to_owned()),
        _ => (go.to_owned(), ours.to_owned()),
    }
}

fn compare(case: &CorpusCase) {
    let yaml = String::from_utf8_lossy(split_frames(&case.input)[1]).into_owned();
    let (status, answer) = case.answer.split_first().unwrap();
    let found = exports(&case.input);
    if *status != 0 {
        let why = String::from_utf8_lossy(answer);
        assert!(found.is_err(), "Go says: {why}\n{yaml}");
        return;
    }
    let found = found.unwrap_or_else(|why| panic!("Go takes it: {why}\n{yaml}"));
    let expected: Vec<_> = split_frames(answer).into_iter().map(|body| lines(&[body])).collect();
    assert_eq!(found.len(), expected.len(), "{yaml}");
    for (number, (found, expected)) in found.iter().zip(&expected).enumerate() {
        let expires = yaml.contains("series_expiration");
        let pair = |(go, ours): (&String, &String)| without_differences(go, ours, expires);
        let pairs: Vec<_> = expected.iter().zip(found).map(pair).collect();
        let (mut expected_lines, mut found_lines): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        expected_lines.sort();
        found_lines.sort();
        assert_eq!(found.len(), expected.len(), "export {number}\n{yaml}\nGo: {expected:#?}\nfound: {found:#?}");
        for (found, expected) in found_lines.iter().zip(&expected_lines) {
            assert_eq!(found, expected, "export {number}\n{yaml}");
        }
    }
}

#[test]
fn recorded_spans_make_the_metrics_of_the_go_connector() {
    let cases = read_corpus(Path::new(CORPUS));
    assert!(cases.len() as u64 == CASES);
    cases.iter().for_each(compare);
}

#[test]
#[ignore = "needs the oracle; run by scripts/differential"]
fn spans_of_fixed_and_fresh_seeds_make_the_metrics_of_the_go_connector() {
    let Some(cases) = ask_about_seeds("connectors1-oracle", Path::new(CORPUS), CASES, input) else { return };
    cases.iter().for_each(compare);
}
