//! `k8s_objects` and `k8s_leader_elector` beside an API server that is killed, forgets its history, and grants a lease to one
//! of two collectors.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use otelcore::reactor::{NodeId, Sim};

use crate::backend::{SharedBackendState, backend_graph};
use crate::fixture::{OTLP_EXPORTER, SEC, collector_graph, seeds};
use crate::kubernetes::{KUBECONFIG, SharedCluster, TOKEN, api_server};

struct World {
    sim: Sim,
    cluster: SharedCluster,
    api: NodeId,
    collectors: Vec<NodeId>,
    backend: SharedBackendState,
    with_election: bool,
}

impl World {
    fn new(seed: u64, with_election: bool) -> Self {
        let mut sim = Sim::new(seed);
        let backend = SharedBackendState::default();
        sim.add_node("jaeger", backend_graph(&backend)).unwrap();
        let cluster = SharedCluster::default();
        cluster.borrow_mut().token = "first".to_owned();
        let api = sim.add_node("api", api_server(&cluster, 0)).unwrap();
        Self { sim, cluster, api, collectors: Vec::new(), backend, with_election }
    }

    fn yaml(&self) -> String {
        let (elector, extensions) = if self.with_election {
            ("k8s_leader_elector: k8s_leader_elector, ", "extensions: [k8s_leader_elector], ")
        } else {
            ("", "")
        };
        format!(
            "extensions: {{k8s_leader_elector: {{auth_type: kubeConfig, lease_name: l, lease_namespace: n}}}}\n\
             receivers: {{k8s_objects: {{auth_type: kubeConfig, {elector}objects: [{{name: pods, mode: watch}}]}}}}\n\
             exporters:\n{OTLP_EXPORTER}\n\
             service: {{{extensions}telemetry: {{metrics: {{level: none}}}}, \
             pipelines: {{logs: {{receivers: [k8s_objects], exporters: [otlp_grpc]}}}}}}\n"
        )
    }

    fn add_collector(&mut self) {
        let collector = self.sim.add_machine(&format!("collector-{}", self.collectors.len()));
        self.sim.set_env(collector, "KUBECONFIG", "/etc/kube/config");
        self.sim.disk(collector).write("/etc/kube/config", KUBECONFIG);
        self.sim.disk(collector).write(TOKEN, "first");
        self.collectors.push(collector);
        self.start_collector(self.collectors.len() - 1);
    }

    fn start_collector(&mut self, index: usize) {
        let (graph, _) = collector_graph(&self.yaml());
        self.sim.restart(self.collectors[index], graph).unwrap();
    }

    /// Sets pods of these numbers, one each second.
    fn set_pods(&mut self, numbers: std::ops::Range<u32>) {
        for number in numbers {
            self.cluster.borrow_mut().set_pod(&format!("pod-{number}"), "192.0.2.1");
            self.sim.run_for(SEC);
        }
    }

    /// How often each pod was delivered.
    fn delivered(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for entry in self.backend.borrow().logs_requests.iter().flat_map(|request| &request.resource_logs) {
            for record in entry.scope_logs.iter().flat_map(|scope| &scope.log_records) {
                let name = record.attributes.iter().find(|attribute| attribute.key == "event.name").unwrap();
                let Some(Value::StringValue(name)) = name.value.as_ref().and_then(|value| value.value.clone()) else {
                    unreachable!()
                };
                *counts.entry(name).or_default() += 1;
            }
        }
        counts
    }

    /// Pods of these numbers were delivered once.
    fn check_delivered_once(&self, numbers: std::ops::Range<u32>, seed: u64) {
        let delivered = self.delivered();
        for number in numbers {
            let count = delivered.get(&format!("pod-{number}"));
            assert_eq!(count, Some(&1), "seed {seed}, pod {number}: {delivered:?}");
        }
        assert!(delivered.values().all(|count| *count == 1), "seed {seed}: {delivered:?}");
    }
}

#[test]
fn one_of_two_collectors_reads_and_the_other_takes_over_when_the_lease_has_ended() {
    for seed in seeds().take(3) {
        let mut world = World::new(seed, true);
        world.add_collector();
        world.sim.run_for(5 * SEC);
        world.add_collector();
        world.sim.run_for(5 * SEC);
        let first = world.cluster.borrow().leader();
        assert_eq!((first.is_empty(), world.cluster.borrow().watches), (false, 1), "seed {seed}");
        world.set_pods(0..10);
        world.sim.kill(world.collectors[0]);
        // The lease is valid for 15 seconds after its last renewal, which was at most 2 seconds ago.
        world.sim.run_for(12 * SEC);
        assert_eq!(world.cluster.borrow().leader(), first, "seed {seed}");
        world.sim.run_for(13 * SEC);
        assert_ne!(world.cluster.borrow().leader(), first, "seed {seed}");
        assert_eq!(world.cluster.borrow().watches, 1, "seed {seed}");
        world.set_pods(20..30);
        // It comes back, and does not lead.
        world.start_collector(0);
        world.set_pods(30..40);
        assert_eq!(world.cluster.borrow().watches, 1, "seed {seed}");
        world.check_delivered_once(0..10, seed);
        world.check_delivered_once(20..40, seed);
    }
}

#[test]
fn collector_that_shuts_down_gives_the_lease_to_the_other_one() {
    for seed in seeds().take(3) {
        let mut world = World::new(seed, true);
        world.add_collector();
        world.sim.run_for(5 * SEC);
        world.add_collector();
        world.sim.run_for(5 * SEC);
        let first = world.cluster.borrow().leader();
        world.sim.close(world.collectors[0], 10 * SEC);
        world.sim.run_for(7 * SEC);
        let second = world.cluster.borrow().leader();
        assert!(second != first && !second.is_empty(), "seed {seed}");
        world.set_pods(0..5);
        world.check_delivered_once(0..5, seed);
    }
}

#[test]
fn leader_without_an_api_server_stops_and_is_elected_again() {
    for seed in seeds().take(3) {
        let mut world = World::new(seed, true);
        world.add_collector();
        world.sim.run_for(5 * SEC);
        world.set_pods(0..5);
        world.sim.kill(world.api);
        world.sim.run_for(60 * SEC);
        let api = api_server(&world.cluster, 0);
        world.sim.restart(world.api, api).unwrap();
        world.sim.run_for(30 * SEC);
        world.set_pods(5..10);
        assert_eq!(world.cluster.borrow().watches, 1, "seed {seed}");
        world.check_delivered_once(0..10, seed);
    }
}

#[test]
fn changes_are_delivered_once_while_the_api_server_restarts_and_forgets() {
    for seed in seeds().take(3) {
        let mut world = World::new(seed, false);
        world.add_collector();
        world.sim.run_for(5 * SEC);
        world.set_pods(0..5);
        // Its history is kept: nothing is lost.
        world.sim.kill(world.api);
        world.set_pods(5..10);
        let api = api_server(&world.cluster, 0);
        world.sim.restart(world.api, api).unwrap();
        world.sim.run_for(60 * SEC);
        world.check_delivered_once(0..10, seed);
        // It is not: changes go on from the newest version.
        world.sim.kill(world.api);
        world.set_pods(10..12);
        world.cluster.borrow_mut().compact();
        let api = api_server(&world.cluster, 0);
        world.sim.restart(world.api, api).unwrap();
        world.sim.run_for(60 * SEC);
        world.set_pods(20..25);
        world.sim.run_for(5 * SEC);
        assert!(world.cluster.borrow().gone >= 1, "seed {seed}");
        world.check_delivered_once(20..25, seed);
        assert!(!world.delivered().contains_key("pod-10"), "seed {seed}");
    }
}
