//! Tests of `service_graph` alone; its metrics are compared with those of the Go connector in `tests/oracle`.

use std::collections::BTreeMap;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use otelcore_pdata::{Rope, Signal, check};
use otelcore_pipeline::{Connector, Outcome, Payload};
use otelcore_testkit::{ConnectorTest, TestContext, connector, parse_config};
use prost::Message;

use super::ServiceGraphFactory;

const SECOND: Duration = Duration::from_secs(1);
const SERVER: i32 = 2;
const CLIENT: i32 = 3;

fn service_graph(context: &TestContext, yaml: &str) -> ConnectorTest<dyn Connector> {
    let component = context.create(&ServiceGraphFactory, "service_graph", yaml).unwrap();
    let mut test: ConnectorTest<dyn Connector> = ConnectorTest::new(connector(component));
    test.start().unwrap();
    test
}

fn span(service: &str, kind: i32, id: u64) -> ResourceSpans {
    let value = Some(AnyValue { value: Some(Value::StringValue(service.to_owned())) });
    let name = KeyValue { key: "service.name".to_owned(), value, key_strindex: 0 };
    let id = id.to_be_bytes().to_vec();
    let (span_id, parent_span_id) = if kind == SERVER { (vec![9; 8], id) } else { (id, Vec::new()) };
    let span = Span {
        trace_id: vec![1; 16],
        span_id,
        parent_span_id,
        kind,
        start_time_unix_nano: 1_000_000_000,
        end_time_unix_nano: 1_100_000_000,
        ..Span::default()
    };
    ResourceSpans {
        resource: Some(Resource { attributes: vec![name], ..Resource::default() }),
        scope_spans: vec![ScopeSpans { spans: vec![span], ..ScopeSpans::default() }],
        schema_url: String::new(),
    }
}

fn payload(context: &TestContext, resource_spans: Vec<ResourceSpans>) -> Payload {
    let body = ExportTraceServiceRequest { resource_spans }.encode_to_vec();
    let items = check(Signal::Traces, &body).unwrap().items;
    context.payload(Signal::Traces, Rope::new(body.into(), items))
}

/// The requests of each pair of services in the metrics that were passed on.
fn requests(test: &mut ConnectorTest<dyn Connector>) -> BTreeMap<String, i64> {
    let mut all = BTreeMap::new();
    for (_, payload, ack) in test.take_passed_on() {
        ack.settle(Outcome::Delivered);
        assert_eq!(check(Signal::Metrics, &payload.body.to_bytes()).unwrap().items, payload.items());
        let request = ExportMetricsServiceRequest::decode(payload.body.to_bytes()).unwrap();
        let scopes = request.resource_metrics.into_iter().flat_map(|entry| entry.scope_metrics);
        for metric in scopes.flat_map(|scope| scope.metrics) {
            let Some(Data::Sum(sum)) = metric.data else { continue };
            for point in sum.data_points {
                let Some(number_data_point::Value::AsInt(count)) = point.value else { continue };
                let text = |key: &str| {
                    let found = point.attributes.iter().find(|kv| kv.key == key).unwrap();
                    let Some(Value::StringValue(text)) = found.value.clone().unwrap().value else {
                        return String::new();
                    };
                    text
                };
                all.insert(format!("{}-{}", text("client"), text("server")), count);
            }
        }
    }
    all
}

fn counts(all: &[(&str, i64)]) -> BTreeMap<String, i64> {
    all.iter().map(|(pair, count)| ((*pair).to_owned(), *count)).collect()
}

#[test]
fn requests_are_counted_when_both_spans_have_come_and_passed_on_at_the_interval() {
    let context = TestContext::new();
    let mut test = service_graph(&context, "");
    let first = test.process(payload(&context, vec![span("a", CLIENT, 1), span("a", CLIENT, 2)]));
    assert_eq!(test.take_outcomes(), [(first, Outcome::Delivered)]);
    assert!(context.budget.kept() > 0);
    test.process(payload(&context, vec![span("b", SERVER, 2), span("b", SERVER, 1)]));
    assert!(test.take_passed_on().is_empty());
    test.run_for(SECOND * 60);
    assert_eq!(requests(&mut test), counts(&[("a-b", 2)]));
    test.run_for(SECOND * 60);
    assert_eq!(requests(&mut test), counts(&[("a-b", 2)]), "sums are cumulative");
    // After 15 minutes without requests a series is removed.
    test.run_for(SECOND * 60 * 20);
    test.take_passed_on();
    test.run_for(SECOND * 120);
    assert!(test.take_passed_on().is_empty());
    assert_eq!((context.budget.kept(), context.budget.held()), (0, 0));
}

#[test]
fn span_without_its_pair_makes_a_request_of_a_service_that_has_none() {
    let context = TestContext::new();
    let mut test = service_graph(&context, "virtual_node_extra_label: true");
    test.process(payload(&context, vec![span("a", CLIENT, 1), span("b", SERVER, 0), span("c", SERVER, 7)]));
    test.run_for(SECOND * 60);
    assert_eq!(requests(&mut test), counts(&[("a-unknown", 1), ("user-b", 1)]));
    let mut test = service_graph(&context, "virtual_node_peer_attributes: []");
    test.process(payload(&context, vec![span("a", CLIENT, 1)]));
    test.run_for(SECOND * 60);
    assert!(test.take_passed_on().is_empty());
}

#[test]
fn spans_above_the_bound_of_the_store_are_not_used() {
    let context = TestContext::new();
    let mut test = service_graph(&context, "store: {max_items: 2, ttl: 1h}");
    let clients = (1..=3).map(|id| span("a", CLIENT, id)).collect();
    test.process(payload(&context, clients));
    test.process(payload(&context, (1..=3).map(|id| span("b", SERVER, id)).collect()));
    test.run_for(SECOND * 60);
    assert_eq!(requests(&mut test), counts(&[("a-b", 2)]));
}

#[test]
fn new_series_above_the_limit_of_the_budget_are_refused_and_known_ones_counted() {
    let context = TestContext::new();
    let mut test = service_graph(&context, "");
    let pair = |server: &str| vec![span("a", CLIENT, 1), span(server, SERVER, 1)];
    test.process(payload(&context, pair("b")));
    // Less is not possible: room for the edge that waits, and none for another series.
    context.budget.set_limit((context.budget.kept() + 800) * 4 / 3);
    let filler = context.budget.keep(100);
    test.process(payload(&context, pair("b")));
    let more = context.budget.keep(400);
    for _ in 0..3 {
        test.process(payload(&context, pair("c")));
    }
    drop((filler, more));
    context.budget.set_limit(u64::MAX);
    test.run_for(SECOND * 60);
    let found = requests(&mut test);
    assert_eq!(found.get("a-b"), Some(&2), "{found:?}");
}

#[test]
fn metrics_of_many_series_are_passed_on_in_parts_and_once_more_at_the_end() {
    let context = TestContext::new();
    let mut test = service_graph(&context, "");
    let servers = 1200;
    let spans = (1..=servers).flat_map(|id| [span("a", CLIENT, id), span(&format!("s{id}"), SERVER, id)]).collect();
    test.process(payload(&context, spans));
    test.run();
    test.call(|connector, cx, output| connector.drain(cx, output));
    assert_eq!(test.connector.held_items(), 1);
    test.run();
    assert_eq!(test.connector.held_items(), 0);
    let passed_on = test.take_passed_on();
    assert_eq!(passed_on.iter().map(|(_, payload, _)| payload.items()).collect::<Vec<_>>(), [1500, 1500, 600]);
    drop(passed_on);
    assert_eq!(context.budget.held(), 0);
}

#[test]
fn payload_after_the_begin_of_a_shutdown_is_in_the_last_metrics() {
    let context = TestContext::new();
    let mut test = service_graph(&context, "");
    test.call(|connector, cx, output| connector.drain(cx, output));
    let spans = (1..=20_000).flat_map(|id| [span("a", CLIENT, id), span("b", SERVER, id)]).collect();
    test.process(payload(&context, spans));
    assert!(test.connector.held_items() == 40_000, "a helper thread has it");
    test.run();
    assert_eq!((requests(&mut test), test.connector.held_items()), (counts(&[("a-b", 20_000)]), 0));
}

#[test]
fn metrics_without_an_interval_are_passed_on_with_each_payload() {
    let context = TestContext::new();
    let mut test = service_graph(&context, "metrics_flush_interval: 0s");
    assert!(context.log.take_lines()[0].contains("MetricsFlushInterval is set to 0"));
    for count in 1..3 {
        test.process(payload(&context, vec![span("a", CLIENT, 1), span("b", SERVER, 1)]));
        assert_eq!(requests(&mut test), counts(&[("a-b", count)]));
    }
}

#[test]
fn configuration_mistakes_are_reported_in_the_words_of_the_go_collector() {
    for (yaml, wanted) in [
        ("exponential_histogram_max_size: -1", "`exponential_histogram_max_size` can not be negative"),
        (
            "{latency_histogram_buckets: [1s], exponential_histogram_max_size: 10}",
            "use either `latency_histogram_buckets` or `exponential_histogram_max_size`",
        ),
    ] {
        let messages = parse_config(&ServiceGraphFactory, "service_graph", yaml).messages;
        assert_eq!(messages, [wanted]);
    }
}
