//! Connectors that make metrics: their sums agree with what was sent.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use otelcore_http::Status;

use crate::backend::PlannedResponse;
use crate::client::Load;
use crate::fixture::{Fixture, MS, SEC, collector_graph, new_sim, seeds};

/// `connectors` between traces and metrics; the backend gets the metrics.
pub(crate) fn yaml(connectors: &str, names: &str) -> String {
    format!(
        "receivers: {{otlp: {{protocols: {{grpc: {{endpoint: '0.0.0.0:4317'}}}}}}}}
exporters: {{otlp_grpc: {{endpoint: 'jaeger:14250', tls: {{insecure: true}}}}}}
connectors: {connectors}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    traces: {{receivers: [otlp], exporters: [{names}]}}
    metrics: {{receivers: [{names}], exporters: [otlp_grpc]}}
"
    )
}

fn spans_sent(fixture: &Fixture) -> u64 {
    fixture.clients.iter().map(|(_, load, _)| load.requests * load.spans).sum()
}

/// The values of the sums and the counts of the histograms, by metric, start time and attributes, in the order of arrival.
fn counts(fixture: &Fixture) -> BTreeMap<(String, String), Vec<u64>> {
    let mut counts: BTreeMap<(String, String), Vec<u64>> = BTreeMap::new();
    for request in &fixture.backend.borrow().metrics_requests {
        for entry in &request.resource_metrics {
            let resource = format!("{:?}", entry.resource);
            for metric in entry.scope_metrics.iter().flat_map(|scope| &scope.metrics) {
                let mut add = |start: u64, attributes: String, count: u64| {
                    let series = format!("{start} {resource}{attributes}");
                    counts.entry((metric.name.clone(), series)).or_default().push(count);
                };
                match metric.data.as_ref().unwrap() {
                    Data::Sum(sum) => sum.data_points.iter().for_each(|point| {
                        let count = match point.value.unwrap() {
                            Value::AsInt(count) => count as u64,
                            Value::AsDouble(sum) => sum as u64,
                        };
                        add(point.start_time_unix_nano, format!("{:?}", point.attributes), count);
                    }),
                    Data::Histogram(data) => {
                        data.data_points.iter().for_each(|point| {
                            add(point.start_time_unix_nano, format!("{:?}", point.attributes), point.count);
                        });
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
    }
    counts
}

/// The counts of one metric: with deltas all of them, otherwise the largest of each series, because a request that was refused
/// at first may arrive after later ones.
pub(crate) fn total(fixture: &Fixture, metric: &str, is_delta: bool) -> u64 {
    let of_metric = counts(fixture).into_iter().filter(|((name, _), _)| name == metric);
    of_metric
        .map(|(_, counts)| if is_delta { counts.iter().sum() } else { counts.into_iter().max().unwrap_or(0) })
        .sum()
}

const SPAN_METRICS: &str = "{span_metrics: {metrics_flush_interval: 700ms, exclude_dimensions: [collector.instance.id]";

/// Starts clients, while the backend refuses some of the metrics.
fn start(seed: u64, connectors: &str, names: &str) -> Fixture {
    let mut fixture = Fixture::with_yaml(new_sim(seed), seed, &yaml(connectors, names));
    for n in 0..6 {
        let response =
            if n % 2 == 0 { PlannedResponse::error(Status::unavailable("later")) } else { PlannedResponse::default() };
        fixture.backend.borrow_mut().next_responses.push_back(response);
    }
    for client in 1..=3 {
        let load = Load { client, requests: 80, spans: 5, interval: 13 * MS, retry: true, ..Load::default() };
        fixture.start_client(load);
    }
    // One payload that a helper thread aggregates.
    fixture.start_client(Load { client: 4, requests: 1, spans: 20_000, padding: 30, ..Load::default() });
    fixture
}

#[test]
fn span_metrics_count_each_span_once_through_exports_and_a_shutdown() {
    for seed in seeds().take(6) {
        for (temporality, is_delta) in [("DELTA", true), ("CUMULATIVE", false)] {
            let connectors =
                format!("{SPAN_METRICS}, aggregation_temporality: AGGREGATION_TEMPORALITY_{temporality}}}}}");
            let mut fixture = start(seed, &connectors, "span_metrics");
            fixture.sim.run_for(2 * SEC);
            fixture.sim.run_for((seed as u32 * 37) * MS);
            fixture.sim.close(fixture.collector, 25 * SEC);
            fixture.sim.run_for(40 * SEC);
            // The clients whose last requests were refused by the shutdown repeat them in vain.
            let acknowledged = fixture.acknowledged().len() as u64;
            let calls = total(&fixture, "traces.span.metrics.calls", is_delta);
            let durations = total(&fixture, "traces.span.metrics.duration", is_delta);
            assert_eq!((calls, durations), (acknowledged, acknowledged), "seed {seed} {temporality}");
            assert!(acknowledged > 20_000 && acknowledged <= spans_sent(&fixture), "seed {seed}: {acknowledged}");
            assert_eq!(fixture.sim.undelivered(fixture.collector).unwrap().total(), 0, "seed {seed}");
        }
    }
}

#[test]
fn span_metrics_with_deltas_count_each_span_once_through_a_reload() {
    for seed in seeds().take(6) {
        let connectors = format!("{SPAN_METRICS}, aggregation_temporality: AGGREGATION_TEMPORALITY_DELTA}}}}");
        let mut fixture = start(seed, &connectors, "span_metrics");
        fixture.sim.run_for(1500 * MS);
        // As on SIGHUP: the running graph drains, then the new one starts.
        fixture.sim.close(fixture.collector, 25 * SEC);
        fixture.sim.run_for(10 * SEC);
        let (graph, _) = collector_graph(&yaml(&connectors, "span_metrics"));
        fixture.sim.restart(fixture.collector, graph).unwrap();
        fixture.sim.run_for(40 * SEC);
        let calls = total(&fixture, "traces.span.metrics.calls", true);
        assert_eq!(calls, fixture.acknowledged().len() as u64, "seed {seed}");
        assert_eq!((fixture.held_items(), fixture.held_bytes()), (0, 0), "seed {seed}");
    }
}

#[test]
fn flush_exports_the_counts_of_everything_that_is_acknowledged() {
    for seed in seeds().take(6) {
        let mut fixture = Fixture::with_yaml(new_sim(seed), seed, &yaml("{span_metrics: }", "span_metrics"));
        fixture.start_client(Load { requests: 40, spans: 5, ..Load::default() });
        fixture.sim.run_for(5 * SEC);
        assert_eq!((fixture.acknowledged().len(), fixture.held_items()), (200, 200), "seed {seed}");
        assert!(fixture.backend.borrow().metrics_requests.is_empty(), "seed {seed}");
        fixture.sim.flush(fixture.collector);
        fixture.sim.run_for(SEC);
        assert_eq!(total(&fixture, "traces.span.metrics.calls", false), 200, "seed {seed}");
        assert_eq!((fixture.held_items(), fixture.held_bytes()), (0, 0), "seed {seed}");
    }
}

#[test]
fn count_and_sum_agree_with_what_was_sent_through_a_reload() {
    for seed in seeds().take(6) {
        let connectors = "{count: , sum: {spans: {spans.sum: {source_attribute: missing}}}}";
        let mut fixture = start(seed, connectors, "count, sum");
        fixture.sim.run_for(1500 * MS);
        fixture.sim.close(fixture.collector, 25 * SEC);
        fixture.sim.run_for(10 * SEC);
        let (graph, _) = collector_graph(&yaml(connectors, "count, sum"));
        fixture.sim.restart(fixture.collector, graph).unwrap();
        fixture.sim.run_for(40 * SEC);
        let counted = total(&fixture, "trace.span.count", true);
        assert_eq!(counted, fixture.acknowledged().len() as u64, "seed {seed}");
        assert_eq!(total(&fixture, "spans.sum", true), 0, "seed {seed}");
        assert_eq!((fixture.held_items(), fixture.held_bytes()), (0, 0), "seed {seed}");
    }
}
