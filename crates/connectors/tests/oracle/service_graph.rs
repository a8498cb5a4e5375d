//! `service_graph`: the metrics that are made of spans.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use otelcore_connectors::ServiceGraphFactory;
use otelcore_pdata::{Rope, Signal};
use otelcore_pipeline::{Connector, Outcome};
use otelcore_test_support::{Choices, push_frame, split_frames};
use otelcore_testkit::{ConnectorTest, TestContext, connector, payload};
use prost::Message;

use crate::telemetry::{shown, text};
use crate::{Differential, choices};

const SERVICE_GRAPH: Differential = Differential { name: "service_graph", cases: 200, input, answer, expected };

/// Of the oracle.
const EXPIRY: Duration = Duration::from_millis(1500);

fn yaml(c: &mut Choices) -> String {
    let mut yaml = "servicegraph traces\nmetrics_flush_interval: 0s\nstore_expiration_loop: 200ms\n".to_owned();
    yaml.push_str(&format!("store: {{ttl: 500ms, max_items: {}}}\n", [1000, 3, 1][c.below(3)]));
    yaml.push_str(c.choose(&[
        "",
        "",
        "latency_histogram_buckets: [10ms, 1s]\n",
        "exponential_histogram_max_size: 4\n",
        "exponential_histogram_max_size: 160\n",
    ]));
    yaml.push_str(c.choose(&["", "dimensions: [d]\n", "dimensions: [d, e, db.system]\n"]));
    yaml.push_str(c.choose(&["", "virtual_node_extra_label: true\n"]));
    yaml.push_str(c.choose(&[
        "",
        "",
        "virtual_node_peer_attributes: []\n",
        "virtual_node_peer_attributes: [e, db.system]\n",
    ]));
    yaml.push_str(c.choose(&["", "", "database_name_attributes: [db.system, db.name]\n"]));
    yaml
}

fn attributes(c: &mut Choices, names: &[&str]) -> Vec<KeyValue> {
    let mut attributes = Vec::new();
    for name in names {
        if c.below(5) == 0 {
            attributes.push(text(name, c.choose(&["x", "y", "z"])));
        }
    }
    attributes
}

fn span(c: &mut Choices) -> Span {
    let id = |n: usize| vec![n as u8; 8];
    let start = 1_700_000_000_000_000_000;
    Span {
        trace_id: vec![1 + c.below(2) as u8; 16],
        span_id: id(1 + c.below(4)),
        parent_span_id: if c.below(5) == 0 { Vec::new() } else { id(1 + c.below(4)) },
        kind: [0, 1, 2, 2, 2, 3, 3, 3, 4, 5][c.below(10)],
        start_time_unix_nano: start,
        end_time_unix_nano: start + [0, 1, 1_000_000, 6_000_000, 70_000_000, 1_234_567_890, 20_000_000_000][c.below(7)],
        attributes: attributes(c, &["d", "e", "db.name", "db.system", "peer.service"]),
        status: Some(Status { code: [0, 0, 1, 2][c.below(4)], message: String::new() }),
        ..Span::default()
    }
}

fn input(seed: u64) -> Vec<u8> {
    let mut c = choices(seed);
    let mut input = Vec::new();
    push_frame(&mut input, yaml(&mut c).as_bytes());
    for _ in 0..1 + c.below(3) {
        let entry = |c: &mut Choices| {
            let mut all = attributes(c, &["d", "db.name"]);
            if c.below(8) > 0 {
                all.push(text("service.name", c.choose(&["a", "b", "c"])));
            }
            ResourceSpans {
                resource: Some(Resource { attributes: all, ..Resource::default() }),
                scope_spans: vec![ScopeSpans {
                    spans: (0..1 + c.below(3)).map(|_| span(c)).collect(),
                    ..ScopeSpans::default()
                }],
                schema_url: String::new(),
            }
        };
        let resource_spans = (0..1 + c.below(4)).map(|_| entry(&mut c)).collect();
        push_frame(&mut input, &ExportTraceServiceRequest { resource_spans }.encode_to_vec());
        if c.below(3) == 0 {
            push_frame(&mut input, &[]);
        }
    }
    input
}

fn answer(input: &[u8]) -> Result<Vec<String>, String> {
    let frames = split_frames(input);
    let yaml = String::from_utf8(frames[0].to_vec()).unwrap();
    let context = TestContext::new();
    let component = context.create(&ServiceGraphFactory, "servicegraph", yaml.split_once('\n').unwrap().1)?;
    let mut test: ConnectorTest<dyn Connector> = ConnectorTest::new(connector(component));
    test.start().unwrap();
    let mut last = Vec::new();
    for body in &frames[1..] {
        if body.is_empty() {
            test.run_for(EXPIRY);
        }
        let items = otelcore_pdata::check(Signal::Traces, body).unwrap().items;
        test.process(payload(Signal::Traces, Rope::new(body.to_vec().into(), items)));
        for (_, payload, ack) in test.take_passed_on() {
            ack.settle(Outcome::Delivered);
            last = payload.body.to_bytes().to_vec();
        }
    }
    Ok(lines(&last))
}

fn expected(_: &[u8], answer: &[u8]) -> Vec<String> {
    lines(answer)
}

/// Each point, sorted.
fn lines(body: &[u8]) -> Vec<String> {
    let mut lines = Vec::new();
    for entry in ExportMetricsServiceRequest::decode(body).unwrap().resource_metrics {
        for scope in entry.scope_metrics {
            let name = scope.scope.map(|scope| scope.name).unwrap_or_default();
            for metric in scope.metrics {
                let head = format!("{name} {} {}", metric.name, metric.unit);
                match metric.data.unwrap() {
                    Data::Sum(sum) => {
                        let head = format!("{head} {} {}", sum.aggregation_temporality, sum.is_monotonic);
                        lines.extend(
                            sum.data_points.iter().map(|p| format!("{head} {} {:?}", shown(&p.attributes), p.value)),
                        );
                    }
                    Data::Histogram(data) => lines.extend(data.data_points.iter().map(|p| {
                        let buckets = (&p.bucket_counts, &p.explicit_bounds);
                        format!("{head} {} {} {:?} {buckets:?}", shown(&p.attributes), p.count, p.sum)
                    })),
                    Data::ExponentialHistogram(data) => lines.extend(data.data_points.iter().map(|p| {
                        let positive = p.positive.as_ref().filter(|positive| !positive.bucket_counts.is_empty());
                        let buckets = positive.map(|positive| (positive.offset, &positive.bucket_counts));
                        let numbers = (p.count, p.sum, p.min, p.max, p.zero_count, p.scale, buckets);
                        format!("{head} {} {numbers:?}", shown(&p.attributes))
                    })),
                    other => panic!("{other:?}"),
                }
            }
        }
    }
    lines.sort();
    lines
}

#[test]
fn recorded_spans_have_the_metrics_of_the_go_connector() {
    SERVICE_GRAPH.replay();
}

#[test]
#[ignore = "needs the oracle; run by scripts/differential"]
fn spans_of_fixed_and_fresh_seeds_have_the_metrics_of_the_go_connector() {
    SERVICE_GRAPH.ask();
}
