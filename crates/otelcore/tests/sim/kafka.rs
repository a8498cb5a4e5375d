//! Agents that write to Kafka, brokers, and gateways that read from there in one group: what an agent has acknowledged arrives, and no
//! offset is committed before what it stands for.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use otelcore::reactor::{NodeId, Sim};
use otelcore_http::Status;

use crate::backend::{PlannedResponse, SharedBackendState, backend_graph};
use crate::client::{ClientResults, Load, client_graph};
use crate::fixture::{MS, SEC, collector_graph, config_yaml, new_sim, otlp_exporter, seeds};
use crate::kafka_broker::broker_graph;
use crate::kafka_cluster::{Cluster, SharedCluster};
use crate::kafka_coordinator::Coordinator;

const BROKERS: usize = 3;
const EXTENSIONS: &str =
    "extensions:\n  file_storage: {directory: /data, create_directory: true}\nservice:\n  extensions: [file_storage]\n";

fn broker_list() -> String {
    (0..BROKERS).map(|number| format!("'kafka-{number}:9092'")).collect::<Vec<_>>().join(", ")
}

/// An agent without a queue, whose clients are answered when Kafka has their data, or one with a queue on disk.
fn agent_yaml(has_storage: bool) -> String {
    let queue = if has_storage { "{storage: file_storage}" } else { "{enabled: false}" };
    let exporter = format!(
        "  kafka:\n    brokers: [{}]\n    traces: {{topic: spans}}\n    partition_traces_by_id: true\n    timeout: 2s\n    \
         metadata: {{refresh_interval: 5s}}\n    producer: {{required_acks: all, allow_auto_topic_creation: false}}\n    \
         sending_queue: {queue}\n    retry_on_failure: {{initial_interval: 100ms, max_interval: 1s, max_elapsed_time: 0s}}",
        broker_list()
    );
    let yaml = config_yaml("", &exporter);
    if has_storage { yaml.replace("service:\n", EXTENSIONS) } else { yaml }
}

/// How the gateways share partitions: among themselves, or as the brokers say (KIP-848).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Classic,
    Consumer,
}

/// What the gateways do with spans.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Work {
    Batches,
    /// Their offsets wait until traces are decided.
    Samples,
}

fn gateway_yaml(protocol: Protocol, work: Work) -> String {
    let options = match protocol {
        Protocol::Classic => "session_timeout: 4s\n    heartbeat_interval: 1s",
        Protocol::Consumer => "group_protocol: consumer",
    };
    let receiver = format!(
        "receivers:\n  kafka:\n    brokers: [{}]\n    group_id: gateways\n    initial_offset: earliest\n    {options}\n    \
         metadata: {{refresh_interval: 5s}}\n    traces: {{topics: [spans]}}\n    \
         autocommit: {{interval: 200ms}}\n    \
         error_backoff: {{enabled: true, initial_interval: 100ms, max_interval: 1s, max_elapsed_time: 0s}}\n",
        broker_list()
    );
    let exporter = otlp_exporter("retry_on_failure: {initial_interval: 100ms, max_interval: 1s, max_elapsed_time: 0s}");
    let processor = match work {
        Work::Batches => "  batch: {timeout: 100ms, send_batch_size: 40}",
        Work::Samples => {
            "  tail_sampling: {decision_wait: 2s, await_delivery: true, policies: [{name: all, type: always_sample}]}"
        }
    };
    let yaml = config_yaml(processor, &exporter);
    let (_, after) = yaml.split_once("processors:\n").unwrap();
    format!("{receiver}processors:\n{after}").replace("receivers: [otlp]", "receivers: [kafka]")
}

struct CollectorNode {
    node: NodeId,
    yaml: String,
}

struct Topology {
    seed: u64,
    sim: Sim,
    cluster: SharedCluster,
    brokers: Vec<NodeId>,
    agents: Vec<CollectorNode>,
    gateways: Vec<CollectorNode>,
    backend_node: NodeId,
    backend: SharedBackendState,
    clients: Vec<(NodeId, Load, Rc<RefCell<ClientResults>>)>,
}

impl Topology {
    fn new(
        (protocol, work): (Protocol, Work),
        seed: u64,
        agents: usize,
        gateways: usize,
        partitions: usize,
        requests: u64,
    ) -> Self {
        let mut sim = new_sim(seed);
        let backend = SharedBackendState::default();
        let backend_node = sim.add_node("jaeger", backend_graph(&backend)).unwrap();
        let cluster = Cluster::new(BROKERS, "spans", partitions);
        cluster.borrow_mut().coordinator = (protocol == Protocol::Consumer).then(Coordinator::default);
        let brokers = (0..BROKERS)
            .map(|number| sim.add_node(&format!("kafka-{number}"), broker_graph(&cluster, number)).unwrap());
        let brokers = brokers.collect();
        let mut add = |name: String, yaml: String| {
            let node = sim.add_node(&name, collector_graph(&yaml).0).unwrap();
            CollectorNode { node, yaml }
        };
        let agents: Vec<_> = (0..agents).map(|i| add(format!("agent-{i}"), agent_yaml(i % 2 == 0))).collect();
        let gateways: Vec<_> =
            (0..gateways).map(|i| add(format!("gateway-{i}"), gateway_yaml(protocol, work))).collect();
        let clients = (0..agents.len()).map(|number| {
            let load = Load { client: number as u64 + 1, requests, spans: 5, interval: 40 * MS, ..Load::default() };
            let load = Load { padding: 50, retry: true, ..load };
            let (graph, results) = client_graph(&format!("agent-{number}"), &load);
            (sim.add_node(&format!("client-{number}"), graph).unwrap(), load, results)
        });
        let clients = clients.collect();
        Self { seed, sim, cluster, brokers, agents, gateways, backend_node, backend, clients }
    }

    /// An agent or a gateway.
    fn collector(&self, number: u64) -> &CollectorNode {
        let number = number as usize % (self.agents.len() + self.gateways.len());
        self.agents.get(number).unwrap_or_else(|| &self.gateways[number - self.agents.len()])
    }

    fn collector_count(&self) -> u64 {
        (self.agents.len() + self.gateways.len()) as u64
    }

    fn kill_collector(&mut self, number: u64) {
        let node = self.collector(number).node;
        self.sim.kill(node);
    }

    /// Starts a collector if it does not run.
    fn start_collector(&mut self, number: u64) {
        let (node, yaml) = (self.collector(number).node, self.collector(number).yaml.clone());
        if self.sim.graph(node).is_none() {
            self.sim.restart(node, collector_graph(&yaml).0).unwrap();
        }
    }

    fn kill_broker(&mut self, number: usize) {
        self.sim.kill(self.brokers[number]);
        self.cluster.borrow_mut().set_stopped(number);
    }

    fn start_broker(&mut self, number: usize) {
        if self.sim.graph(self.brokers[number]).is_none() {
            self.sim.restart(self.brokers[number], broker_graph(&self.cluster, number)).unwrap();
        }
    }

    /// A collector and a broker.
    fn link(&self, detail: u64) -> (NodeId, NodeId) {
        (self.collector(detail).node, self.brokers[(detail >> 8) as usize % BROKERS])
    }

    fn inject_fault(&mut self) {
        let random = self.sim.random();
        let detail = random >> 16;
        let broker = detail as usize % BROKERS;
        let (a, b) = self.link(detail);
        match random % 12 {
            0 | 1 => self.kill_broker(broker),
            2 => self.cluster.borrow_mut().shift += 1,
            3 | 4 => self.kill_collector(detail),
            5 => self.sim.partition(a, b),
            6 | 7 => self.sim.heal(a, b),
            8 => self.sim.reset(self.brokers[broker]),
            9 => self.cluster.borrow_mut().lost_answers += 1,
            10 => self.cluster.borrow_mut().throttle_ms = (detail & 1) as i32 * 50,
            _ => {
                let response = PlannedResponse::error(Status::unavailable("busy"));
                self.backend.borrow_mut().next_responses = std::iter::repeat_n(response, detail as usize & 7).collect();
            }
        }
        self.cluster.borrow_mut().disturb_members(detail >> 24);
        for number in 0..BROKERS {
            if self.sim.random() & 1 == 0 {
                self.start_broker(number);
            }
        }
        for number in 0..self.collector_count() {
            if self.sim.random() & 1 == 0 {
                self.start_collector(number);
            }
        }
    }

    /// Ends all faults.
    fn heal(&mut self) {
        for number in 0..self.collector_count() {
            for broker in 0..BROKERS {
                self.sim.heal(self.collector(number).node, self.brokers[broker]);
            }
        }
        (0..BROKERS).for_each(|number| self.start_broker(number));
        (0..self.collector_count()).for_each(|number| self.start_collector(number));
        self.cluster.borrow_mut().throttle_ms = 0;
        self.backend.borrow_mut().accept_all_requests();
        self.sim.restart(self.backend_node, backend_graph(&self.backend)).unwrap();
    }

    fn acknowledged(&self) -> BTreeSet<u64> {
        self.clients.iter().flat_map(|(_, _, results)| results.borrow().acknowledged.clone()).collect()
    }

    fn delivered(&self) -> BTreeSet<u64> {
        self.backend.borrow().delivered()
    }

    fn assert_none(&self, spans: &BTreeSet<u64>, what: &str) {
        let (count, first) = (spans.len(), spans.first());
        assert!(
            spans.is_empty(),
            "seed {}: {count} spans {what}, such as {first:?}: {}",
            self.seed,
            self.cluster.borrow().describe()
        );
    }

    /// No offset is committed before the backend has what is before it.
    fn check_offsets(&self) {
        let lost: BTreeSet<u64> = &self.cluster.borrow().committed_spans() - &self.delivered();
        self.assert_none(&lost, "committed and not delivered");
    }

    /// Everything that the clients have sent is acknowledged, at the backend, and committed.
    fn check_end(&self) {
        let sent: BTreeSet<u64> = self.clients.iter().flat_map(|(_, load, _)| load.span_ids()).collect();
        let missing: BTreeSet<u64> = &self.acknowledged() - &self.delivered();
        self.assert_none(&missing, "acknowledged and not delivered");
        self.assert_none(&(&sent - &self.acknowledged()), "not acknowledged though everything works");
        self.assert_none(&(&self.delivered() - &sent), "delivered and never sent");
        assert_eq!(self.cluster.borrow().lag(), 0, "seed {}", self.seed);
        for number in 0..self.collector_count() {
            let graph = self.sim.graph(self.collector(number).node).unwrap();
            let left = graph.undelivered();
            assert_eq!((left.items, left.stored, graph.budget().held()), (vec![], vec![], 0), "seed {}", self.seed);
        }
    }
}

#[test]
fn spans_are_delivered_once_where_nothing_fails() {
    for (protocol, seed) in [Protocol::Classic, Protocol::Consumer].into_iter().zip(seeds()) {
        let mut topology = Topology::new((protocol, Work::Batches), seed, 2, 2, 6, 50);
        topology.sim.run_for(30 * SEC);
        topology.check_offsets();
        topology.check_end();
        let requests = &topology.backend.borrow().requests;
        let arrived: usize = requests.iter().map(|request| request.ids.len()).sum();
        assert_eq!(arrived, topology.acknowledged().len(), "seed {seed}");
        assert_eq!(topology.cluster.borrow().duplicates, 0, "seed {seed}");
    }
}

/// Runs a topology in which everything fails again and again; the batches that came twice, and the rebalances.
fn run_with_faults(gateways: (Protocol, Work), seed: u64) -> (u64, u64) {
    let mut topology = Topology::new(gateways, seed, 2, 3, 6, 120);
    for _ in 0..40 {
        let delay = topology.sim.random() % 600;
        topology.sim.run_for(Duration::from_millis(delay));
        topology.check_offsets();
        topology.inject_fault();
    }
    topology.heal();
    topology.sim.run_for(180 * SEC);
    topology.check_offsets();
    topology.check_end();
    let cluster = topology.cluster.borrow();
    let epoch = cluster.coordinator.as_ref().and_then(|coordinator| coordinator.epochs().into_iter().max());
    (cluster.duplicates, epoch.map_or(cluster.rebalances, |epoch| epoch as u64))
}

#[test]
fn spans_that_an_agent_acknowledged_arrive_whatever_fails() {
    for (protocol, runs, least) in [(Protocol::Classic, 5, 5), (Protocol::Consumer, 3, 30)] {
        let runs: Vec<(u64, u64)> =
            seeds().take(runs).map(|seed| run_with_faults((protocol, Work::Batches), seed)).collect();
        let duplicates: u64 = runs.iter().map(|(duplicates, _)| duplicates).sum();
        let rebalances: u64 = runs.iter().map(|(_, rebalances)| rebalances).sum();
        assert!(duplicates > 0 && rebalances > least, "{duplicates} batches came twice, {rebalances} rebalances");
    }
}

#[test]
fn spans_that_wait_for_the_decision_about_their_trace_are_not_lost_with_a_gateway() {
    for (protocol, seed) in [Protocol::Classic, Protocol::Consumer].into_iter().zip(seeds()) {
        run_with_faults((protocol, Work::Samples), seed);
    }
}

/// The size of a real one: 64 agents, 3 brokers, 16 gateways.
#[test]
fn one_of_each_is_lost_and_nothing_that_was_acknowledged_is() {
    for seed in seeds().take(1) {
        let mut topology = Topology::new((Protocol::Classic, Work::Batches), seed, 64, 16, 64, 12);
        topology.sim.run_for(1250 * MS);
        topology.kill_broker(1);
        topology.kill_collector(5);
        topology.kill_collector(64 + 5);
        topology.sim.run_for(30 * SEC);
        topology.check_offsets();
        let missing: BTreeSet<u64> = &topology.acknowledged() - &topology.delivered();
        topology.assert_none(&missing, "acknowledged and not delivered");
        let of_others = topology.clients.iter().enumerate().filter(|(number, _)| *number != 5);
        let of_others: BTreeSet<u64> = of_others.flat_map(|(_, (_, load, _))| load.span_ids()).collect();
        assert!(topology.acknowledged().is_superset(&of_others), "seed {seed}");
        assert_eq!(topology.cluster.borrow().lag(), 0, "seed {seed}");
    }
}
