//! Two agents and a gateway, each with a queue on disk, between clients and a backend: what an agent has acknowledged arrives,
//! and the items of all collectors together add up.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use otelcore::reactor::{NodeId, Sim};
use otelcore_http::Status;
use otelcore_reactor::DiskFaults;

use crate::backend::{PlannedResponse, SharedBackendState, backend_graph};
use crate::client::{ClientResults, Load, client_graph};
use crate::fixture::{MS, SEC, collector_graph, config_yaml, new_sim, otlp_exporter, seeds};

/// What a collector has accepted from senders, and what it has sent.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Counts {
    accepted: u64,
    sent: u64,
}

impl Counts {
    fn add(&mut self, other: Self) {
        self.accepted += other.accepted;
        self.sent += other.sent;
    }
}

struct CollectorNode {
    node: NodeId,
    yaml: String,
    /// Of its processes that have ended.
    ended: Counts,
}

/// Clients, agents, a gateway, a backend.
struct Topology {
    seed: u64,
    sim: Sim,
    agents: Vec<CollectorNode>,
    gateway: CollectorNode,
    backend_node: NodeId,
    backend: SharedBackendState,
    clients: Vec<(NodeId, Load, Rc<RefCell<ClientResults>>)>,
}

/// A collector with a queue on disk that sends to `endpoint`.
fn collector_yaml(processors: &str, endpoint: &str) -> String {
    let queue = "sending_queue: {storage: file_storage, num_consumers: 3}\n\
                 retry_on_failure: {initial_interval: 100ms, max_interval: 1s}";
    config_yaml(processors, &otlp_exporter(queue)).replace("jaeger:14250", endpoint).replace(
        "service:\n",
        "extensions:\n  file_storage: {directory: /data, create_directory: true}\nservice:\n  extensions: [file_storage]\n",
    )
}

fn add_collector(sim: &mut Sim, name: &str, yaml: String) -> CollectorNode {
    let (graph, _) = collector_graph(&yaml);
    CollectorNode { node: sim.add_node(name, graph).unwrap(), yaml, ended: Counts::default() }
}

/// The counts of the process that runs.
fn running_counts(sim: &Sim, node: NodeId) -> Counts {
    let sums = sim.graph(node).map(|graph| graph.undelivered().sums).unwrap_or_default();
    let mut counts = Counts::default();
    for items in sums {
        for (term, _, n) in &items.terms {
            match (items.kind.as_str(), term.as_str()) {
                ("receiver", "accepted") => counts.accepted += n,
                ("exporter", "sent") => counts.sent += n,
                _ => {}
            }
        }
    }
    counts
}

impl Topology {
    fn new(seed: u64) -> Self {
        let mut sim = new_sim(seed);
        let backend = SharedBackendState::default();
        let backend_node = sim.add_node("jaeger", backend_graph(&backend)).unwrap();
        // The gateway joins what it gets; one of the agents does too.
        let batch = "  batch: {timeout: 100ms, send_batch_size: 40}";
        let gateway = add_collector(&mut sim, "gateway", collector_yaml(batch, "jaeger:14250"));
        let agents = ["", batch].into_iter().enumerate();
        let agents = agents.map(|(number, processors)| {
            add_collector(&mut sim, &format!("agent-{number}"), collector_yaml(processors, "gateway:4317"))
        });
        let agents: Vec<CollectorNode> = agents.collect();
        let clients = (0..agents.len()).map(|number| {
            let load =
                Load { client: number as u64 + 1, requests: 200, spans: 5, interval: 20 * MS, ..Load::default() };
            let load = Load { padding: 50, retry: true, ..load };
            let (graph, results) = client_graph(&format!("agent-{number}"), &load);
            (sim.add_node(&format!("client-{number}"), graph).unwrap(), load, results)
        });
        let clients = clients.collect();
        Self { seed, sim, agents, gateway, backend_node, backend, clients }
    }

    /// An agent or the gateway.
    fn collector(&mut self, number: u64) -> &mut CollectorNode {
        match self.agents.get_mut(number as usize % 3) {
            Some(agent) => agent,
            None => &mut self.gateway,
        }
    }

    /// The process of a collector ends, as by SIGKILL, or with the machine.
    fn end_process(&mut self, number: u64, with_machine: bool) {
        let node = self.collector(number).node;
        let counts = running_counts(&self.sim, node);
        self.collector(number).ended.add(counts);
        if with_machine { self.sim.crash(node) } else { self.sim.kill(node) }
    }

    /// Starts a collector if it does not run.
    fn start(&mut self, number: u64) {
        let (node, yaml) = (self.collector(number).node, self.collector(number).yaml.clone());
        if self.sim.graph(node).is_none() {
            // It starts also where its disk fails, and refuses then.
            self.sim.restart(node, collector_graph(&yaml).0).unwrap();
        }
    }

    fn start_backend(&mut self) {
        self.sim.restart(self.backend_node, backend_graph(&self.backend)).unwrap();
    }

    /// The links over which data goes.
    fn links(&self) -> Vec<(NodeId, NodeId)> {
        let of_agents = self.agents.iter().map(|agent| (agent.node, self.gateway.node));
        let of_clients = self.clients.iter().zip(&self.agents).map(|((client, ..), agent)| (*client, agent.node));
        of_agents.chain(of_clients).chain([(self.gateway.node, self.backend_node)]).collect()
    }

    fn inject_fault(&mut self) {
        let random = self.sim.random();
        let (collector, detail) = (random >> 8 & 0xff, random >> 16);
        let links = self.links();
        let (a, b) = links[detail as usize % links.len()];
        match random % 12 {
            0 => self.sim.kill(self.backend_node),
            1 | 2 => self.start_backend(),
            3 | 4 => self.end_process(collector, detail & 1 == 0),
            5 => self.sim.partition(a, b),
            6 | 7 => self.sim.heal(a, b),
            8 => {
                let node = self.collector(collector).node;
                self.sim.reset(node);
            }
            9 => {
                let least = Duration::from_millis(detail & 0xff);
                self.sim.set_link_latency(a, b, least, least + Duration::from_millis(detail >> 8 & 0xff));
            }
            10 => {
                let none = DiskFaults::default();
                let faults = [
                    none,
                    DiskFaults { sync_errors: 200, ..none },
                    DiskFaults { write_errors: 200, ..none },
                    DiskFaults { is_read_only: true, ..none },
                    DiskFaults { delay: (10 * MS, 1000 * MS), ..none },
                ];
                let node = self.collector(collector).node;
                self.sim.disk(node).set_faults(faults[detail as usize % faults.len()]);
            }
            _ => {
                let response = PlannedResponse::error(Status::unavailable("busy"));
                self.backend.borrow_mut().next_responses = std::iter::repeat_n(response, detail as usize & 7).collect();
            }
        }
        for number in 0..3 {
            if self.sim.random() & 1 == 0 {
                self.start(number);
            }
        }
    }

    /// Ends all faults.
    fn heal(&mut self) {
        for (a, b) in self.links() {
            self.sim.heal(a, b);
            self.sim.set_link_latency(a, b, MS, 2 * MS);
        }
        for number in 0..3 {
            let node = self.collector(number).node;
            self.sim.disk(node).set_faults(DiskFaults::default());
            self.start(number);
        }
        self.backend.borrow_mut().accept_all_requests();
        self.start_backend();
    }

    fn acknowledged(&self) -> BTreeSet<u64> {
        self.clients.iter().flat_map(|(_, _, results)| results.borrow().acknowledged.clone()).collect()
    }

    /// Of all processes: the agents, the gateway.
    fn counts(&self) -> (Counts, Counts) {
        let of = |collector: &CollectorNode| {
            let mut counts = collector.ended;
            counts.add(running_counts(&self.sim, collector.node));
            counts
        };
        let mut agents = Counts::default();
        self.agents.iter().for_each(|agent| agents.add(of(agent)));
        (agents, of(&self.gateway))
    }

    /// What has arrived at the backend, with what came twice.
    fn arrived(&self) -> u64 {
        self.backend.borrow().requests.iter().filter(|request| request.accepted).map(|r| r.ids.len() as u64).sum()
    }

    /// What a sender counts as sent has been accepted by the next one. It may have accepted more: what was on its way when a
    /// connection or a process ended is sent again.
    fn check_counts(&self) {
        let (agents, gateway) = self.counts();
        let acknowledged = self.acknowledged().len() as u64;
        let counts = (acknowledged, agents, gateway, self.arrived());
        let is_ordered = acknowledged <= agents.accepted && agents.sent <= gateway.accepted && gateway.sent <= counts.3;
        assert!(is_ordered, "seed {}: {counts:?}", self.seed);
    }

    /// Everything that the clients have sent is acknowledged, and at the backend.
    fn check_end(&self) {
        let sent: BTreeSet<u64> = self.clients.iter().flat_map(|(_, load, _)| load.span_ids()).collect();
        let delivered = self.backend.borrow().delivered();
        let missing: BTreeSet<u64> = &self.acknowledged() - &delivered;
        assert_eq!(missing, BTreeSet::new(), "seed {}: acknowledged and not delivered", self.seed);
        assert_eq!(self.acknowledged(), sent, "seed {}: not acknowledged though everything works", self.seed);
        assert_eq!(delivered, sent, "seed {}", self.seed);
        for collector in self.agents.iter().chain([&self.gateway]) {
            let graph = self.sim.graph(collector.node).unwrap();
            let left = graph.undelivered();
            assert_eq!((left.items, left.stored, graph.budget().held()), (vec![], vec![], 0), "seed {}", self.seed);
        }
    }
}

#[test]
fn items_of_all_collectors_are_the_same_where_nothing_fails() {
    for seed in seeds().take(3) {
        let mut topology = Topology::new(seed);
        topology.sim.run_for(20 * SEC);
        topology.check_end();
        let (agents, gateway) = topology.counts();
        let all = topology.acknowledged().len() as u64;
        let same = Counts { accepted: all, sent: all };
        assert_eq!((agents, gateway, topology.arrived()), (same, same, all), "seed {seed}");
    }
}

#[test]
fn spans_that_an_agent_acknowledged_arrive_whatever_fails_on_their_way() {
    for seed in seeds().take(10) {
        let mut topology = Topology::new(seed);
        for _ in 0..40 {
            let delay = topology.sim.random() % 300;
            topology.sim.run_for(Duration::from_millis(delay));
            topology.check_counts();
            topology.inject_fault();
        }
        topology.heal();
        topology.sim.run_for(180 * SEC);
        topology.check_counts();
        topology.check_end();
    }
}
