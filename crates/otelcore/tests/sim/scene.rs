//! A collector between clients and a backend, all in one simulated world.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use otelcore::config::{Diagnostics, Gates, from_yaml};
use otelcore::pipeline::{Field, Graph, Level, LogSink, Mono, Record};
use otelcore::reactor::{NodeId, Sim};
use otelcore::{Collector, Identity, Plan, Registry};

use crate::backend::{Told, backend};
use crate::client::{Heard, Load, client};

pub(crate) const MS: Duration = Duration::from_millis(1);
pub(crate) const SEC: Duration = Duration::from_secs(1);

/// The seeds that each test runs with; long tests use fewer of them. `SIM_SEED` is the first seed instead of zero.
pub(crate) fn seeds() -> std::ops::Range<u64> {
    let first = std::env::var("SIM_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0);
    first..first + 20
}

/// The collector's log.
#[derive(Debug, Default)]
pub(crate) struct Lines(Mutex<Vec<(String, u64)>>);

impl LogSink for Lines {
    fn enabled(&self, level: Level) -> bool {
        level >= Level::Warn
    }

    fn log(&self, record: &Record<'_>) {
        let mut text = record.message.to_owned();
        let mut dropped = 0;
        for (name, value) in record.fields {
            match (*name, value) {
                ("dropped_items", Field::Uint(n)) => dropped = *n,
                (name, Field::Str(s)) => text.push_str(&format!(" {name}={s}")),
                _ => {}
            }
        }
        self.0.lock().unwrap().push((text, dropped));
    }
}

impl Lines {
    /// Lines that have all of these words.
    pub(crate) fn with(&self, words: &[&str]) -> usize {
        self.0.lock().unwrap().iter().filter(|(line, _)| words.iter().all(|word| line.contains(word))).count()
    }

    /// Lines that say that items were dropped, and how many.
    pub(crate) fn drops(&self) -> Vec<(String, u64)> {
        self.0.lock().unwrap().iter().filter(|(_, n)| *n > 0).cloned().collect()
    }
}

/// A configuration: `otlp` in, `exporters` out, `processors` between.
pub(crate) fn yaml(processors: &str, exporters: &str) -> String {
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

pub(crate) const JAEGER: &str = "  jaeger:\n    endpoint: jaeger:14250\n    tls: {insecure: true}";

/// A `jaeger` exporter with further keys, each at the depth of `endpoint`.
pub(crate) fn jaeger(more: &str) -> String {
    more.lines().fold(JAEGER.to_owned(), |all, line| format!("{all}\n    {}", line.trim_start()))
}

pub(crate) const OTLP: &str = "  otlp_grpc:\n    endpoint: jaeger:14250\n    tls: {insecure: true}";

/// An `otlp_grpc` exporter with further keys, each at the depth of `endpoint`.
pub(crate) fn otlp(more: &str) -> String {
    more.lines().fold(OTLP.to_owned(), |all, line| format!("{all}\n    {}", line.trim_start()))
}

pub(crate) fn collector(yaml: &str) -> (Graph, Arc<Lines>) {
    let d = Diagnostics::new();
    let registry = Registry::default();
    let (gates, _) = Gates::parse::<&str>(&[]);
    let plan = from_yaml(yaml, &d).and_then(|root| Plan::parse(&root, &registry, &gates, &d));
    let plan = plan.unwrap_or_else(|| unreadable(yaml, &d));
    let lines = Arc::new(Lines::default());
    (Collector::with_log(plan, Identity::default(), lines.clone()).graph().unwrap(), lines)
}

#[allow(clippy::panic, reason = "a story whose configuration is wrong has nothing to tell")]
fn unreadable(yaml: &str, d: &Diagnostics) -> ! {
    panic!("{}\n{yaml}", d.to_text(false))
}

/// One collector, one Jaeger, any number of clients.
pub(crate) struct Scene {
    pub(crate) seed: u64,
    pub(crate) sim: Sim,
    pub(crate) collector: NodeId,
    pub(crate) jaeger: NodeId,
    pub(crate) told: Told,
    pub(crate) lines: Arc<Lines>,
    pub(crate) clients: Vec<(NodeId, Load, Rc<RefCell<Heard>>)>,
}

impl Scene {
    pub(crate) fn new(seed: u64, processors: &str, exporters: &str) -> Self {
        Self::with(Sim::new(seed), seed, processors, exporters)
    }

    /// The same with a latency of exactly one millisecond between nodes.
    pub(crate) fn exact(seed: u64, processors: &str, exporters: &str) -> Self {
        let mut sim = Sim::new(seed);
        sim.set_latency(MS, MS);
        Self::with(sim, seed, processors, exporters)
    }

    fn with(sim: Sim, seed: u64, processors: &str, exporters: &str) -> Self {
        Self::of(sim, seed, &yaml(processors, exporters))
    }

    /// A scene with this configuration of the collector.
    pub(crate) fn of(mut sim: Sim, seed: u64, yaml: &str) -> Self {
        let told = Told::default();
        let jaeger = sim.node("jaeger", backend(&told)).unwrap();
        let (graph, lines) = collector(yaml);
        let collector = sim.node("collector", graph).unwrap();
        Self { seed, sim, collector, jaeger, told, lines, clients: Vec::new() }
    }

    pub(crate) fn client(&mut self, load: Load) -> Rc<RefCell<Heard>> {
        let (graph, heard) = client("collector", &load);
        let node = self.sim.node(&format!("client-{}", load.client), graph).unwrap();
        self.clients.push((node, load, heard.clone()));
        heard
    }

    pub(crate) fn acknowledged(&self) -> BTreeSet<u64> {
        self.clients.iter().flat_map(|(_, _, heard)| heard.borrow().acknowledged.clone()).collect()
    }

    pub(crate) fn delivered(&self) -> BTreeSet<u64> {
        self.told.borrow().delivered()
    }

    /// Spans that were acknowledged and are not at the backend.
    pub(crate) fn missing(&self) -> BTreeSet<u64> {
        &self.acknowledged() - &self.delivered()
    }

    pub(crate) fn held_items(&self) -> u64 {
        self.sim.graph(self.collector).map_or(0, |graph| graph.left().total())
    }

    pub(crate) fn held_bytes(&self) -> u64 {
        self.sim.graph(self.collector).map_or(0, |graph| graph.budget().held())
    }

    pub(crate) fn start_backend(&mut self) {
        self.sim.restart(self.jaeger, backend(&self.told)).unwrap();
    }

    pub(crate) fn at(&self, since: Duration) -> Mono {
        Mono::default() + since
    }
}
