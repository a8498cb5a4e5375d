//! A collector between clients and a backend, all in one simulated world.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use otelcore::config::{Diagnostics, FeatureGates, from_yaml};
use otelcore::pipeline::{ChangeError, Graph, GraphChange, LogEntry, LogField, LogLevel, LogSink, MonotonicTime};
use otelcore::reactor::{NodeId, Sim};
use otelcore::{BuildInfo, Collector, Plan, Registry};

use crate::backend::{SharedBackendState, backend_graph};
use crate::client::{ClientResults, Load, client_graph};

pub(crate) const MS: Duration = Duration::from_millis(1);
pub(crate) const SEC: Duration = Duration::from_secs(1);

/// The seeds that each test runs with; long tests use fewer of them. `SIM_SEED` is the first seed instead of zero.
pub(crate) fn seeds() -> std::ops::Range<u64> {
    let first = std::env::var("SIM_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0);
    first..first + 20
}

/// The message of `health_check`, which is recorded though it is no warning.
pub(crate) const HEALTH_CHANGE: &str = "Health Check state change";

/// The collector's log, recorded.
#[derive(Debug, Default)]
pub(crate) struct RecordedLog(Mutex<Vec<(String, u64)>>);

impl LogSink for RecordedLog {
    fn enabled(&self, level: LogLevel) -> bool {
        level >= LogLevel::Info
    }

    fn log(&self, record: &LogEntry<'_>) {
        if record.level < LogLevel::Warn && record.message != HEALTH_CHANGE {
            return;
        }
        let mut text = record.message.to_owned();
        let mut dropped = 0;
        for (name, value) in record.fields {
            match (*name, value) {
                ("dropped_items", LogField::Uint(n)) => dropped = *n,
                (name, LogField::Str(s)) => text.push_str(&format!(" {name}={s}")),
                _ => {}
            }
        }
        self.0.lock().unwrap().push((text, dropped));
    }
}

impl RecordedLog {
    /// Lines that have all of these words.
    pub(crate) fn count_with(&self, words: &[&str]) -> usize {
        self.0.lock().unwrap().iter().filter(|(line, _)| words.iter().all(|word| line.contains(word))).count()
    }

    /// Lines that say that items were dropped, and how many.
    pub(crate) fn drops(&self) -> Vec<(String, u64)> {
        self.0.lock().unwrap().iter().filter(|(_, n)| *n > 0).cloned().collect()
    }
}

/// A world in which the items of every component must add up after each turn.
pub(crate) fn new_sim(seed: u64) -> Sim {
    let mut sim = Sim::new(seed);
    sim.set_turn_check(move |graph| assert_eq!(graph.sum_law().map_err(|e| e.to_string()), Ok(()), "seed {seed}"));
    sim
}

/// A configuration: `otlp` in, `exporters` out, `processors` between.
pub(crate) fn config_yaml(processors: &str, exporters: &str) -> String {
    let names = |section: &str| {
        let keys = section.lines().filter(|l| l.starts_with("  ") && !l.starts_with("   "));
        keys.filter_map(|l| l.trim().split_once(':')).map(|(name, _)| name.to_owned()).collect::<Vec<_>>().join(", ")
    };
    let section = |name: &str, body: &str| if body.is_empty() { String::new() } else { format!("{name}:\n{body}\n") };
    format!(
        "receivers:\n  otlp:\n    protocols: {{grpc: {{endpoint: \"0.0.0.0:4317\"}}}}\n{}{}\
         service:\n  telemetry: {{metrics: {{level: none}}}}\n  pipelines:\n    traces:\n      receivers: [otlp]\n      \
         processors: [{}]\n      exporters: [{}]\n",
        section("processors", processors),
        section("exporters", exporters),
        names(processors),
        names(exporters),
    )
}

pub(crate) const JAEGER_EXPORTER: &str = "  jaeger:\n    endpoint: jaeger:14250\n    tls: {insecure: true}";

/// A `jaeger` exporter with further keys, each at the depth of `endpoint`.
pub(crate) fn jaeger_exporter(extra_keys: &str) -> String {
    extra_keys.lines().fold(JAEGER_EXPORTER.to_owned(), |all, line| format!("{all}\n    {}", line.trim_start()))
}

pub(crate) const OTLP_EXPORTER: &str = "  otlp_grpc:\n    endpoint: jaeger:14250\n    tls: {insecure: true}";

/// An `otlp_grpc` exporter with further keys, each at the depth of `endpoint`.
pub(crate) fn otlp_exporter(extra_keys: &str) -> String {
    extra_keys.lines().fold(OTLP_EXPORTER.to_owned(), |all, line| format!("{all}\n    {}", line.trim_start()))
}

pub(crate) fn collector_graph(yaml: &str) -> (Graph, Arc<RecordedLog>) {
    let (collector, log) = new_collector(yaml);
    (collector.build_graph().unwrap(), log)
}

pub(crate) fn new_collector(yaml: &str) -> (Collector, Arc<RecordedLog>) {
    let log = Arc::new(RecordedLog::default());
    (Collector::with_log(plan(yaml), BuildInfo::default(), log.clone()), log)
}

pub(crate) fn plan(yaml: &str) -> Plan {
    // The sum law is about own metrics.
    let yaml = &yaml.replace("level: none", "level: basic");
    let d = Diagnostics::new();
    let registry = Registry::default();
    let (gates, _) = FeatureGates::parse::<&str>(&[]);
    let plan = from_yaml(yaml, &d).and_then(|root| Plan::parse(&root, &registry, &gates, &d));
    plan.unwrap_or_else(|| fail_with_diagnostics(yaml, &d))
}

#[allow(clippy::panic, reason = "a test whose configuration is wrong has failed")]
fn fail_with_diagnostics(yaml: &str, d: &Diagnostics) -> ! {
    panic!("{}\n{yaml}", d.render_to_string(false))
}

/// One collector, one Jaeger, any number of clients.
pub(crate) struct Fixture {
    pub(crate) seed: u64,
    pub(crate) sim: Sim,
    pub(crate) collector: NodeId,
    /// What the graph of the collector was built by.
    pub(crate) built_by: Collector,
    pub(crate) backend_node: NodeId,
    pub(crate) backend: SharedBackendState,
    pub(crate) log: Arc<RecordedLog>,
    pub(crate) clients: Vec<(NodeId, Load, Rc<RefCell<ClientResults>>)>,
}

impl Fixture {
    pub(crate) fn new(seed: u64, processors: &str, exporters: &str) -> Self {
        Self::with_sim(new_sim(seed), seed, processors, exporters)
    }

    /// The same with a latency of exactly one millisecond between nodes.
    pub(crate) fn with_exact_latency(seed: u64, processors: &str, exporters: &str) -> Self {
        let mut sim = new_sim(seed);
        sim.set_latency(MS, MS);
        Self::with_sim(sim, seed, processors, exporters)
    }

    fn with_sim(sim: Sim, seed: u64, processors: &str, exporters: &str) -> Self {
        Self::with_yaml(sim, seed, &config_yaml(processors, exporters))
    }

    /// A fixture with this configuration of the collector.
    pub(crate) fn with_yaml(mut sim: Sim, seed: u64, yaml: &str) -> Self {
        let backend = SharedBackendState::default();
        let backend_node = sim.add_node("jaeger", backend_graph(&backend)).unwrap();
        let (built_by, log) = new_collector(yaml);
        let collector = sim.add_node("collector", built_by.build_graph().unwrap()).unwrap();
        Self { seed, sim, collector, built_by, backend_node, backend, log, clients: Vec::new() }
    }

    pub(crate) fn start_client(&mut self, load: Load) -> Rc<RefCell<ClientResults>> {
        let (graph, results) = client_graph("collector", &load);
        let node = self.sim.add_node(&format!("client-{}", load.client), graph).unwrap();
        self.clients.push((node, load, results.clone()));
        results
    }

    pub(crate) fn acknowledged(&self) -> BTreeSet<u64> {
        self.clients.iter().flat_map(|(_, _, results)| results.borrow().acknowledged.clone()).collect()
    }

    pub(crate) fn delivered(&self) -> BTreeSet<u64> {
        self.backend.borrow().delivered()
    }

    /// Spans that were acknowledged and are not at the backend.
    pub(crate) fn missing(&self) -> BTreeSet<u64> {
        &self.acknowledged() - &self.delivered()
    }

    pub(crate) fn held_items(&self) -> u64 {
        self.sim.graph(self.collector).map_or(0, |graph| graph.undelivered().total())
    }

    pub(crate) fn held_bytes(&self) -> u64 {
        self.sim.graph(self.collector).map_or(0, |graph| graph.budget().held())
    }

    /// Starts the collector again with this configuration; the one that runs is killed. Returns whether it could start.
    pub(crate) fn restart_collector(&mut self, yaml: &str) -> bool {
        let (built_by, log) = new_collector(yaml);
        (self.built_by, self.log) = (built_by, log);
        self.sim.restart(self.collector, self.built_by.build_graph().unwrap()).is_ok()
    }

    /// Changes the running collector to this configuration; what ends has `grace`.
    pub(crate) fn reload(&mut self, yaml: &str, grace: Duration) -> Result<GraphChange, ChangeError> {
        let next = self.built_by.successor(plan(yaml)).unwrap();
        let graph = next.build_next_graph(self.sim.graph(self.collector).unwrap()).unwrap();
        let change = self.sim.change(self.collector, graph, grace)?;
        self.built_by = next;
        Ok(change)
    }

    pub(crate) fn start_backend(&mut self) {
        self.sim.restart(self.backend_node, backend_graph(&self.backend)).unwrap();
    }

    pub(crate) fn time_at(&self, elapsed: Duration) -> MonotonicTime {
        MonotonicTime::default() + elapsed
    }
}
