//! Tests of the connector alone.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point;
use otelcore_pdata::{Rope, Signal, build};
use otelcore_pipeline::{Connector, Outcome, Payload, WallTime};
use otelcore_testkit::{ConnectorTest, TestContext, connector, parse_config, payload};
use prost::Message;

use crate::SpanMetricsFactory;

const START: u64 = 1_700_000_000_000_000_000;
const MS: u64 = 1_000_000;

type Test = ConnectorTest<dyn Connector>;

fn start_in(context: &TestContext, yaml: &str) -> Test {
    let component = context.create(&SpanMetricsFactory, "span_metrics", yaml).unwrap();
    let mut test = ConnectorTest::new(connector(component));
    test.world.set_wall_time(WallTime(START));
    test.start().unwrap();
    test
}

fn start(yaml: &str) -> Test {
    start_in(&TestContext::new(), yaml)
}

/// A span: the name, the duration in milliseconds, and the attribute `k`, if it is not empty.
type TestSpan<'a> = (&'a str, u64, &'a str);

/// Spans by service.
fn traces(services: &[(&str, &[TestSpan<'_>])]) -> Payload {
    let mut body = build::Body::new();
    for (service, spans) in services {
        let mut entry = body.resource_spans();
        if !service.is_empty() {
            entry.resource().attributes().string(b"service.name", service.as_bytes());
        }
        let mut scope_spans = entry.scope_spans();
        for (name, ms, attribute) in *spans {
            let mut span = scope_spans.span();
            span.trace_id(&[1; 16]).span_id(&[2; 8]).name(name.as_bytes()).kind(2);
            span.start_time_unix_nano(START).end_time_unix_nano(START + ms * MS);
            if !attribute.is_empty() {
                span.attributes().string(b"k", attribute.as_bytes());
            }
        }
    }
    payload(Signal::Traces, body.finish())
}

/// A point: service, metric, the dimension `k`, the value or count, its start and time.
#[derive(Clone, PartialEq, Debug)]
struct Point {
    service: String,
    metric: String,
    k: String,
    count: u64,
    start: u64,
    time: u64,
}

fn text(attributes: &[KeyValue], key: &str) -> String {
    let value = |kv: &KeyValue| match kv.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::BoolValue(value)) => value.to_string(),
        other => format!("{other:?}"),
    };
    attributes.iter().find(|kv| kv.key == key).map(value).unwrap_or_default()
}

fn points_of(payload: &Payload) -> Vec<Point> {
    let body = payload.body.to_bytes();
    assert_eq!(otelcore_pdata::check(Signal::Metrics, &body).unwrap().items, payload.items());
    let request = ExportMetricsServiceRequest::decode(body).unwrap();
    let mut points = Vec::new();
    for entry in request.resource_metrics {
        let service = text(&entry.resource.unwrap_or_default().attributes, "service.name");
        for metric in entry.scope_metrics.into_iter().flat_map(|scope| scope.metrics) {
            let mut add = |attributes: &[KeyValue], count, start, time| {
                let overflow = text(attributes, "otel.metric.overflow");
                let k = if overflow.is_empty() { text(attributes, "k") } else { "overflow".to_owned() };
                points.push(Point { service: service.clone(), metric: metric.name.clone(), k, count, start, time });
            };
            match metric.data.unwrap() {
                Data::Sum(sum) => sum.data_points.iter().for_each(|point| {
                    let Some(number_data_point::Value::AsInt(value)) = point.value else { panic!("an integer") };
                    add(&point.attributes, value as u64, point.start_time_unix_nano, point.time_unix_nano);
                }),
                Data::Histogram(data) => data.data_points.iter().for_each(|point| {
                    add(&point.attributes, point.count, point.start_time_unix_nano, point.time_unix_nano);
                }),
                Data::ExponentialHistogram(data) => data.data_points.iter().for_each(|point| {
                    add(&point.attributes, point.count, point.start_time_unix_nano, point.time_unix_nano);
                }),
                other => panic!("{other:?}"),
            }
        }
    }
    points
}

/// The points that were passed on since the last call; their payloads are accepted.
fn take(test: &mut Test, settled: &mut u64) -> Vec<Point> {
    let mut points = Vec::new();
    loop {
        let payloads = test.take_passed_on();
        if payloads.is_empty() {
            return points;
        }
        for (_, payload, _) in payloads {
            points.extend(points_of(&payload));
            test.settle(*settled, Outcome::Delivered);
            *settled += 1;
        }
        test.run();
    }
}

fn sum(points: &[Point], metric: &str) -> u64 {
    points.iter().filter(|point| point.metric == metric).map(|point| point.count).sum()
}

const CALLS: &str = "traces.span.metrics.calls";
const DURATION: &str = "traces.span.metrics.duration";

#[test]
fn cumulative_counts_begin_at_zero_and_are_exported_at_each_interval() {
    let mut test = start("metrics_flush_interval: 10s");
    let mut settled = 0;
    test.process(traces(&[("a", &[("x", 5, ""), ("x", 7, ""), ("y", 1, "")])]));
    assert_eq!(test.take_outcomes(), [(0, Outcome::Delivered)]);
    assert_eq!(test.connector.held_items(), 3);
    test.run_for(Duration::from_secs(10));
    let first = take(&mut test, &mut settled);
    assert_eq!((sum(&first, CALLS), sum(&first, DURATION)), (0, 3));
    assert!(first.iter().all(|point| point.start == START && point.time == START + 10_000 * MS));
    assert_eq!(test.connector.held_items(), 3, "the counts that begin at zero");
    test.run_for(Duration::from_secs(10));
    let second = take(&mut test, &mut settled);
    assert_eq!((sum(&second, CALLS), sum(&second, DURATION), second.len()), (3, 3, 4));
    assert_eq!(test.connector.held_items(), 0);
}

#[test]
fn deltas_join_without_gaps_and_are_forgotten_with_the_export() {
    let mut test = start("{metrics_flush_interval: 10s, aggregation_temporality: AGGREGATION_TEMPORALITY_DELTA}");
    let mut settled = 0;
    for (round, expected_start) in [(0, START), (1, START + 10_000 * MS)] {
        test.run_for(Duration::from_secs(if round == 0 { 0 } else { 5 }));
        test.process(traces(&[("a", &[("x", 5, "")]), ("b", &[("x", 5, "")])]));
        test.run_for(Duration::from_secs(if round == 0 { 10 } else { 5 }));
        let points = take(&mut test, &mut settled);
        assert_eq!((sum(&points, CALLS), points.len()), (2, 4));
        assert!(points.iter().all(|point| point.start == expected_start), "{points:?}");
    }
    test.run_for(Duration::from_secs(10));
    assert_eq!(take(&mut test, &mut settled), []);
}

#[test]
fn flush_and_shutdown_export_everything_that_is_held() {
    let mut test = start("dimensions: [{name: k, default: none}]");
    let mut settled = 0;
    test.process(traces(&[("a", &[("x", 5, "1"), ("x", 5, "")])]));
    test.call(|connector, cx, output| connector.flush(cx, output));
    let points = take(&mut test, &mut settled);
    assert_eq!((sum(&points, CALLS), test.connector.held_items()), (2, 0));
    assert_eq!(points.iter().map(|point| point.k.as_str()).collect::<Vec<_>>(), ["1", "none", "1", "none"]);
    // Nothing new: nothing to export.
    test.call(|connector, cx, output| connector.flush(cx, output));
    assert_eq!(take(&mut test, &mut settled), []);
    test.process(traces(&[("a", &[("x", 5, "1")])]));
    test.call(|connector, cx, output| connector.drain(cx, output));
    assert_eq!(sum(&take(&mut test, &mut settled), CALLS), 3);
    // A span that comes during the shutdown.
    test.process(traces(&[("a", &[("x", 5, "2")])]));
    assert_eq!(sum(&take(&mut test, &mut settled), CALLS), 4);
    assert_eq!(test.connector.held_items(), 0);
}

#[test]
fn payload_that_is_refused_is_sent_again_and_exports_wait() {
    let mut test = start("metrics_flush_interval: 1s");
    test.process(traces(&[("a", &[("x", 5, "")])]));
    test.run_for(Duration::from_secs(1));
    assert_eq!(test.take_passed_on().len(), 1);
    test.settle(0, Outcome::retry("full"));
    test.process(traces(&[("a", &[("x", 5, "")])]));
    test.run_for(Duration::from_secs(5));
    let again = test.take_passed_on();
    assert_eq!((again.len(), sum(&points_of(&again[0].1), DURATION)), (1, 1));
    test.settle(0, Outcome::Delivered);
    test.run();
    let (_, next, _) = test.take_passed_on().pop().unwrap();
    assert_eq!((sum(&points_of(&next), CALLS), sum(&points_of(&next), DURATION)), (2, 2));
    test.settle(1, Outcome::permanent("never"));
    assert_eq!(test.connector.held_items(), 0);
}

#[test]
fn series_above_the_limit_are_counted_together() {
    let mut test = start("{dimensions: [{name: k}], aggregation_cardinality_limit: 2}");
    let mut settled = 0;
    test.process(traces(&[("a", &[("x", 1, "1"), ("x", 1, "2"), ("x", 1, "3"), ("x", 1, "4"), ("x", 1, "1")])]));
    test.call(|connector, cx, output| connector.flush(cx, output));
    let points = take(&mut test, &mut settled);
    let counts: Vec<_> = points.iter().filter(|p| p.metric == CALLS).map(|p| (p.k.as_str(), p.count)).collect();
    assert_eq!(counts, [("1", 2), ("2", 1), ("overflow", 2)]);
    assert_eq!(sum(&points, DURATION), 5);
}

#[test]
fn without_room_in_the_budget_spans_are_counted_together_and_none_is_missing() {
    let context = TestContext::new();
    let mut test = start_in(&context, "dimensions: [{name: k}]");
    let mut settled = 0;
    test.process(traces(&[("a", &[("x", 1, "1")])]));
    context.budget.set_limit(context.budget.kept());
    test.process(traces(&[("a", &[("x", 1, "1"), ("x", 1, "2"), ("x", 1, "3")]), ("b", &[("x", 1, "1")])]));
    test.process(traces(&[("c", &[("x", 1, "1")])]));
    test.call(|connector, cx, output| connector.flush(cx, output));
    let points = take(&mut test, &mut settled);
    let calls = |service: &str, k: &str| {
        let is = |p: &&Point| p.metric == CALLS && p.service == service && p.k == k;
        points.iter().find(is).map(|point| point.count)
    };
    assert_eq!((calls("a", "1"), calls("a", "overflow"), calls("", "overflow")), (Some(2), Some(2), Some(2)));
    assert_eq!(sum(&points, CALLS), 6);
    drop(test);
    assert_eq!(context.budget.kept(), 0);
}

#[test]
fn resources_above_the_limit_are_exported_once_more_and_forgotten() {
    let context = TestContext::new();
    let mut test = start_in(&context, "{resource_metrics_cache_size: 2, metrics_flush_interval: 10s}");
    let mut settled = 0;
    let one = |service: &str| traces(&[(service, &[("x", 1, "")])]);
    for service in ["a", "b", "c", "a"] {
        test.process(one(service));
    }
    test.run_for(Duration::from_secs(10));
    // `b` leaves with this export, so that its count is not withheld.
    let points = take(&mut test, &mut settled);
    assert_eq!((sum(&points, CALLS), sum(&points, DURATION)), (1, 4));
    test.run_for(Duration::from_secs(10));
    assert_eq!(sum(&take(&mut test, &mut settled), CALLS), 3);
    // More evicted ones than are remembered do not wait for the interval.
    for n in 0..6 {
        test.process(one(&format!("service-{n}")));
    }
    test.run();
    assert!(!take(&mut test, &mut settled).is_empty());
}

#[test]
fn expired_series_and_resources_are_forgotten() {
    let context = TestContext::new();
    let yaml =
        "{dimensions: [{name: k}], series_expiration: 15s, metrics_expiration: 40s, metrics_flush_interval: 10s}";
    let mut test = start_in(&context, yaml);
    let mut settled = 0;
    test.process(traces(&[("a", &[("x", 1, "1"), ("x", 1, "2")])]));
    let mut series_by_export = Vec::new();
    for export in 0..7 {
        if export < 3 {
            test.process(traces(&[("a", &[("x", 1, "1")])]));
        }
        test.run_for(Duration::from_secs(10));
        series_by_export.push(take(&mut test, &mut settled).iter().filter(|point| point.metric == CALLS).count());
    }
    assert_eq!(series_by_export, [2, 2, 1, 1, 0, 0, 0]);
    assert_eq!(context.budget.kept(), 0);
}

#[test]
fn scope_that_is_included_makes_series_different() {
    let mut test = start("{include_instrumentation_scope: [lib], exemplars: {enabled: true, max_per_data_point: 1}}");
    let mut body = build::Body::new();
    {
        let mut entry = body.resource_spans();
        entry.resource().attributes().string(b"service.name", b"a");
        for scope in ["lib", "other", "third"] {
            let mut scope_spans = entry.scope_spans();
            scope_spans.scope().name(scope.as_bytes()).version(b"1");
            for _ in 0..3 {
                scope_spans.span().trace_id(&[1; 16]).span_id(&[2; 8]).name(b"x");
            }
        }
    }
    test.process(payload(Signal::Traces, body.finish()));
    test.call(|connector, cx, output| connector.flush(cx, output));
    let (_, payload, _) = test.take_passed_on().pop().unwrap();
    let request = ExportMetricsServiceRequest::decode(payload.body.to_bytes()).unwrap();
    let Some(Data::Sum(calls)) = &request.resource_metrics[0].scope_metrics[0].metrics[0].data else { panic!() };
    let found: Vec<_> = calls
        .data_points
        .iter()
        .map(|point| (text(&point.attributes, "span.instrumentation.scope.name"), point.exemplars.len()))
        .collect();
    assert_eq!(found, [("lib".to_owned(), 1), (String::new(), 1)]);
    let instance = text(&calls.data_points[0].attributes, "collector.instance.id");
    assert_eq!((instance.len(), instance.as_bytes()[14]), (36, b'4'));
}

#[test]
fn spans_without_a_service_are_reported_once() {
    let context = TestContext::new();
    let mut test = start_in(&context, "{}");
    for _ in 0..3 {
        test.process(traces(&[("", &[("x", 1, "")])]));
    }
    test.call(|connector, cx, output| connector.drain(cx, output));
    assert_eq!((test.take_passed_on().len(), test.connector.held_items()), (0, 0));
    let lines = context.log.take_lines();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("without service.name"), "{lines:?}");
}

#[test]
fn many_series_are_exported_in_bounded_payloads_over_several_turns() {
    let mut test = start("dimensions: [{name: k}]");
    let names: Vec<String> = (0..30_000).map(|n| n.to_string()).collect();
    for chunk in names.chunks(500) {
        let spans: Vec<_> = chunk.iter().map(|name| ("x", 1, name.as_str())).collect();
        test.process(traces(&[("a", &spans)]));
    }
    test.call(|connector, cx, output| connector.flush(cx, output));
    let first = test.take_passed_on();
    let first_items: u32 = first.iter().map(|(_, payload, _)| payload.items()).sum();
    assert!(first_items < 60_000, "one turn does not make all");
    assert!(first.iter().all(|(_, payload, _)| payload.items() <= 4096 && payload.body.len() < 3 << 20));
    let mut settled = 0;
    let mut points: Vec<Point> = first.iter().flat_map(|(_, payload, _)| points_of(payload)).collect();
    for _ in &first {
        test.settle(settled, Outcome::Delivered);
        settled += 1;
    }
    test.run();
    points.extend(take(&mut test, &mut settled));
    assert_eq!((sum(&points, CALLS), sum(&points, DURATION), points.len()), (30_000, 30_000, 60_000));
    let mut keys: Vec<_> = points.iter().map(|point| (&point.metric, &point.k)).collect();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 60_000, "each series once");
}

#[test]
fn long_payload_is_aggregated_by_a_job_and_later_ones_wait_behind_it() {
    let mut test = start("dimensions: [{name: k}]");
    let attribute = "v".repeat(100);
    let spans: Vec<_> = (0..20_000).map(|_| ("x", 1, attribute.as_str())).collect();
    test.process(traces(&[("a", &spans)]));
    test.process(traces(&[("a", &[("x", 1, "1")])]));
    assert_eq!((test.world.job_count(), test.take_outcomes().len()), (1, 0));
    test.call(|connector, cx, output| connector.flush(cx, output));
    assert!(test.take_passed_on().is_empty());
    test.run();
    assert_eq!(test.take_outcomes(), [(0, Outcome::Delivered), (1, Outcome::Delivered)]);
    assert_eq!(sum(&take(&mut test, &mut 0), CALLS), 20_001);
}

#[test]
fn aggregation_that_ends_with_an_error_loses_one_payload_and_goes_on() {
    let mut test = start("{}");
    let spans: Vec<_> = (0..30_000).map(|_| ("x", 1, "")).collect();
    test.process(traces(&[("a", &spans)]));
    test.world.drop_job();
    test.run();
    assert_eq!(test.take_outcomes().len(), 1);
    test.process(traces(&[("a", &[("x", 1, "")])]));
    test.call(|connector, cx, output| connector.drain(cx, output));
    assert_eq!(sum(&take(&mut test, &mut 0), CALLS), 1);
}

#[test]
fn flush_of_the_budget_waits_for_the_counts_of_what_arrived_before() {
    let context = TestContext::new();
    let mut test = start_in(&context, "{}");
    let payload = traces(&[("a", &[("x", 1, "")])]);
    test.process(context.payload(Signal::Traces, payload.body));
    let mark = context.budget.mark();
    assert!(!context.budget.is_released(mark));
    test.call(|connector, cx, output| connector.flush(cx, output));
    assert!(!context.budget.is_released(mark), "the metrics are on their way");
    take(&mut test, &mut 0);
    assert!(context.budget.is_released(mark));
}

#[test]
fn config_with_errors_is_reported_with_the_words_of_go() {
    for (yaml, message) in [
        ("dimensions: [{name: a}, {name: a}]", "failed validating dimensions: duplicate dimension name \"a\""),
        ("dimensions: [{name: span.kind}]", "failed validating dimensions: duplicate dimension name \"span.kind\""),
        ("calls_dimensions: [{}]", "failed validating calls dimensions: dimension entry must set one of"),
        (
            "histogram: {dimensions: [{name: a, glob: b}]}",
            "failed validating histogram dimensions: dimension entry must",
        ),
        ("dimensions: [{glob: '['}]", "invalid dimension glob \"[\": unexpected end of input"),
        ("dimensions: [{glob: 'a*', default: x}]", "`default` is not supported on `glob` dimension \"a*\""),
        ("dimensions: [{glob: 'a*'}, {name: ab}]", "duplicate dimension name \"ab\" conflicting with glob \"a*\""),
        ("events: {enabled: true}", "failed validating event dimensions: no dimensions configured for events"),
        ("histogram: {explicit: {buckets: [1s]}, exponential: {}}", "use either `explicit` or `exponential` buckets"),
        ("histogram: {unit: h}", "unknown Unit \"h\", allowed units are \"ms\" and \"s\""),
        ("metrics_flush_interval: -1s", "invalid metrics_flush_interval: -1s, the duration should be positive"),
        ("metrics_flush_interval: 0s", "non-positive interval"),
        ("metrics_expiration: -20s", "invalid metrics_expiration: -20s, the duration should be positive"),
        ("series_expiration: -20s", "invalid series_expiration: -20s, the duration should be positive"),
        (
            "{aggregation_temporality: AGGREGATION_TEMPORALITY_DELTA, metric_timestamp_cache_size: 0}",
            "invalid delta timestamp cache size: 0, the maximum number of the items in the cache should be positive",
        ),
        (
            "aggregation_cardinality_limit: -1",
            "invalid aggregation_cardinality_limit: -1, the limit should be positive",
        ),
        ("exemplars: {enabled: true, max_per_data_point: -1}", "invalid max_per_data_point: -1, the value should be"),
        ("resource_metrics_cache_size: 0", "must provide a positive size"),
        ("aggregation_temporality: delta", "unknown temporality \"delta\": counts are cumulative"),
        ("histogram: {explicit: {buckets: [2s, 1s]}}", "bounds of a histogram ascend"),
        ("dimensions_cache_size: 100", "dimensions_cache_size"),
    ] {
        let messages = parse_config(&SpanMetricsFactory, "span_metrics", yaml).messages;
        assert!(messages.len() == 1 && messages[0].contains(message), "{yaml}: {messages:?}");
    }
}

#[test]
fn empty_body_is_settled() {
    let mut test = start("{}");
    test.process(payload(Signal::Traces, Rope::default()));
    assert_eq!(test.take_outcomes(), [(0, Outcome::Delivered)]);
}
