//! `load_balancing` in front of backends that come and go: what a trace has meets at one backend, and nothing is lost.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::rc::Rc;

use otelcore::reactor::{NodeId, Sim};

use crate::backend::{SharedBackendState, backend_graph};
use crate::client::{ClientResults, Load, client_graph};
use crate::fixture::{MS, SEC, collector_graph, config_yaml, new_sim, seeds};

/// The backends behind one name, a collector, and clients.
struct Pool {
    seed: u64,
    sim: Sim,
    backends: Vec<(NodeId, SharedBackendState)>,
    collector: NodeId,
    clients: Vec<(NodeId, Rc<RefCell<ClientResults>>)>,
}

const EXPORTER: &str = "  load_balancing:\n    resolver: {dns: {hostname: pool, port: '14250', interval: 1s}}\n    \
     protocol:\n      otlp:\n        tls: {insecure: true}\n        timeout: 2s\n        \
     sending_queue: {queue_size: 5000}\n        \
     retry_on_failure: {initial_interval: 200ms, max_interval: 2s, max_elapsed_time: 0s}";

impl Pool {
    fn new(seed: u64, backends: usize, exporter: &str) -> Self {
        let mut sim = new_sim(seed);
        let add = |sim: &mut Sim, number| {
            let state = SharedBackendState::default();
            (sim.add_node(&format!("backend-{number}"), backend_graph(&state)).unwrap(), state)
        };
        let backends: Vec<_> = (0..backends).map(|number| add(&mut sim, number)).collect();
        let addresses = backends.iter().map(|(node, _)| sim.address(*node)).collect();
        sim.set_lookup_result("pool", Ok(addresses));
        let (graph, _) = collector_graph(&config_yaml("", exporter));
        let collector = sim.add_node("collector", graph).unwrap();
        Self { seed, sim, backends, collector, clients: Vec::new() }
    }

    /// The name has the addresses of these backends from now on.
    fn set_members(&mut self, numbers: &[usize]) {
        let addresses: Vec<IpAddr> = numbers.iter().map(|number| self.sim.address(self.backends[*number].0)).collect();
        self.sim.set_lookup_result("pool", Ok(addresses));
    }

    fn start_client(&mut self, load: &Load) {
        let (graph, results) = client_graph("collector", load);
        let node = self.sim.add_node(&format!("client-{}", load.client), graph).unwrap();
        self.clients.push((node, results));
    }

    fn acknowledged(&self) -> BTreeSet<u64> {
        self.clients.iter().flat_map(|(_, results)| results.borrow().acknowledged.clone()).collect()
    }

    fn delivered_by(&self, number: usize) -> BTreeSet<u64> {
        self.backends[number].1.borrow().delivered()
    }

    fn delivered(&self) -> BTreeSet<u64> {
        (0..self.backends.len()).flat_map(|number| self.delivered_by(number)).collect()
    }

    fn held(&self) -> (u64, u64) {
        let graph = self.sim.graph(self.collector).unwrap();
        (graph.undelivered().total(), graph.budget().held())
    }
}

#[test]
fn spans_of_a_trace_meet_at_one_backend() {
    for seed in seeds().take(5) {
        let mut pool = Pool::new(seed, 5, EXPORTER);
        let load = |client| Load { client, requests: 50, spans: 40, traces: 100, interval: 20 * MS, ..Load::default() };
        [1, 2].into_iter().for_each(|client| pool.start_client(&load(client)));
        pool.sim.run_for(20 * SEC);
        assert_eq!(pool.delivered(), pool.acknowledged(), "seed {seed}");
        assert_eq!(pool.delivered().len(), 2 * 50 * 40, "seed {seed}");
        let mut found = BTreeMap::new();
        for trace in 0..100 {
            let spans: BTreeSet<u64> =
                [1, 2].into_iter().flat_map(|client| load(client).span_ids_of_traces(trace..trace + 1)).collect();
            let at: Vec<usize> = (0..5).filter(|number| !pool.delivered_by(*number).is_disjoint(&spans)).collect();
            assert_eq!(at.len(), 1, "seed {seed}: trace {trace}");
            *found.entry(at[0]).or_insert(0) += 1;
        }
        assert!(found.values().all(|traces| *traces > 5), "seed {seed}: {found:?}");
        assert_eq!(pool.held(), (0, 0), "seed {seed}");
    }
}

#[test]
fn what_waited_for_a_backend_that_has_gone_goes_to_the_others() {
    for seed in seeds().take(5) {
        let mut pool = Pool::new(seed, 3, EXPORTER);
        // The first one hangs: nothing is refused, nothing is answered.
        let (collector, first) = (pool.collector, pool.backends[0].0);
        pool.sim.run_for(SEC);
        pool.sim.partition(collector, first);
        pool.start_client(&Load { requests: 100, spans: 20, interval: 20 * MS, ..Load::default() });
        pool.sim.run_for(10 * SEC);
        assert_eq!(pool.acknowledged().len(), 2000, "seed {seed}: the queue takes them");
        assert!(pool.delivered().len() < 2000 && pool.delivered().len() > 800, "seed {seed}: the others go on");
        pool.set_members(&[1, 2]);
        pool.sim.run_for(10 * SEC);
        let others = &pool.delivered_by(1) | &pool.delivered_by(2);
        assert_eq!(others, pool.acknowledged(), "seed {seed}");
        assert_eq!(pool.held(), (0, 0), "seed {seed}");
    }
}

#[test]
fn nothing_is_lost_while_backends_come_and_go() {
    for seed in seeds().take(2) {
        let mut pool = Pool::new(seed, 6, EXPORTER);
        let load =
            |client| Load { client, requests: 150, spans: 10, interval: 100 * MS, retry: true, ..Load::default() };
        [1, 2].into_iter().for_each(|client| pool.start_client(&load(client)));
        for _ in 0..30 {
            let number = pool.sim.random() as usize % 6;
            let node = pool.backends[number].0;
            match pool.sim.random() % 6 {
                0 => pool.sim.kill(node),
                1 | 2 if pool.sim.graph(node).is_none() => {
                    let graph = backend_graph(&pool.backends[number].1);
                    pool.sim.restart(node, graph).unwrap();
                }
                3 => {
                    let mask = pool.sim.random();
                    let members: Vec<usize> = (0..6).filter(|member| mask >> member & 1 == 1).collect();
                    pool.set_members(&members);
                }
                4 => pool.sim.partition(pool.collector, node),
                5 => pool.sim.heal(pool.collector, node),
                _ => pool.sim.reset(node),
            }
            pool.sim.run_for(700 * MS);
        }
        for number in 0..6 {
            let (node, state) = pool.backends[number].clone();
            pool.sim.heal(pool.collector, node);
            if pool.sim.graph(node).is_none() {
                pool.sim.restart(node, backend_graph(&state)).unwrap();
            }
        }
        pool.set_members(&[0, 1, 2, 3, 4, 5]);
        pool.sim.run_for(200 * SEC);
        let acknowledged = pool.acknowledged();
        assert_eq!(acknowledged.len(), 2 * 150 * 10, "seed {seed}: the clients try again");
        assert!(acknowledged.is_subset(&pool.delivered()), "seed {}", pool.seed);
        assert_eq!(pool.held(), (0, 0), "seed {seed}");
    }
}

#[test]
fn without_queue_and_retry_a_sender_gets_the_outcome_of_all_backends() {
    for seed in seeds().take(3) {
        let exporter = "  load_balancing:\n    resolver: {static: {hostnames: ['backend-0:14250', 'backend-1:14250']}}\n    \
             protocol: {otlp: {tls: {insecure: true}, sending_queue: {enabled: false}, retry_on_failure: {enabled: false}}}";
        let mut pool = Pool::new(seed, 2, exporter);
        pool.start_client(&Load { requests: 10, spans: 20, ..Load::default() });
        pool.sim.run_for(5 * SEC);
        assert_eq!(pool.acknowledged().len(), 200, "seed {seed}");
        pool.sim.kill(pool.backends[0].0);
        pool.start_client(&Load { client: 2, requests: 10, spans: 20, ..Load::default() });
        pool.sim.run_for(5 * SEC);
        assert_eq!(pool.acknowledged().len(), 200, "seed {seed}: a part is at no backend");
        assert!(pool.delivered().len() > 200 && pool.delivered().len() < 400, "seed {seed}");
        assert_eq!(pool.held(), (0, 0), "seed {seed}");
    }
}
