//! OTLP to another collector: what is sent again and when, and what is not.

use std::time::Duration;

use otelcore::pipeline::{ComponentStatus, ComponentStatusEntry, StatusTable};
use otelcore_http::{Bytes, Code, Status};

use crate::backend::PlannedResponse;
use crate::client::Load;
use crate::fixture::{Fixture, SEC, collector_graph, config_yaml, jaeger_exporter, otlp_exporter, seeds};

/// One request of four spans; the first responses to it are `responses`.
fn run_with_responses(
    seed: u64,
    exporter: &str,
    responses: impl IntoIterator<Item = PlannedResponse>,
) -> (Fixture, Load) {
    let mut fixture = Fixture::new(seed, "", exporter);
    fixture.backend.borrow_mut().next_responses = responses.into_iter().collect();
    let load = Load { spans: 4, ..Load::default() };
    fixture.start_client(load.clone());
    fixture.sim.run_for(60 * SEC);
    (fixture, load)
}

#[test]
fn retryable_status_is_retried_after_the_delay_that_the_peer_requested() {
    for seed in seeds() {
        let busy = Status::resource_exhausted("busy").with_retry_after(11 * SEC);
        let (fixture, load) = run_with_responses(seed, &otlp_exporter(""), [PlannedResponse::error(busy)]);
        let requests = &fixture.backend.borrow().requests;
        assert_eq!(requests.len(), 2, "seed {seed}");
        assert!(requests[1].at.since(requests[0].at) >= 11 * SEC, "seed {seed}");
        assert_eq!(fixture.delivered(), load.span_ids(), "seed {seed}");
        for code in [Code::Canceled, Code::Aborted, Code::OutOfRange, Code::Unavailable, Code::DataLoss] {
            let (fixture, load) =
                run_with_responses(seed, &otlp_exporter(""), [PlannedResponse::error(Status::new(code, "not now"))]);
            assert_eq!(fixture.delivered(), load.span_ids(), "seed {seed}: {code:?}");
            assert!(fixture.log.drops().is_empty(), "seed {seed}");
        }
    }
}

#[test]
fn permanent_status_drops_the_spans_at_once_and_is_logged() {
    for seed in seeds().take(3) {
        for code in
            [Code::ResourceExhausted, Code::InvalidArgument, Code::Unauthenticated, Code::Internal, Code::Unknown]
        {
            let (fixture, load) =
                run_with_responses(seed, &otlp_exporter(""), [PlannedResponse::error(Status::new(code, "never"))]);
            assert_eq!(
                (fixture.backend.borrow().requests.len(), fixture.acknowledged()),
                (1, load.span_ids()),
                "seed {seed}"
            );
            let drops = fixture.log.drops();
            assert!(drops.len() == 1 && drops[0].1 == 4, "seed {seed}: {drops:?}");
            assert!(drops[0].0.contains(&format!("code = {} desc = never", code.name())), "{drops:?}");
            assert_eq!((fixture.held_items(), fixture.held_bytes()), (0, 0), "seed {seed}");
        }
    }
}

#[test]
fn partial_success_is_logged_and_not_retried() {
    for seed in seeds().take(3) {
        // ExportTracePartialSuccess{rejected_spans: 3, error_message: "too old"}
        let reply = Bytes::from_static(b"\x0a\x0b\x08\x03\x12\x07too old");
        let (fixture, load) =
            run_with_responses(seed, &otlp_exporter(""), [PlannedResponse { reply, ..PlannedResponse::default() }]);
        assert_eq!((fixture.backend.borrow().requests.len(), fixture.delivered()), (1, load.span_ids()), "seed {seed}");
        assert_eq!(fixture.log.count_with(&["Partial success response", "too old"]), 1, "seed {seed}");
        assert!(fixture.log.drops().is_empty(), "seed {seed}");
        assert_eq!(fixture.held_bytes(), 0, "seed {seed}");
    }
}

#[test]
fn queue_batches_arrive_complete_with_every_compression() {
    for (seed, coding) in seeds().zip(["none", "gzip", "zstd", "snappy"].into_iter().cycle()).take(8) {
        let more = format!(
            "compression: {coding}\nsending_queue: {{batch: {{min_size: 40, max_size: 50, flush_timeout: 300ms}}}}"
        );
        let mut fixture = Fixture::new(seed, "", &otlp_exporter(&more));
        let load = Load { requests: 100, spans: 7, interval: Duration::from_millis(20), ..Load::default() };
        fixture.start_client(load.clone());
        fixture.sim.run_for(30 * SEC);
        assert_eq!(
            (fixture.acknowledged(), fixture.delivered()),
            (load.span_ids(), load.span_ids()),
            "seed {seed} {coding}"
        );
        let sizes: Vec<usize> = fixture.backend.borrow().requests.iter().map(|post| post.ids.len()).collect();
        assert!(sizes.iter().all(|size| *size <= 50) && sizes.len() < 20, "seed {seed} {coding}: {sizes:?}");
        assert_eq!((fixture.held_items(), fixture.held_bytes()), (0, 0), "seed {seed} {coding}");
    }
}

#[test]
fn agent_keeps_data_while_the_gateway_restarts() {
    for seed in seeds().take(8) {
        // The gateway is a collector too; what it has acknowledged is at the backend before it stops.
        let mut fixture = Fixture::new(seed, "", &otlp_exporter("").replace("jaeger:14250", "gateway:4317"));
        let (graph, _) = collector_graph(&config_yaml("", &otlp_exporter("")));
        let gateway = fixture.sim.add_node("gateway", graph).unwrap();
        let load = Load { requests: 400, spans: 3, interval: Duration::from_millis(20), ..Load::default() };
        fixture.start_client(load.clone());
        fixture.sim.run_for(3 * SEC);
        fixture.sim.close(gateway, 10 * SEC);
        fixture.sim.run_for(4 * SEC);
        let (graph, _) = collector_graph(&config_yaml("", &otlp_exporter("")));
        fixture.sim.restart(gateway, graph).unwrap();
        fixture.sim.run_for(90 * SEC);
        assert_eq!((fixture.acknowledged(), fixture.missing()), (load.span_ids(), Default::default()), "seed {seed}");
        assert_eq!((fixture.held_items(), fixture.held_bytes()), (0, 0), "seed {seed}");
        assert!(fixture.log.drops().is_empty(), "seed {seed}");
    }
}

#[test]
fn spans_of_the_jaeger_exporter_arrive_through_the_jaeger_receiver() {
    for seed in seeds().take(3) {
        let mut fixture = Fixture::new(seed, "  batch:", &jaeger_exporter("").replace("jaeger:14250", "gateway:14250"));
        let otlp = config_yaml("", &otlp_exporter(""));
        let gateway = otlp.replace("0.0.0.0:4317", "0.0.0.0:14250").replace("  otlp:\n", "  jaeger:\n");
        let (graph, log) = collector_graph(&gateway.replace("receivers: [otlp]", "receivers: [jaeger]"));
        fixture.sim.add_node("gateway", graph).unwrap();
        let load = Load { requests: 200, spans: 5, interval: Duration::from_millis(20), ..Load::default() };
        fixture.start_client(load.clone());
        fixture.sim.run_for(30 * SEC);
        assert_eq!((fixture.acknowledged(), fixture.delivered()), (load.span_ids(), load.span_ids()), "seed {seed}");
        assert_eq!((fixture.held_items(), fixture.held_bytes()), (0, 0), "seed {seed}");
        assert!(fixture.log.drops().is_empty() && log.drops().is_empty(), "seed {seed}");
    }
}

fn status_of(table: &StatusTable, kind: &str) -> ComponentStatusEntry {
    table.entries().into_iter().find(|entry| entry.kind == kind).unwrap()
}

#[test]
fn exporter_whose_peer_goes_and_returns_has_a_recoverable_error_meanwhile() {
    for seed in seeds().take(5) {
        let mut fixture = Fixture::new(seed, "  batch:", &otlp_exporter(""));
        let statuses = fixture.sim.graph(fixture.collector).unwrap().statuses().clone();
        let kinds: Vec<_> = statuses.entries().iter().map(|entry| (entry.kind, entry.status)).collect();
        let ok = ComponentStatus::Ok;
        assert_eq!(kinds, [("exporter", ok), ("receiver", ok), ("processor", ok)], "seed {seed}");
        assert_eq!(status_of(&statuses, "processor").instance, "traces");
        let started = status_of(&statuses, "exporter").changed_at;

        fixture.sim.kill(fixture.backend_node);
        fixture.start_client(Load { requests: 3, spans: 4, ..Load::default() });
        fixture.sim.run_for(10 * SEC);
        let failed = status_of(&statuses, "exporter");
        assert_eq!(failed.status, ComponentStatus::RecoverableError, "seed {seed}: {failed:?}");
        assert!(failed.message.contains("Unavailable") && failed.changed_at > started, "seed {seed}: {failed:?}");
        assert_eq!(status_of(&statuses, "receiver").status, ok, "seed {seed}");

        fixture.start_backend();
        fixture.sim.run_for(60 * SEC);
        assert!(fixture.missing().is_empty(), "seed {seed}");
        let returned = status_of(&statuses, "exporter");
        assert_eq!((returned.status, returned.message.as_str()), (ok, ""), "seed {seed}");
        assert!(returned.changed_at > failed.changed_at, "seed {seed}");

        fixture.sim.close(fixture.collector, 20 * SEC);
        fixture.sim.run_for(20 * SEC);
        assert!(statuses.entries().iter().all(|entry| entry.status == ComponentStatus::Stopped), "seed {seed}");
    }
}

#[test]
fn exporter_status_is_permanent_after_a_final_refusal_until_the_next_success() {
    let mut fixture = Fixture::new(0, "", &otlp_exporter(""));
    let statuses = fixture.sim.graph(fixture.collector).unwrap().statuses().clone();
    let never = Status::new(Code::PermissionDenied, "never");
    fixture.backend.borrow_mut().default_response = PlannedResponse::error(never);
    fixture.start_client(Load { spans: 4, ..Load::default() });
    fixture.sim.run_for(10 * SEC);
    let refused = status_of(&statuses, "exporter");
    assert_eq!(refused.status, ComponentStatus::PermanentError, "{refused:?}");
    assert!(refused.message.contains("never"), "{refused:?}");
    fixture.backend.borrow_mut().default_response = PlannedResponse::default();
    fixture.start_client(Load { client: 2, spans: 4, ..Load::default() });
    fixture.sim.run_for(10 * SEC);
    assert_eq!(status_of(&statuses, "exporter").status, ComponentStatus::Ok);
}

#[test]
fn receiver_that_accepts_no_connections_has_a_recoverable_error_meanwhile() {
    let mut fixture = Fixture::new(0, "", &otlp_exporter(""));
    let statuses = fixture.sim.graph(fixture.collector).unwrap().statuses().clone();
    fixture.sim.set_accept_error(fixture.collector, Some("too many open files"));
    fixture.start_client(Load { spans: 4, ..Load::default() });
    fixture.sim.run_for(SEC);
    let failed = status_of(&statuses, "receiver");
    assert_eq!(failed.status, ComponentStatus::RecoverableError, "{failed:?}");
    assert_eq!(failed.message, "connections can't be accepted: too many open files");
    fixture.sim.set_accept_error(fixture.collector, None);
    fixture.sim.run_for(SEC);
    assert_eq!(status_of(&statuses, "receiver").status, ComponentStatus::Ok);
}
