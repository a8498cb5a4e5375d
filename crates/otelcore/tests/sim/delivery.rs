//! What was acknowledged arrives, and what can't be kept is refused at the receiver.

use std::time::Duration;

use otelcore::pipeline::{MemorySample, ResolveError};
use otelcore_http::Code;

use crate::backend::{PlannedResponse, SharedBackendState, backend_graph};
use crate::client::Load;
use crate::fixture::{Fixture, MS, SEC, jaeger_exporter, seeds};

const BATCH: &str = "  batch: {timeout: 200ms, send_batch_size: 50}";

#[test]
fn backend_that_restarts_receives_all_acknowledged_spans() {
    for seed in seeds() {
        let mut fixture = Fixture::new(seed, BATCH, &jaeger_exporter(""));
        let load = Load { requests: 600, spans: 5, interval: 20 * MS, ..Load::default() };
        fixture.start_client(load.clone());
        fixture.sim.run_for(4 * SEC);
        fixture.sim.kill(fixture.backend_node);
        fixture.sim.run_for(4 * SEC);
        let before = fixture.sim.connect_times(fixture.collector).len();
        fixture.start_backend();
        let restarted_at = fixture.sim.now();
        fixture.sim.run_for(60 * SEC);
        assert_eq!(fixture.acknowledged(), load.span_ids(), "seed {seed}");
        assert_eq!(fixture.delivered(), load.span_ids(), "seed {seed}");
        // After about four seconds of failures the pause is at most 1.6^3 s, a fifth more or less.
        let retried_at = fixture.sim.connect_times(fixture.collector)[before];
        assert!(
            retried_at.since(restarted_at) <= Duration::from_millis(4916),
            "seed {seed}: {:?}",
            retried_at.since(restarted_at)
        );
        assert_eq!(fixture.sim.connect_times(fixture.collector).len(), before + 1, "seed {seed}");
        assert_eq!((fixture.held_items(), fixture.held_bytes()), (0, 0), "seed {seed}");
        assert!(fixture.log.drops().is_empty(), "seed {seed}");
    }
}

#[test]
fn backend_with_a_new_address_is_found_by_name() {
    for seed in seeds() {
        let mut fixture = Fixture::new(seed, BATCH, &jaeger_exporter(""));
        let load = Load { requests: 300, spans: 5, interval: 20 * MS, ..Load::default() };
        fixture.start_client(load.clone());
        fixture.sim.run_for(3 * SEC);
        fixture.sim.kill(fixture.backend_node);
        fixture.sim.set_lookup_result("jaeger", Err(ResolveError("server misbehaving".to_owned())));
        fixture.sim.run_for(3 * SEC);
        let new_node = fixture.sim.add_node("jaeger-2", backend_graph(&fixture.backend)).unwrap();
        fixture.sim.set_lookup_result("jaeger", Ok(vec![fixture.sim.address(new_node)]));
        fixture.sim.run_for(60 * SEC);
        assert_eq!(fixture.acknowledged(), load.span_ids(), "seed {seed}");
        assert_eq!(fixture.delivered(), load.span_ids(), "seed {seed}");
        assert_eq!(fixture.held_bytes(), 0, "seed {seed}");
    }
}

#[test]
fn requests_above_the_soft_limit_are_refused_retryably_and_none_is_lost() {
    for seed in seeds().take(5) {
        let processors = format!("  memory_limiter: {{check_interval: 1s, limit_mib: 2, spike_limit_mib: 1}}\n{BATCH}");
        let mut fixture = Fixture::new(seed, &processors, &jaeger_exporter(""));
        // Resident memory is far below the limit: the held bytes cause the refusals.
        fixture.sim.set_memory(fixture.collector, MemorySample { resident: 1 << 20, total: None });
        fixture.sim.run_for(2 * SEC);
        fixture.sim.kill(fixture.backend_node);
        // Two and a half times what the limiter accepts.
        let load = Load { requests: 50, spans: 50, padding: 1024, interval: 20 * MS, retry: true, ..Load::default() };
        let results = fixture.start_client(load.clone());
        fixture.sim.run_for(5 * SEC);
        assert!(results.borrow().errors().count() > 10, "seed {seed}");
        for (_, status) in results.borrow().errors() {
            assert_eq!((status.code, status.retry_after), (Code::Unavailable, Some(SEC)), "seed {seed}");
            assert_eq!(status.message, "data refused due to high memory usage", "seed {seed}");
        }
        // The refusals are logged once, not for each request.
        assert_eq!(fixture.log.count_with(&["Memory usage is above soft limit. Refusing data."]), 1, "seed {seed}");
        // Refused bodies were charged while they were read: what is held may be below the limit by the size of one
        // body.
        assert!((900 << 10..2 << 20).contains(&fixture.held_bytes()), "seed {seed}: {}", fixture.held_bytes());
        assert_ne!(fixture.acknowledged(), load.span_ids(), "seed {seed}");
        fixture.start_backend();
        fixture.sim.run_for(120 * SEC);
        assert_eq!(fixture.acknowledged(), load.span_ids(), "seed {seed}");
        assert_eq!(fixture.delivered(), load.span_ids(), "seed {seed}");
        assert_eq!(fixture.held_bytes(), 0, "seed {seed}");
    }
}

#[test]
fn full_queue_behind_a_batch_refuses_requests_and_loses_nothing() {
    for seed in seeds().take(5) {
        let exporter = jaeger_exporter(
            "sending_queue: {queue_size: 3, num_consumers: 1}\nretry_on_failure: {max_elapsed_time: 0s}",
        );
        let mut fixture = Fixture::new(seed, BATCH, &exporter);
        fixture.sim.kill(fixture.backend_node);
        let load = Load { requests: 200, spans: 5, interval: 10 * MS, retry: true, ..Load::default() };
        let results = fixture.start_client(load.clone());
        fixture.sim.run_for(20 * SEC);
        assert!(results.borrow().errors().count() > 10, "seed {seed}");
        for (_, status) in results.borrow().errors() {
            assert_eq!((status.code, &*status.message), (Code::Unavailable, "sending queue is full"), "seed {seed}");
        }
        // Three batches are in the queue, and the processor holds as many as it accepts before it refuses.
        let held = fixture.held_items();
        assert_eq!(held, fixture.acknowledged().len() as u64, "seed {seed}");
        assert!(held <= 3 * 50 + 2 * 50 + 50, "seed {seed}: {held}");
        fixture.start_backend();
        fixture.sim.run_for(120 * SEC);
        assert_eq!(fixture.acknowledged(), load.span_ids(), "seed {seed}");
        assert_eq!(fixture.delivered(), load.span_ids(), "seed {seed}");
        assert_eq!((fixture.held_items(), fixture.held_bytes()), (0, 0), "seed {seed}");
        assert!(fixture.log.drops().is_empty(), "seed {seed}");
    }
}

#[test]
fn exporter_that_fails_does_not_delay_the_other() {
    for seed in seeds() {
        let exporters = format!(
            "{}\n{}",
            jaeger_exporter(""),
            jaeger_exporter("").replace("jaeger:\n", "jaeger/b:\n").replace("jaeger:1", "other:1")
        );
        let mut fixture = Fixture::with_exact_latency(seed, "  batch: {timeout: 100ms}", &exporters);
        let other_backend = SharedBackendState::default();
        let other_node = fixture.sim.add_node("other", backend_graph(&other_backend)).unwrap();
        fixture.sim.run_for(100 * MS);
        fixture.sim.kill(fixture.backend_node);
        let load = Load { requests: 100, spans: 5, interval: 20 * MS, ..Load::default() };
        let begun = fixture.sim.now();
        fixture.start_client(load.clone());
        fixture.sim.run_for(10 * SEC);
        assert_eq!(other_backend.borrow().delivered(), load.span_ids(), "seed {seed}");
        for post in &other_backend.borrow().requests {
            for id in &post.ids {
                let sent = begun + SEC + 20 * MS * (u32::try_from(id >> 16 & 0xffff).unwrap());
                assert!(post.at.since(sent) <= 103 * MS, "seed {seed}: {:?}", post.at.since(sent));
            }
        }
        assert_eq!((fixture.acknowledged(), fixture.delivered().len()), (load.span_ids(), 0), "seed {seed}");
        fixture.start_backend();
        fixture.sim.kill(other_node);
        fixture.sim.run_for(60 * SEC);
        assert_eq!(fixture.delivered(), load.span_ids(), "seed {seed}");
        assert_eq!(fixture.held_bytes(), 0, "seed {seed}");
    }
}

#[test]
fn request_that_times_out_is_sent_again() {
    for seed in seeds() {
        let mut fixture = Fixture::new(seed, "", &jaeger_exporter("timeout: 2s"));
        // The first response comes too late: the backend has the spans, and gets them again.
        fixture.backend.borrow_mut().next_responses =
            [PlannedResponse { delay: 3 * SEC, ..PlannedResponse::default() }].into();
        let load = Load { spans: 4, ..Load::default() };
        fixture.start_client(load.clone());
        fixture.sim.run_for(30 * SEC);
        let backend = fixture.backend.borrow();
        assert_eq!(backend.requests.len(), 2, "seed {seed}");
        let pause = backend.requests[1].at.since(backend.requests[0].at);
        assert!(pause >= 4 * SEC && pause <= 10 * SEC, "seed {seed}: {pause:?}");
        assert_eq!(backend.delivered(), load.span_ids(), "seed {seed}");
    }
}

#[test]
fn accept_failure_is_logged_once_and_later_connections_are_accepted() {
    for seed in seeds().take(5) {
        let mut fixture = Fixture::new(seed, "", &jaeger_exporter(""));
        let error = "accept tcp 0.0.0.0:4317: accept4: too many open files";
        fixture.sim.set_accept_error(fixture.collector, Some(error));
        let load = Load { requests: 10, spans: 1, retry: true, ..Load::default() };
        fixture.start_client(load.clone());
        fixture.sim.run_for(9 * SEC);
        assert_eq!(fixture.log.count_with(&["Connections can't be accepted", error]), 1, "seed {seed}");
        assert!(fixture.acknowledged().is_empty(), "seed {seed}");
        fixture.sim.set_accept_error(fixture.collector, None);
        fixture.sim.run_for(60 * SEC);
        assert_eq!(fixture.delivered(), load.span_ids(), "seed {seed}");
        assert_eq!(fixture.log.count_with(&["Connections can't be accepted"]), 1, "seed {seed}");
    }
}
