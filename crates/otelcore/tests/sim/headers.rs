//! `headers_setter`: header fields that came with the telemetry, through `batch` and the sending queue to the destination.

use otelcore_http::Status;

use crate::backend::PlannedResponse;
use crate::client::Load;
use crate::fixture::{Fixture, SEC, new_sim, seeds};

/// Two senders with a header field each, and a collector that sends it on as `x-tenant`.
fn run(seed: u64, processors: &str, batch: &str, queue: &str, source: &str) -> (Fixture, [Load; 2]) {
    let yaml = format!(
        "extensions:\n  headers_setter: {{headers: [{{action: upsert, key: X-Tenant, {source}}}]}}\n\
         receivers:\n  otlp:\n    protocols: {{grpc: {{endpoint: \"0.0.0.0:4317\", include_metadata: true}}}}\n\
         processors:\n  batch: {{timeout: 500ms{batch}}}\nexporters:\n  otlp_grpc:\n    endpoint: jaeger:14250\n    tls: {{insecure: true}}\n    \
         auth: {{authenticator: headers_setter}}\n    sending_queue: {{{queue}}}\nservice:\n  \
         extensions: [headers_setter]\n  telemetry: {{metrics: {{level: none}}}}\n  pipelines:\n    traces: {{receivers: \
         [otlp], processors: [{processors}], exporters: [otlp_grpc]}}\n"
    );
    let mut fixture = Fixture::with_yaml(new_sim(seed), seed, &yaml);
    // The first request is sent again.
    fixture.backend.borrow_mut().next_responses = [PlannedResponse::error(Status::unavailable("not now"))].into();
    let load =
        |client, authorization| Load { client, authorization: Some(authorization), requests: 30, ..Load::default() };
    let loads = [load(1, "tenant-1"), load(2, "tenant-2")];
    loads.iter().for_each(|load| drop(fixture.start_client(load.clone())));
    fixture.sim.run_for(60 * SEC);
    (fixture, loads)
}

#[test]
fn requests_have_the_field_of_the_sender_of_their_spans() {
    let batched = "batch: {min_size: 10, flush_timeout: 1s, partition: {metadata_keys: [authorization]}}";
    for (processors, batch, queue) in
        [("", "", ""), ("batch", ", metadata_keys: [authorization]", ""), ("", "", batched), ("", "", "enabled: false")]
    {
        for seed in seeds().take(5) {
            let (fixture, loads) = run(seed, processors, batch, queue, "from_context: Authorization");
            let state = fixture.backend.borrow();
            for request in &state.requests {
                let tenants: std::collections::BTreeSet<u64> = request.ids.iter().map(|id| id >> 48).collect();
                assert_eq!(tenants.len(), 1, "seed {seed}: {processors} {queue}: spans of two senders in one request");
                let expected = format!("tenant-{}", tenants.first().unwrap());
                assert_eq!(request.tenant, Some(expected), "seed {seed}: {processors} {queue}");
            }
            if queue != "enabled: false" {
                let all = loads.iter().flat_map(Load::span_ids).collect();
                assert_eq!(state.delivered(), all, "seed {seed}: {processors} {queue}");
                assert!(state.requests.iter().any(|request| !request.accepted), "seed {seed}");
            }
        }
    }
}

#[test]
fn batch_without_metadata_keys_sends_the_default_for_all() {
    let source = "from_context: authorization, default_value: nobody";
    for (processors, queue) in [("batch", ""), ("", "batch: {min_size: 10, flush_timeout: 1s}")] {
        let (fixture, loads) = run(1, processors, "", queue, source);
        let state = fixture.backend.borrow();
        assert!(state.requests.iter().all(|request| request.tenant.as_deref() == Some("nobody")), "{processors}");
        assert_eq!(state.delivered(), loads.iter().flat_map(Load::span_ids).collect(), "{processors}");
    }
}
