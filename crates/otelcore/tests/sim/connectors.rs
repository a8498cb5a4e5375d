//! Connectors: pipelines that `forward` joins.

use otelcore_http::Status;

use crate::backend::PlannedResponse;
use crate::client::Load;
use crate::fixture::{Fixture, SEC, new_sim, seeds};

const COMPONENTS: &str = "receivers: {otlp: {protocols: {grpc: {endpoint: '0.0.0.0:4317'}}}}
processors: {batch: {timeout: 10m}, batch/2: {timeout: 10m}}
exporters:
  otlp_grpc: {endpoint: 'jaeger:14250', tls: {insecure: true}, sending_queue: {enabled: false}, retry_on_failure: {enabled: false}}
  otlp_grpc/2: {endpoint: 'jaeger:14250', tls: {insecure: true}, compression: none}
connectors: {forward: , forward/2: }
service:
  telemetry: {metrics: {level: none}}
  pipelines:
";

fn fixture(seed: u64, pipelines: &str) -> Fixture {
    Fixture::with_yaml(new_sim(seed), seed, &format!("{COMPONENTS}{pipelines}"))
}

#[test]
fn forward_passes_each_payload_to_all_pipelines_that_it_feeds() {
    for seed in seeds().take(5) {
        let mut fixture = fixture(
            seed,
            "    traces/in: {receivers: [otlp], exporters: [forward, forward/2]}
    traces/a: {receivers: [forward], exporters: [otlp_grpc]}
    traces/b: {receivers: [forward/2, forward], exporters: [otlp_grpc/2]}
",
        );
        let load = Load { requests: 10, spans: 3, ..Load::default() };
        fixture.start_client(load.clone());
        fixture.sim.run_for(60 * SEC);
        assert_eq!((fixture.acknowledged(), fixture.delivered()), (load.span_ids(), load.span_ids()), "seed {seed}");
        // Once through the first pipeline, twice through the second.
        assert_eq!(fixture.backend.borrow().requests.len(), 30, "seed {seed}");
        assert_eq!((fixture.held_items(), fixture.held_bytes()), (0, 0), "seed {seed}");
    }
}

#[test]
fn outcome_behind_a_connector_is_reported_to_the_sender() {
    for seed in seeds().take(5) {
        let mut fixture = fixture(
            seed,
            "    traces/in: {receivers: [otlp], exporters: [forward]}
    traces/out: {receivers: [forward], exporters: [otlp_grpc]}
",
        );
        fixture.backend.borrow_mut().default_response = PlannedResponse::error(Status::invalid_argument("never"));
        let results = fixture.start_client(Load::default());
        fixture.sim.run_for(60 * SEC);
        let errors: Vec<String> = results.borrow().errors().map(|(_, status)| status.message.to_string()).collect();
        assert!(errors.len() == 1 && errors[0].contains("never"), "seed {seed}: {errors:?}");
    }
}

#[test]
fn shutdown_drains_pipelines_in_the_direction_of_the_data() {
    for seed in seeds().take(5) {
        // The names would have the last pipeline drained first.
        let mut fixture = fixture(
            seed,
            "    traces/1: {receivers: [forward/2], processors: [batch/2], exporters: [otlp_grpc]}
    traces/2: {receivers: [forward], processors: [batch/2], exporters: [forward/2]}
    traces/3: {receivers: [otlp], processors: [batch], exporters: [forward]}
",
        );
        let load = Load { requests: 10, spans: 3, ..Load::default() };
        fixture.start_client(load.clone());
        fixture.sim.run_for(30 * SEC);
        assert!(fixture.delivered().is_empty() && fixture.held_items() == 30, "seed {seed}");
        fixture.sim.close(fixture.collector, 25 * SEC);
        fixture.sim.run_for(30 * SEC);
        assert_eq!(fixture.delivered(), load.span_ids(), "seed {seed}");
    }
}
