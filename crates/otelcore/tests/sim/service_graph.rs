//! `service_graph`: each request between services is counted once, through exports, flushes, shutdowns and reloads.

use otelcore_http::Status;

use crate::backend::PlannedResponse;
use crate::client::Load;
use crate::fixture::{Fixture, MS, SEC, collector_graph, new_sim, seeds};
use crate::metric_connectors::{total, yaml};

/// `SpanKind`.
const SERVER: i32 = 2;
const CLIENT: i32 = 3;

const REQUESTS: &str = "traces_service_graph_request_total";
const CLIENT_LATENCIES: &str = "traces_service_graph_request_client";

/// Spans wait for as long as a test takes.
const PATIENT: &str = "{service_graph: {metrics_flush_interval: 700ms, store: {ttl: 1h, max_items: 200000}}}";

/// A collector whose backend refuses some of the metrics.
fn fixture(seed: u64, connectors: &str) -> Fixture {
    let fixture = Fixture::with_yaml(new_sim(seed), seed, &yaml(connectors, "service_graph"));
    for n in 0..6 {
        let response =
            if n % 2 == 0 { PlannedResponse::error(Status::unavailable("later")) } else { PlannedResponse::default() };
        fixture.backend.borrow_mut().next_responses.push_back(response);
    }
    fixture
}

/// Clients that send the two spans of each request: `client` those that ask, `client + 1` those that answer, which come
/// later by up to a second or earlier.
fn start_pair(fixture: &mut Fixture, client: u64, load: &Load) {
    let traces = load.requests * load.spans;
    let asking = Load { client, kind: CLIENT, traces, ..load.clone() };
    let delay = (fixture.seed as u32 * 131 % 1000) * MS;
    let later = asking.start_after + delay;
    let answering = Load { client: client + 1, kind: SERVER, parents: client, start_after: later, ..asking.clone() };
    let (first, second) = if fixture.seed.is_multiple_of(2) { (asking, answering) } else { (answering, asking) };
    fixture.start_client(first);
    fixture.start_client(second);
}

fn small() -> Load {
    Load { requests: 60, spans: 5, interval: 13 * MS, retry: true, ..Load::default() }
}

/// Requests of which both spans were acknowledged.
fn pairs(fixture: &Fixture, client: u64) -> u64 {
    const NUMBER: u64 = (1 << 48) - 1;
    let acknowledged = fixture.acknowledged();
    let of = |client: u64| acknowledged.iter().filter(move |id| **id >> 48 == client);
    of(client).filter(|id| acknowledged.contains(&((client + 1) << 48 | **id & NUMBER))).count() as u64
}

#[test]
fn each_request_is_counted_once_through_exports_and_a_shutdown() {
    for seed in seeds().take(6) {
        let mut fixture = fixture(seed, PATIENT);
        start_pair(&mut fixture, 1, &small());
        start_pair(&mut fixture, 3, &Load { interval: 7 * MS, ..small() });
        // Payloads that a helper thread reads.
        start_pair(&mut fixture, 5, &Load { requests: 1, spans: 20_000, padding: 30, ..Load::default() });
        fixture.sim.run_for(2 * SEC);
        fixture.sim.run_for((seed as u32 * 37) * MS);
        fixture.sim.close(fixture.collector, 25 * SEC);
        fixture.sim.run_for(40 * SEC);
        // The spans of clients whose last requests were refused by the shutdown have no pair.
        let expected: u64 = [1, 3, 5].iter().map(|client| pairs(&fixture, *client)).sum();
        let (requests, latencies) = (total(&fixture, REQUESTS, false), total(&fixture, CLIENT_LATENCIES, false));
        assert_eq!((requests, latencies), (expected, expected), "seed {seed}");
        assert!(expected > 20_000, "seed {seed}: {expected}");
        assert_eq!(fixture.sim.undelivered(fixture.collector).unwrap().total(), 0, "seed {seed}");
    }
}

#[test]
fn each_request_is_counted_once_through_a_reload() {
    for seed in seeds().take(6) {
        let mut fixture = fixture(seed, PATIENT);
        start_pair(&mut fixture, 1, &small());
        fixture.sim.run_for(4 * SEC);
        // As on SIGHUP: the running graph drains, then the new one starts.
        fixture.sim.close(fixture.collector, 25 * SEC);
        fixture.sim.run_for(10 * SEC);
        let (graph, _) = collector_graph(&yaml(PATIENT, "service_graph"));
        fixture.sim.restart(fixture.collector, graph).unwrap();
        start_pair(&mut fixture, 3, &small());
        fixture.sim.run_for(40 * SEC);
        assert_eq!((pairs(&fixture, 1), pairs(&fixture, 3)), (300, 300), "seed {seed}");
        assert_eq!(total(&fixture, REQUESTS, false), 600, "seed {seed}");
        assert_eq!((fixture.held_items(), fixture.held_bytes()), (0, 0), "seed {seed}");
    }
}

#[test]
fn flush_exports_the_requests_of_everything_that_is_acknowledged() {
    for seed in seeds().take(6) {
        let mut fixture = fixture(seed, "{service_graph: {store: {ttl: 1h}}}");
        start_pair(&mut fixture, 1, &small());
        fixture.sim.run_for(5 * SEC);
        assert!(fixture.backend.borrow().metrics_requests.is_empty(), "seed {seed}");
        fixture.sim.flush(fixture.collector);
        fixture.sim.run_for(20 * SEC);
        assert_eq!((pairs(&fixture, 1), total(&fixture, REQUESTS, false)), (300, 300), "seed {seed}");
        assert_eq!((fixture.held_items(), fixture.held_bytes()), (0, 0), "seed {seed}");
    }
}

#[test]
fn request_without_its_other_span_is_counted_once_when_it_expires() {
    for seed in seeds().take(6) {
        let mut fixture = fixture(seed, "{service_graph: {metrics_flush_interval: 700ms, store: {max_items: 200000}}}");
        // Spans of servers that nobody in the graph has asked.
        for client in 1..=3 {
            fixture.start_client(Load { client, kind: SERVER, ..small() });
        }
        fixture.sim.run_for(30 * SEC);
        assert_eq!(fixture.acknowledged().len(), 900, "seed {seed}");
        assert_eq!(total(&fixture, REQUESTS, false), 900, "seed {seed}");
        assert_eq!((fixture.held_items(), fixture.held_bytes()), (0, 0), "seed {seed}");
    }
}
