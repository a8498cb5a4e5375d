//! Connectors that choose pipelines: `routing` and `failover` while backends go and return.

use std::collections::BTreeSet;

use otelcore::reactor::NodeId;

use crate::backend::{SharedBackendState, backend_graph};
use crate::client::Load;
use crate::fixture::{Fixture, MS, SEC, new_sim, seeds};

/// A collector with this connector between a receiver and two backends; `queue` is that of the exporters.
fn yaml(connectors: &str, name: &str, queue: &str) -> String {
    format!(
        "receivers: {{otlp: {{protocols: {{grpc: {{endpoint: '0.0.0.0:4317'}}}}}}}}
exporters:
  otlp_grpc/1: {{endpoint: 'jaeger:14250', tls: {{insecure: true}}, timeout: 2s, {queue}}}
  otlp_grpc/2: {{endpoint: 'second:14250', tls: {{insecure: true}}, timeout: 2s, {queue}}}
connectors:
  {connectors}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    traces/in: {{receivers: [otlp], exporters: [{name}]}}
    traces/1: {{receivers: [{name}], exporters: [otlp_grpc/1]}}
    traces/2: {{receivers: [{name}], exporters: [otlp_grpc/2]}}
"
    )
}

const NO_QUEUE: &str = "sending_queue: {enabled: false}, retry_on_failure: {enabled: false}";

/// A collector, the backend of the fixture, and a second one.
struct TwoBackends {
    fixture: Fixture,
    second: SharedBackendState,
    second_node: NodeId,
}

impl TwoBackends {
    fn new(seed: u64, yaml: &str) -> Self {
        let second = SharedBackendState::default();
        let mut sim = new_sim(seed);
        let second_node = sim.add_node("second", backend_graph(&second)).unwrap();
        Self { fixture: Fixture::with_yaml(sim, seed, yaml), second, second_node }
    }

    fn start_second(&mut self) {
        self.fixture.sim.restart(self.second_node, backend_graph(&self.second)).unwrap();
    }

    fn delivered(&self) -> (BTreeSet<u64>, BTreeSet<u64>) {
        (self.fixture.delivered(), self.second.borrow().delivered())
    }

    /// How often a backend has accepted a span.
    fn accepted(&self) -> usize {
        let count = |state: &SharedBackendState| -> usize {
            state.borrow().requests.iter().filter(|request| request.accepted).map(|request| request.ids.len()).sum()
        };
        count(&self.fixture.backend) + count(&self.second)
    }
}

#[test]
fn spans_arrive_once_where_their_route_leads() {
    let routing = "routing: {default_pipelines: [traces/2], table: [{condition: 'attributes[\"service.name\"] == \"client-1\"', pipelines: [traces/1]}]}";
    for seed in seeds().take(5) {
        let mut both = TwoBackends::new(seed, &yaml(routing, "routing", ""));
        let loads = [1, 2].map(|client| Load { client, requests: 20, spans: 3, ..Load::default() });
        loads.iter().for_each(|load| drop(both.fixture.start_client(load.clone())));
        // What is retried comes later, and to the same pipeline.
        both.fixture.sim.run_for(SEC + 50 * MS);
        both.fixture.sim.kill(both.fixture.backend_node);
        both.fixture.sim.run_for(10 * SEC);
        both.fixture.start_backend();
        both.fixture.sim.run_for(60 * SEC);
        let expected = (loads[0].span_ids(), loads[1].span_ids());
        assert_eq!(both.delivered(), expected, "seed {seed}");
        assert_eq!(both.fixture.acknowledged(), &expected.0 | &expected.1, "seed {seed}");
        assert_eq!((both.fixture.held_items(), both.fixture.held_bytes()), (0, 0), "seed {seed}");
    }
}

#[test]
fn level_that_goes_and_returns_loses_nothing() {
    let failover =
        "failover: {priority_levels: [[traces/1], [traces/2]], retry_interval: 5s, sending_queue: {enabled: false}}";
    for seed in seeds().take(8) {
        let mut both = TwoBackends::new(seed, &yaml(failover, "failover", NO_QUEUE));
        let load = Load { requests: 300, spans: 2, interval: 100 * MS, retry: true, ..Load::default() };
        both.fixture.start_client(load.clone());
        both.fixture.sim.run_for(8 * SEC);
        assert!(both.second.borrow().requests.is_empty(), "seed {seed}: the first level accepts all");
        both.fixture.sim.kill(both.fixture.backend_node);
        both.fixture.sim.run_for(7 * SEC);
        both.fixture.start_backend();
        both.fixture.sim.run_for(60 * SEC);
        let (first, second) = both.delivered();
        assert_eq!(both.fixture.acknowledged(), load.span_ids(), "seed {seed}");
        assert_eq!(&first | &second, load.span_ids(), "seed {seed}");
        assert!(first.contains(load.span_ids().last().unwrap()), "seed {seed}: the first level is used again");
        // Twice are only those whose response the end of the backend has lost.
        assert!(second.len() > 50 && both.accepted() <= load.span_ids().len() + 6, "seed {seed}: {}", both.accepted());
        assert_eq!((both.fixture.held_items(), both.fixture.held_bytes()), (0, 0), "seed {seed}");
    }
}

#[test]
fn queue_of_failover_keeps_what_no_level_accepts() {
    let failover = "failover: {priority_levels: [[traces/1], [traces/2]], retry_interval: 5s}";
    for seed in seeds().take(5) {
        let mut both = TwoBackends::new(seed, &yaml(failover, "failover", NO_QUEUE));
        both.fixture.sim.kill(both.fixture.backend_node);
        both.fixture.sim.kill(both.second_node);
        let load = Load { requests: 50, spans: 2, ..Load::default() };
        both.fixture.start_client(load.clone());
        both.fixture.sim.run_for(20 * SEC);
        assert_eq!((both.fixture.acknowledged(), both.accepted()), (load.span_ids(), 0), "seed {seed}");
        assert_eq!(both.fixture.held_items(), 100, "seed {seed}");
        both.start_second();
        both.fixture.sim.run_for(120 * SEC);
        assert_eq!(both.delivered(), (BTreeSet::new(), load.span_ids()), "seed {seed}");
        assert_eq!((both.accepted(), both.fixture.held_items(), both.fixture.held_bytes()), (100, 0, 0), "seed {seed}");
    }
}

#[test]
fn shutdown_delivers_what_the_queue_of_failover_holds() {
    let failover = "failover: {priority_levels: [[traces/1], [traces/2]], retry_interval: 5s}";
    for seed in seeds().take(5) {
        let mut both = TwoBackends::new(seed, &yaml(failover, "failover", NO_QUEUE));
        both.fixture.sim.kill(both.fixture.backend_node);
        both.fixture.sim.kill(both.second_node);
        let load = Load { requests: 50, spans: 2, ..Load::default() };
        both.fixture.start_client(load.clone());
        both.fixture.sim.run_for(10 * SEC);
        let collector = both.fixture.collector;
        both.fixture.sim.close(collector, 25 * SEC);
        both.fixture.sim.run_for(5 * SEC);
        both.start_second();
        both.fixture.sim.run_for(30 * SEC);
        assert_eq!(both.delivered().1, load.span_ids(), "seed {seed}");
        assert_eq!(both.accepted(), 100, "seed {seed}");
    }
}

#[test]
fn round_robin_divides_payloads_evenly() {
    for seed in seeds().take(3) {
        let mut both = TwoBackends::new(seed, &yaml("roundrobin: ", "roundrobin", ""));
        let load = Load { requests: 30, spans: 2, ..Load::default() };
        both.fixture.start_client(load.clone());
        both.fixture.sim.run_for(30 * SEC);
        let (first, second) = both.delivered();
        assert_eq!((first.len(), second.len()), (30, 30), "seed {seed}");
        assert_eq!(&first | &second, load.span_ids(), "seed {seed}");
    }
}
