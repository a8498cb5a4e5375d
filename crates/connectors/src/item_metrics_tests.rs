//! Tests of `count` and `sum` alone.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use otelcore_pdata::{Signal, build};
use otelcore_pipeline::{Connector, Factory, Outcome, Payload, WallTime};
use otelcore_testkit::{ConnectorTest, TestContext, connector, parse_config, payload};
use prost::Message;

use crate::{CountFactory, SumFactory};

fn start(context: &TestContext, factory: &dyn Factory, yaml: &str) -> ConnectorTest<dyn Connector> {
    let component = context.create(factory, factory.info().type_name, yaml).unwrap();
    let mut test = ConnectorTest::new(connector(component));
    test.start().unwrap();
    test
}

fn of(signal: Signal) -> TestContext {
    TestContext { signals: vec![signal], ..TestContext::new() }
}

/// Spans with the attribute `n` and an event each.
fn traces(count: i64, long: &[u8]) -> Payload {
    let mut body = build::Body::new();
    {
        let mut entry = body.resource_spans();
        entry.resource().attributes().string(b"host", b"h").string(b"long", long);
        let mut scope_spans = entry.scope_spans();
        for n in 0..count {
            let mut span = scope_spans.span();
            span.name(b"x").start_time_unix_nano(5).end_time_unix_nano(7);
            span.attributes().int(b"n", n);
            span.event().name(b"e");
        }
    }
    payload(Signal::Traces, body.finish())
}

/// The metrics that were passed on: name and value of each point.
fn points(test: &mut ConnectorTest<dyn Connector>) -> Vec<(String, f64)> {
    let mut points = Vec::new();
    for (_, payload, ack) in test.take_passed_on() {
        let request = ExportMetricsServiceRequest::decode(payload.body.to_bytes()).unwrap();
        let scopes = request.resource_metrics.into_iter().flat_map(|entry| entry.scope_metrics);
        for metric in scopes.flat_map(|scope| scope.metrics) {
            let Some(Data::Sum(sum)) = metric.data else { panic!("a sum") };
            points.extend(sum.data_points.iter().map(|point| {
                let value = match point.value {
                    Some(Value::AsInt(value)) => value as f64,
                    Some(Value::AsDouble(value)) => value,
                    None => f64::NAN,
                };
                (metric.name.clone(), value)
            }));
        }
        ack.settle(Outcome::Delivered);
    }
    points
}

fn named(points: &[(&str, f64)]) -> Vec<(String, f64)> {
    points.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
}

#[test]
fn items_are_counted_by_default_and_the_outcome_is_that_of_the_counts() {
    let mut test = start(&of(Signal::Traces), &CountFactory, "{}");
    test.process(traces(3, b""));
    assert!(test.take_outcomes().is_empty(), "the counts are on their way");
    assert_eq!(points(&mut test), named(&[("trace.span.count", 3.0), ("trace.span.event.count", 3.0)]));
    assert_eq!(test.take_outcomes(), [(0, Outcome::Delivered)]);
}

#[test]
fn payload_without_anything_that_counts_is_settled() {
    let mut test = start(
        &of(Signal::Traces),
        &CountFactory,
        "{spans: {s: {conditions: ['name == \"y\"']}}, spanevents: {e: {attributes: [{key: k}]}}}",
    );
    test.process(traces(3, b""));
    assert_eq!((points(&mut test), test.take_outcomes()), (Vec::new(), vec![(0, Outcome::Delivered)]));
}

#[test]
fn condition_that_fails_refuses_the_payload() {
    let mut test = start(&of(Signal::Traces), &CountFactory, "spans: {s: {conditions: ['ParseJSON(name) != nil']}}");
    test.process(traces(1, b""));
    let outcomes = test.take_outcomes();
    let [(0, Outcome::Permanent(why))] = &outcomes[..] else { panic!("{outcomes:?}") };
    assert!(why.message.contains("failed to eval condition: ParseJSON(name) != nil"), "{why}");
}

#[test]
fn sum_with_several_attributes_adds_each_value_once() {
    let yaml =
        "spans: {s: {source_attribute: n, attributes: [{key: a, default_value: x}, {key: b, default_value: 1}]}}";
    let mut test = start(&of(Signal::Traces), &SumFactory, yaml);
    test.process(traces(5, b""));
    assert_eq!(points(&mut test), named(&[("s", 10.0)]));
}

#[test]
fn long_payload_is_counted_by_a_job_and_later_ones_wait_behind_it() {
    let mut test = start(&of(Signal::Traces), &CountFactory, "spans: {s: {attributes: [{key: n}]}}");
    test.process(traces(50_000, b""));
    test.process(traces(1, b""));
    assert_eq!((test.world.job_count(), test.connector.held_items()), (1, 50_001));
    test.run();
    let counted = points(&mut test);
    assert_eq!(counted.iter().filter(|(name, _)| name == "s").count(), 50_001);
    assert_eq!(test.take_outcomes().len(), 2);
}

#[test]
fn payload_that_has_waited_behind_a_job_has_the_time_at_which_it_is_counted() {
    let mut test = start(&of(Signal::Traces), &SumFactory, "spans: {s: {source_attribute: n}}");
    test.world.set_wall_time(WallTime(1_000));
    test.process(traces(50_000, b""));
    test.process(traces(1, b""));
    assert_eq!(test.world.job_count(), 1);
    test.world.set_wall_time(WallTime(9_000));
    test.run();
    let mut times = Vec::new();
    for (_, payload, ack) in test.take_passed_on() {
        let request = ExportMetricsServiceRequest::decode(payload.body.to_bytes()).unwrap();
        let Some(Data::Sum(sum)) = &request.resource_metrics[0].scope_metrics[0].metrics[0].data else {
            panic!("a sum")
        };
        times.push(sum.data_points[0].time_unix_nano);
        ack.settle(Outcome::Delivered);
    }
    assert_eq!(times, [1_000, 9_000]);
}

#[test]
fn metrics_that_would_be_much_larger_than_the_payload_refuse_it() {
    // Each span has a point with the long value of the resource.
    let long = vec![b'v'; 100_000];
    let mut test = start(&of(Signal::Traces), &CountFactory, "spans: {s: {attributes: [{key: n}, {key: long}]}}");
    test.process(traces(1000, &long));
    test.run();
    let outcomes = test.take_outcomes();
    let [(0, Outcome::Permanent(why))] = &outcomes[..] else { panic!("{outcomes:?}") };
    assert!(why.message.contains("the metrics are larger than"), "{why}");
}

#[test]
fn without_room_in_the_budget_the_payload_is_refused_retryably() {
    let context = of(Signal::Traces);
    let mut test = start(&context, &CountFactory, "spans: {s: {attributes: [{key: n}]}}");
    let body = traces(10_000, b"").body;
    let payload = context.payload(Signal::Traces, body);
    context.budget.set_hard_limit(context.budget.held() + 200_000);
    test.process(payload);
    test.run();
    let outcomes = test.take_outcomes();
    assert!(matches!(&outcomes[..], [(0, Outcome::Retry { .. })]), "{outcomes:?}");
    assert_eq!(context.budget.held(), 0);
}

#[test]
fn config_with_errors_is_reported_with_the_words_of_go() {
    let count: &dyn Factory = &CountFactory;
    let sum: &dyn Factory = &SumFactory;
    for (factory, yaml, message) in [
        (count, "spans: {'': {}}", "spans: metric name missing"),
        (count, "logs: {a: {conditions: ['x ==']}}", "logs condition: metric \"a\": "),
        (count, "spans: {a: {attributes: [{}]}}", "spans attributes: metric \"a\": attribute key missing"),
        (count, "spans: {a: {attributes: [{key: k}, {key: k}]}}", "attribute k is there twice"),
        (count, "metrics: {a: {attributes: [{key: k}]}}", "metrics attributes not supported: metric \"a\""),
        (count, "profiles: {a: {}}", "'profiles' is not supported: there is no signal of profiles yet"),
        (sum, "datapoints: {a: {}}", "datapoints: metric source_attribute missing"),
    ] {
        let messages = parse_config(factory, factory.info().type_name, yaml).messages;
        assert!(messages.len() == 1 && messages[0].contains(message), "{yaml}: {messages:?}");
    }
}
