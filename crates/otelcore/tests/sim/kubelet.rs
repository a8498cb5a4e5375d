//! The receiver `kubelet_stats` between a kubelet that misbehaves, or refuses its token, and a backend.

use std::sync::Arc;

use otelcore::reactor::{NodeId, Sim};

use crate::backend::{SharedBackendState, backend_graph};
use crate::fixture::{RecordedLog, SEC, collector_graph, seeds};
use crate::prometheus::{Behaviour, SharedTarget, target_graph};

const TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

const CONFIG: &str = "receivers:\n  kubelet_stats: {auth_type: serviceAccount, endpoint: 'http://kubelet:9100', timeout: 5s}\n\
    exporters:\n  otlp_grpc: {endpoint: 'jaeger:14250', tls: {insecure: true}}\n\
    service:\n  telemetry: {metrics: {level: none}}\n  pipelines:\n    metrics: {receivers: [kubelet_stats], exporters: [otlp_grpc]}\n";

const SUMMARY: &str = r#"{"node":{"nodeName":"n1","cpu":{"usageNanoCores":250000000}},"pods":[{"podRef":{"name":"p"},"containers":[{"name":"c","memory":{"rssBytes":7}}]}]}"#;

/// What the log has of a failed scrape, whatever the reason.
const FAILURE: [&str; 2] = ["Error scraping metrics", "http://kubelet:9100/stats/summary"];

struct World {
    sim: Sim,
    backend: SharedBackendState,
    kubelet: SharedTarget,
    kubelet_node: NodeId,
    collector: NodeId,
    log: Arc<RecordedLog>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut sim = Sim::new(seed);
        let backend = SharedBackendState::default();
        sim.add_node("jaeger", backend_graph(&backend)).unwrap();
        let kubelet = SharedTarget::default();
        kubelet.borrow_mut().page = SUMMARY.to_owned();
        kubelet.borrow_mut().token = Some("first".to_owned());
        let kubelet_node = sim.add_node("kubelet", target_graph(&kubelet)).unwrap();
        let (graph, log) = collector_graph(CONFIG);
        let collector = sim.add_machine("collector");
        sim.disk(collector).write(TOKEN, "first");
        sim.restart(collector, graph).unwrap();
        Self { sim, backend, kubelet, kubelet_node, collector, log }
    }

    /// How many resources have arrived since the last call.
    fn take_resources(&self) -> usize {
        let requests = std::mem::take(&mut self.backend.borrow_mut().metrics_requests);
        requests.iter().map(|request| request.resource_metrics.len()).sum()
    }

    fn check_rest(&self, seed: u64) {
        let graph = self.sim.graph(self.collector).unwrap();
        assert_eq!((graph.undelivered().total(), graph.budget().held()), (0, 0), "seed {seed}");
    }
}

#[test]
fn kubelet_that_misbehaves_costs_its_own_scrapes_and_is_logged_once() {
    for seed in seeds().take(4) {
        for (behaviour, page) in [
            (Behaviour::Silent, SUMMARY),
            (Behaviour::Endless, SUMMARY),
            (Behaviour::Slow, SUMMARY),
            (Behaviour::Page, "<html>no kubelet</html>"),
        ] {
            let mut world = World::new(seed);
            world.sim.run_for(15 * SEC);
            assert_eq!(world.take_resources(), 4, "seed {seed}");
            world.kubelet.borrow_mut().behaviour = behaviour;
            world.kubelet.borrow_mut().page = page.to_owned();
            world.sim.run_for(40 * SEC);
            assert_eq!(world.take_resources(), 0, "seed {seed}: {behaviour:?}");
            assert_eq!(world.log.count_with(&FAILURE), 1, "seed {seed}: {behaviour:?}");
            assert!(world.kubelet.borrow().sent < 40 << 20, "seed {seed}: {behaviour:?}");
            world.kubelet.borrow_mut().behaviour = Behaviour::Page;
            world.kubelet.borrow_mut().page = SUMMARY.to_owned();
            world.sim.run_for(20 * SEC);
            // A slow answer that was under way ends in time now.
            let resources = world.take_resources();
            assert!([4, 6].contains(&resources), "seed {seed}: {behaviour:?}: {resources}");
            world.check_rest(seed);
        }
    }
}

#[test]
fn kubelet_that_restarts_is_scraped_again() {
    for seed in seeds().take(4) {
        let mut world = World::new(seed);
        world.sim.run_for(15 * SEC);
        world.sim.kill(world.kubelet_node);
        world.sim.run_for(30 * SEC);
        assert_eq!(world.take_resources(), 4, "seed {seed}");
        assert!((1..=2).contains(&world.log.count_with(&FAILURE)), "seed {seed}");
        let graph = target_graph(&world.kubelet);
        world.sim.restart(world.kubelet_node, graph).unwrap();
        world.sim.run_for(15 * SEC);
        assert!(world.take_resources() >= 2, "seed {seed}");
        world.check_rest(seed);
    }
}

#[test]
fn token_that_is_replaced_is_read_again() {
    for seed in seeds().take(4) {
        let mut world = World::new(seed);
        world.sim.run_for(15 * SEC);
        world.kubelet.borrow_mut().token = Some("second".to_owned());
        world.sim.disk(world.collector).write(TOKEN, "second");
        world.sim.run_for(35 * SEC);
        assert_eq!(world.kubelet.borrow().refused, 1, "seed {seed}");
        assert_eq!(world.log.count_with(&["Error scraping metrics", "401 Unauthorized"]), 1, "seed {seed}");
        assert!(world.take_resources() >= 4 + 4, "seed {seed}");
        world.check_rest(seed);
    }
}
