//! The end of a collector: everything is delivered, or counted.

use otelcore_http::Status;

use crate::backend::PlannedResponse;
use crate::client::Load;
use crate::fixture::{Fixture, MS, SEC, jaeger_exporter, seeds};

const BATCH: &str = "  batch: {timeout: 5s, send_batch_size: 1000}";

fn steady_load(client: u64) -> Load {
    Load { client, requests: 1000, spans: 5, interval: 7 * MS, ..Load::default() }
}

#[test]
fn shutdown_under_load_delivers_all_acknowledged_spans() {
    for seed in seeds() {
        let mut fixture = Fixture::new(seed, BATCH, &jaeger_exporter(""));
        fixture.start_client(steady_load(1));
        fixture.start_client(steady_load(2));
        fixture.sim.run_for(3 * SEC + MS * u32::try_from(seed).unwrap());
        let start = fixture.sim.now();
        fixture.sim.close(fixture.collector, 25 * SEC);
        let collector = fixture.collector;
        while fixture.sim.undelivered(collector).is_none() && fixture.sim.now() < start + 30 * SEC {
            fixture.sim.run_for(MS);
        }
        assert_eq!(fixture.sim.undelivered(collector).unwrap().total(), 0, "seed {seed}");
        assert!(fixture.sim.now().since(start) < 3 * SEC, "seed {seed}: {:?}", fixture.sim.now().since(start));
        fixture.sim.run_for(5 * SEC);
        assert!(fixture.acknowledged().len() > 1000, "seed {seed}");
        assert!(fixture.missing().is_empty(), "seed {seed}: {}", fixture.missing().len());
    }
}

#[test]
fn shutdown_with_a_stopped_backend_ends_at_the_deadline_and_counts_every_span() {
    for seed in seeds() {
        let mut fixture = Fixture::new(seed, BATCH, &jaeger_exporter(""));
        fixture.start_client(steady_load(1));
        fixture.sim.run_for(2 * SEC);
        fixture.sim.kill(fixture.backend_node);
        fixture.sim.run_for(3 * SEC);
        fixture.sim.close(fixture.collector, 4 * SEC);
        fixture.sim.run_for(4 * SEC - MS);
        assert!(fixture.sim.undelivered(fixture.collector).is_none(), "seed {seed}");
        fixture.sim.run_for(MS);
        let undelivered = fixture.sim.undelivered(fixture.collector).unwrap().total();
        fixture.sim.run_for(SEC);
        assert_eq!(undelivered, fixture.missing().len() as u64, "seed {seed}");
        assert!(undelivered > 100, "seed {seed}");
    }
}

#[test]
fn shutdown_with_a_silent_client_delivers_the_requests_of_others() {
    for seed in seeds() {
        let mut fixture = Fixture::new(seed, "  batch: {timeout: 60s, send_batch_size: 100000}", &jaeger_exporter(""));
        fixture.sim.set_window(2000);
        fixture.start_client(steady_load(1));
        // Ten round trips for each request, so that there is always a request of which a part has arrived.
        fixture.start_client(Load { client: 2, spans: 100, padding: 200, requests: 100, ..Load::default() });
        fixture.sim.run_for(1500 * MS);
        let silent_node = fixture.clients[1].0;
        fixture.sim.partition(silent_node, fixture.collector);
        fixture.sim.run_for(SEC);
        fixture.sim.close(fixture.collector, 6 * SEC);
        fixture.sim.run_for(6 * SEC);
        assert_eq!(fixture.sim.undelivered(fixture.collector).unwrap().total(), 0, "seed {seed}");
        assert!(!fixture.acknowledged().is_empty() && fixture.missing().is_empty(), "seed {seed}");
    }
}

#[test]
fn spans_refused_permanently_during_shutdown_are_counted() {
    for seed in seeds() {
        let mut fixture = Fixture::new(seed, BATCH, &jaeger_exporter(""));
        fixture.start_client(Load { requests: 10, spans: 3, ..Load::default() });
        fixture.sim.run_for(3 * SEC);
        fixture.backend.borrow_mut().default_response =
            PlannedResponse::error(Status::invalid_argument("closed for today"));
        fixture.sim.close(fixture.collector, 10 * SEC);
        fixture.sim.run_for(10 * SEC);
        assert_eq!(fixture.acknowledged().len(), 30, "seed {seed}");
        assert_eq!(fixture.sim.undelivered(fixture.collector).unwrap().total(), 30, "seed {seed}");
    }
}

#[test]
fn retryable_refusal_during_shutdown_is_retried_within_the_timeout() {
    for seed in seeds() {
        let mut fixture = Fixture::new(seed, BATCH, &jaeger_exporter(""));
        fixture.start_client(Load { requests: 10, spans: 3, ..Load::default() });
        fixture.sim.run_for(3 * SEC);
        fixture.backend.borrow_mut().next_responses =
            vec![PlannedResponse::error(Status::unavailable("busy")); 12].into();
        fixture.sim.close(fixture.collector, 10 * SEC);
        fixture.sim.run_for(10 * SEC);
        assert_eq!(fixture.sim.undelivered(fixture.collector).unwrap().total(), 0, "seed {seed}");
        assert!(fixture.missing().is_empty(), "seed {seed}");
    }
}

#[test]
fn full_output_delays_neither_requests_nor_shutdown() {
    for seed in seeds() {
        let debug = "  debug: {verbosity: detailed, use_internal_logger: false}";
        let mut fixture = Fixture::new(seed, BATCH, &format!("{}\n{debug}", jaeger_exporter("")));
        fixture.sim.set_output_capacity(fixture.collector, "stdout", Some(2000));
        fixture.start_client(steady_load(1));
        fixture.sim.run_for(3 * SEC);
        assert!(fixture.sim.written_output(fixture.collector, "stdout").len() <= 2000, "seed {seed}");
        fixture.sim.close(fixture.collector, 25 * SEC);
        fixture.sim.run_for(3 * SEC);
        assert_eq!(fixture.sim.undelivered(fixture.collector).unwrap().total(), 0, "seed {seed}");
        assert!(fixture.acknowledged().len() > 1000 && fixture.missing().is_empty(), "seed {seed}");
    }
}
