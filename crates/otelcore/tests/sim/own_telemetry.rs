//! Own metrics and log records that are pushed: while the backend is away, slow or restarted, at a shutdown, and through changes
//! of the configuration.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use otelcore::reactor::Sim;
use otelcore_http::Status;

use crate::backend::PlannedResponse;
use crate::client::Load;
use crate::fixture::{Fixture, MS, SEC, config_yaml, otlp_exporter, seeds};

const EXPORTER: &str = "exporter: {otlp: {protocol: grpc, endpoint: 'http://jaeger:14250'}}";

/// A collector of traces whose own telemetry goes to the same backend.
fn yaml(telemetry: &str) -> String {
    config_yaml("", &otlp_exporter("")).replace("{metrics: {level: none}}", telemetry)
}

fn metrics(keys: &str) -> String {
    yaml(&format!("{{metrics: {{readers: [{{periodic: {{interval: 1000, {keys}{EXPORTER}}}}}]}}}}"))
}

fn logs(processor: &str) -> String {
    yaml(&format!("{{metrics: {{level: none}}, logs: {{sampling: {{enabled: false}}, processors: [{processor}]}}}}"))
}

fn fixture(seed: u64, yaml: &str) -> Fixture {
    Fixture::with_yaml(Sim::new(seed), seed, yaml)
}

/// The value and the start time of the counter in a push, summed over its points.
fn counter(request: &ExportMetricsServiceRequest, name: &str) -> Option<(i64, u64)> {
    let scopes = request.resource_metrics.iter().flat_map(|resource| &resource.scope_metrics);
    let metric = scopes.flat_map(|scope| &scope.metrics).find(|metric| metric.name == name)?;
    let Some(Data::Sum(sum)) = &metric.data else { return None };
    let value = |value: &Option<Value>| if let Some(Value::AsInt(v)) = value { *v } else { 0 };
    let start = sum.data_points.first()?.start_time_unix_nano;
    Some((sum.data_points.iter().map(|point| value(&point.value)).sum(), start))
}

fn pushes(fixture: &Fixture) -> usize {
    fixture.backend.borrow().metrics_requests.len()
}

/// Runs until the collector has ended, at most for `limit`.
fn close(fixture: &mut Fixture, grace: Duration, limit: Duration) -> Duration {
    let (collector, start) = (fixture.collector, fixture.sim.now());
    fixture.sim.close(collector, grace);
    while fixture.sim.undelivered(collector).is_none() && fixture.sim.now() < start + limit {
        fixture.sim.run_for(MS);
    }
    assert!(fixture.sim.undelivered(collector).is_some(), "seed {}", fixture.seed);
    fixture.sim.now().since(start)
}

#[test]
fn metrics_are_pushed_at_each_interval_and_for_the_last_time_when_everything_is_delivered() {
    for seed in seeds().take(8) {
        let mut fixture = fixture(seed, &metrics(""));
        fixture.start_client(Load { requests: 100, spans: 5, interval: 60 * MS, ..Load::default() });
        fixture.sim.run_for(5 * SEC + 500 * MS);
        assert_eq!(pushes(&fixture), 5, "seed {seed}");
        close(&mut fixture, 10 * SEC, 11 * SEC);
        let backend = fixture.backend.borrow();
        assert_eq!(backend.metrics_requests.len(), 6, "seed {seed}");
        let last = backend.metrics_requests.last().unwrap();
        let sent = backend.delivered().len();
        assert!(sent > 100, "seed {seed}");
        assert_eq!(
            counter(last, "otelcol_exporter_sent_spans").unwrap().0,
            i64::try_from(sent).unwrap(),
            "seed {seed}"
        );
        let starts: Vec<_> = backend
            .metrics_requests
            .iter()
            .filter_map(|request| Some(counter(request, "otelcol_receiver_accepted_spans")?.1))
            .collect();
        assert!(starts.windows(2).all(|pair| pair[0] == pair[1]), "seed {seed}: {starts:?}");
    }
}

#[test]
fn push_that_fails_is_tried_again_and_later_ones_wait_for_it() {
    for seed in seeds().take(8) {
        let mut fixture = fixture(seed, &metrics("timeout: 4000, "));
        fixture.sim.run_for(2500 * MS);
        assert_eq!(pushes(&fixture), 2, "seed {seed}");
        fixture.sim.kill(fixture.backend_node);
        fixture.sim.run_for(30 * SEC);
        assert_eq!(pushes(&fixture), 2, "seed {seed}");
        fixture.start_backend();
        // The channel waits some seconds between two attempts to connect.
        fixture.sim.run_for(120 * SEC);
        let arrived = pushes(&fixture);
        assert!((50..=122).contains(&arrived), "seed {seed}: {arrived}");
        // A failure is logged at once, and then at most once in some seconds.
        let failures = fixture.log.count_with(&["Exporting failed"]);
        assert!((1..=20).contains(&failures), "seed {seed}: {failures}");
        let backend = fixture.backend.borrow();
        let last = backend.metrics_requests.last().unwrap();
        let dropped = counter(last, "otelcore_own_telemetry_dropped_items").unwrap().0;
        assert!(dropped > 10, "seed {seed}: {dropped}");
    }
}

#[test]
fn slow_backend_gets_one_push_at_a_time() {
    for seed in seeds().take(5) {
        let mut fixture = fixture(seed, &metrics(""));
        fixture.backend.borrow_mut().default_response =
            PlannedResponse { delay: 3 * SEC, ..PlannedResponse::default() };
        fixture.sim.run_for(20 * SEC);
        let times: Vec<_> = fixture.backend.borrow().requests.iter().map(|request| request.at).collect();
        assert!(times.len() >= 4, "seed {seed}: {}", times.len());
        assert!(times.windows(2).all(|pair| pair[1].since(pair[0]) >= 3 * SEC), "seed {seed}: {times:?}");
    }
}

#[test]
fn shutdown_without_the_backend_ends_with_the_time_of_the_last_push() {
    for seed in seeds().take(5) {
        let mut fixture = fixture(seed, &metrics("timeout: 2000, "));
        fixture.sim.run_for(2 * SEC);
        fixture.sim.kill(fixture.backend_node);
        let took = close(&mut fixture, 20 * SEC, 21 * SEC);
        assert!(took <= 3 * SEC, "seed {seed}: {took:?}");
    }
}

#[test]
fn log_records_are_pushed_and_those_about_the_push_are_not() {
    for seed in seeds().take(8) {
        let mut fixture = fixture(seed, &logs(&format!("{{batch: {{schedule_delay: 300, {EXPORTER}}}}}")));
        fixture.sim.run_for(SEC);
        let messages = |fixture: &Fixture| -> Vec<String> {
            let backend = fixture.backend.borrow();
            let resources = backend.logs_requests.iter().flat_map(|request| &request.resource_logs);
            let scopes = resources.flat_map(|resource| &resource.scope_logs);
            let kinds = scopes.clone().flat_map(|scope| scope.scope.as_ref().unwrap().attributes.iter());
            assert!(kinds.filter_map(|kind| kind.value.as_ref()).all(|v| !format!("{v:?}").contains("\"telemetry\"")));
            scopes.flat_map(|scope| &scope.log_records).map(|r| format!("{:?}", r.body.as_ref().unwrap())).collect()
        };
        let first = messages(&fixture);
        assert!(first.iter().any(|message| message.contains("Starting extensions...")), "seed {seed}: {first:?}");
        // Without the backend, failed pushes are in the log and cause no further push.
        fixture.sim.kill(fixture.backend_node);
        fixture.start_client(Load { requests: 1, spans: 5, ..Load::default() });
        // A push is given up after 30 seconds.
        fixture.sim.run_for(60 * SEC);
        assert!(fixture.log.count_with(&["Exporting failed"]) > 0, "seed {seed}");
        fixture.start_backend();
        fixture.sim.run_for(150 * SEC);
        let all = messages(&fixture);
        assert!(all.len() < first.len() + 20, "seed {seed}: {all:?}");
        assert!(all.iter().any(|message| message.contains("Exporting failed")), "seed {seed}: {all:?}");
        let before_close = fixture.backend.borrow().logs_requests.len();
        fixture.sim.run_for(60 * SEC);
        assert_eq!(fixture.backend.borrow().logs_requests.len(), before_close, "seed {seed}");
    }
}

#[test]
fn shutdown_pushes_the_records_that_wait() {
    for seed in seeds().take(5) {
        let mut fixture = fixture(seed, &logs(&format!("{{batch: {{schedule_delay: 600000, {EXPORTER}}}}}")));
        fixture.sim.run_for(5 * SEC);
        assert_eq!(fixture.backend.borrow().logs_requests.len(), 0, "seed {seed}");
        close(&mut fixture, 10 * SEC, 11 * SEC);
        assert_eq!(fixture.backend.borrow().logs_requests.len(), 1, "seed {seed}");
    }
}

#[test]
fn change_of_the_configuration_keeps_a_push_or_renews_it() {
    for seed in seeds().take(5) {
        let mut fixture = fixture(seed, &metrics(""));
        fixture.start_client(Load { requests: 20, spans: 5, interval: 100 * MS, ..Load::default() });
        fixture.sim.run_for(3 * SEC + 500 * MS);
        assert_eq!(pushes(&fixture), 3, "seed {seed}");
        // Another exporter setting: the push goes on.
        let same = metrics("").replace("    tls: {insecure: true}", "    tls: {insecure: true}\n    timeout: 7s");
        fixture.reload(&same, 5 * SEC).unwrap();
        fixture.sim.run_for(3 * SEC);
        assert_eq!(pushes(&fixture), 6, "seed {seed}");
        // Another interval: the previous one pushes once more, and the new one begins.
        fixture.reload(&metrics("").replace("interval: 1000", "interval: 2000"), 5 * SEC).unwrap();
        fixture.sim.run_for(4 * SEC + 500 * MS);
        assert_eq!(pushes(&fixture), 6 + 1 + 2, "seed {seed}");
        let backend = fixture.backend.borrow();
        let counts: Vec<_> = backend
            .metrics_requests
            .iter()
            .filter_map(|request| counter(request, "otelcol_receiver_accepted_spans"))
            .collect();
        assert!(
            counts.windows(2).all(|pair| pair[0].0 <= pair[1].0 && pair[0].1 == pair[1].1),
            "seed {seed}: {counts:?}"
        );
        assert_eq!(counts.last().unwrap().0, 100, "seed {seed}");
        let last = fixture.sim.graph(fixture.collector).unwrap().undelivered();
        assert_eq!(last.total(), 0, "seed {seed}");
    }
}

fn traces(keys: &str) -> String {
    let processors = "  attributes: {actions: [{key: a, value: b, action: insert}]}";
    let yaml = config_yaml(processors, &otlp_exporter("retry_on_failure: {initial_interval: 100ms}"));
    let telemetry = format!("{{metrics: {{level: none}}, traces: {{processors: [{{simple: {{{EXPORTER}}}}}]{keys}}}}}");
    yaml.replace("{metrics: {level: none}}", &telemetry)
}

/// Own spans that the backend has got: those of clients are called `work`.
fn own_spans(fixture: &Fixture) -> Vec<(String, opentelemetry_proto::tonic::trace::v1::Span)> {
    let backend = fixture.backend.borrow();
    let scopes = backend.otlp_requests.iter().flat_map(|request| &request.resource_spans).flat_map(|r| &r.scope_spans);
    let of_scope = |scope: &opentelemetry_proto::tonic::trace::v1::ScopeSpans| {
        let name = scope.scope.as_ref().map(|scope| scope.name.clone()).unwrap_or_default();
        scope
            .spans
            .iter()
            .filter(|span| span.name != "work")
            .map(|span| (name.clone(), span.clone()))
            .collect::<Vec<_>>()
    };
    scopes.flat_map(of_scope).collect()
}

#[test]
fn spans_of_a_pass_follow_from_each_other_under_the_names_of_the_go_collector() {
    for seed in seeds().take(5) {
        let mut fixture = fixture(seed, &traces(""));
        fixture.backend.borrow_mut().keeps_otlp_requests = true;
        // The first attempts fail.
        fixture.backend.borrow_mut().default_response = PlannedResponse::error(Status::unavailable("no"));
        fixture.start_client(Load { requests: 1, spans: 3, ..Load::default() });
        fixture.sim.run_for(3 * SEC);
        fixture.backend.borrow_mut().otlp_requests.clear();
        fixture.backend.borrow_mut().accept_all_requests();
        fixture.sim.run_for(60 * SEC);
        let spans = own_spans(&fixture);
        let find = |name: &str| {
            spans.iter().find(|(_, span)| span.name == name).unwrap_or_else(|| panic!("{name}: {spans:?}"))
        };
        let (received, enqueued, sent) =
            (find("receiver/otlp/TraceDataReceived"), find("exporter/enqueue"), find("exporter/otlp_grpc/traces"));
        assert_eq!(spans.len(), 3, "seed {seed}: {spans:?}");
        let scope = "go.opentelemetry.io/collector/exporter/exporterhelper";
        assert_eq!((received.0.as_str(), enqueued.0.as_str(), sent.0.as_str()), ("otlp", scope, scope));
        let (received, enqueued, sent) = (&received.1, &enqueued.1, &sent.1);
        assert!(received.parent_span_id.is_empty(), "seed {seed}");
        assert_eq!((&enqueued.parent_span_id, &sent.parent_span_id), (&received.span_id, &enqueued.span_id));
        assert!([enqueued, sent].into_iter().all(|span| span.trace_id == received.trace_id), "seed {seed}");
        let keys = |span: &opentelemetry_proto::tonic::trace::v1::Span| {
            span.attributes.iter().map(|attribute| attribute.key.clone()).collect::<Vec<_>>()
        };
        assert_eq!(keys(received), ["accepted_spans", "refused_spans", "failed_spans"]);
        assert_eq!(keys(sent), ["exporter", "data_type", "items.sent", "items.failed"]);
        let events = |span: &opentelemetry_proto::tonic::trace::v1::Span| {
            span.events.iter().map(|event| event.name.clone()).collect::<Vec<_>>()
        };
        assert_eq!(events(received), ["Start processing.", "End processing."]);
        assert_eq!(events(enqueued), ["Enqueued item."]);
        let retried = "Exporting failed. Will retry the request after interval.";
        let of_sent = events(sent);
        assert!(of_sent.len() >= 3 && of_sent.len() % 2 == 1, "seed {seed}: {of_sent:?}");
        assert!(of_sent.iter().step_by(2).all(|event| event == "Sending request."), "seed {seed}: {of_sent:?}");
        assert!(of_sent.iter().skip(1).step_by(2).all(|event| event == retried), "seed {seed}: {of_sent:?}");
        assert!(sent.start_time_unix_nano < sent.end_time_unix_nano && sent.status.is_none(), "seed {seed}");
    }
}

#[test]
fn sampler_and_level_decide_whether_there_are_own_spans() {
    for (keys, expected) in [
        (", sampler: {always_off: {}}", 0),
        (", level: NONE", 0),
        (", sampler: {parent_based: {root: {always_on: {}}}}", 60),
    ] {
        let mut fixture = fixture(1, &traces(keys));
        fixture.backend.borrow_mut().keeps_otlp_requests = true;
        fixture.start_client(Load { requests: 20, spans: 3, ..Load::default() });
        fixture.sim.run_for(60 * SEC);
        assert_eq!(own_spans(&fixture).len(), expected, "{keys}");
    }
}
