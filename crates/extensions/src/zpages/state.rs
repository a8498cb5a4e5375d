//! The numbers of a moment: counts of items, queues, statuses and memory, read from what the collector counts anyway.
//!
//! Owns nothing after it is made. Computes no rates: counts only grow, and a reader subtracts them.

use std::collections::BTreeMap;
use std::time::Duration;

use otelcore_pdata::Signal;
use otelcore_pipeline::{
    CollectorView, ComponentStatusEntry, Cx, EdgeCounts, MetricFamily, MetricsLevel, SeriesSample, SeriesValue,
};

use super::connections::Connections;
use super::graph::{ComponentGraph, CountSource, CountedEnd, Node, NodeKind};

/// Counts of items of one component. `None`: it is not counted.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct ItemCounts {
    pub(super) incoming: Option<u64>,
    pub(super) outgoing: Option<u64>,
    pub(super) refused: Option<u64>,
    pub(super) dropped: Option<u64>,
    pub(super) failed: Option<u64>,
    pub(super) held: Option<u64>,
}

impl ItemCounts {
    /// It is not counted.
    pub(super) const NONE: Self =
        Self { incoming: None, outgoing: None, refused: None, dropped: None, failed: None, held: None };

    /// The short names of the counts, which the script of the live page knows too, and the counts.
    pub(super) fn named(&self) -> [(&'static str, Option<u64>); 6] {
        [
            ("in", self.incoming),
            ("out", self.outgoing),
            ("refused", self.refused),
            ("dropped", self.dropped),
            ("failed", self.failed),
            ("held", self.held),
        ]
    }
}

/// A queue of an exporter.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(super) struct QueueState {
    /// In the unit of its sizer.
    pub(super) size: Option<u64>,
    pub(super) capacity: Option<u64>,
    /// The age of the oldest record on disk.
    pub(super) oldest_seconds: Option<f64>,
}

/// A node at a moment.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct NodeState {
    /// `None` for a pipeline.
    pub(super) status: Option<ComponentStatusEntry>,
    pub(super) counts: ItemCounts,
    pub(super) queues: Vec<(Signal, QueueState)>,
}

/// Memory, in bytes. `None`: there is no such limit.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct MemoryState {
    pub(super) resident: u64,
    pub(super) total: Option<u64>,
    pub(super) held: u64,
    pub(super) kept: u64,
    pub(super) limit: Option<u64>,
    pub(super) admission_limit: Option<u64>,
}

/// Everything at a moment.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Snapshot {
    pub(super) generation: u64,
    pub(super) unix_ms: u64,
    pub(super) uptime: Duration,
    pub(super) cpu_seconds: f64,
    /// Whether there are own metrics, from which the counts are.
    pub(super) is_counted: bool,
    /// In the order of the graph's nodes and edges.
    pub(super) nodes: Vec<NodeState>,
    pub(super) edges: Vec<Option<u64>>,
    /// What has passed each edge since somebody watches; empty while nobody does.
    pub(super) passed: Vec<Option<EdgeCounts>>,
    pub(super) memory: MemoryState,
    /// `None` where other machines read the page without `auth`.
    pub(super) connections: Option<Connections>,
    /// The number of the next record of the log.
    pub(super) next_log: u64,
}

type CountKey = (NodeKind, String, Signal);

/// What was found in the own metrics.
#[derive(Default)]
struct FoundCounts {
    counts: BTreeMap<CountKey, ItemCounts>,
    queues: BTreeMap<(String, Signal), QueueState>,
}

impl Snapshot {
    /// Reads everything, in n log n of the number of series.
    pub(super) fn read(cx: &mut Cx<'_>, view: &CollectorView, generation: u64, graph: &ComponentGraph) -> Self {
        let found = FoundCounts::read(&view.telemetry().collect());
        let statuses = view.statuses().entries();
        let statuses: BTreeMap<(&str, &str, &str), &ComponentStatusEntry> =
            statuses.iter().map(|s| ((s.kind, s.id.as_str(), s.instance.as_str()), s)).collect();
        let nodes = graph.nodes.iter().map(|node| {
            let status = statuses.get(&(node.kind.name(), node.id.as_str(), node.instance.as_str()));
            NodeState {
                status: status.map(|status| (*status).clone()),
                counts: found.of_node(node),
                queues: found.queues_of(node),
            }
        });
        let nodes = nodes.collect();
        let edges = graph.edges.iter().map(|edge| found.sum(graph, &edge.counts)).collect();
        let (process, sample) = (cx.sample_process(), cx.sample_memory());
        let budget = view.budget();
        let limit = |bytes: u64| Some(bytes).filter(|bytes| *bytes != u64::MAX);
        let memory = MemoryState {
            resident: process.resident,
            total: sample.total,
            held: budget.held(),
            kept: budget.kept(),
            limit: limit(budget.limit()),
            admission_limit: limit(budget.admission_limit()),
        };
        Self {
            generation,
            unix_ms: cx.wall_time().0 / 1_000_000,
            uptime: process.uptime,
            cpu_seconds: process.cpu_seconds,
            is_counted: view.telemetry().level() != MetricsLevel::None,
            nodes,
            edges,
            passed: Vec::new(),
            memory,
            connections: None,
            next_log: view.recent_log().records().last().map_or(0, |record| record.number + 1),
        }
    }
}

impl FoundCounts {
    fn read(families: &[MetricFamily]) -> Self {
        let mut found = Self::default();
        for family in families {
            let Some(rest) = family.name.strip_prefix("otelcol_") else {
                if family.name == "otelcore_exporter_queue_oldest_age_seconds" {
                    family.samples.iter().for_each(|sample| {
                        if let (Some(queue), Some(value)) = (found.queue(sample), number(sample)) {
                            queue.oldest_seconds = Some(value);
                        }
                    });
                }
                continue;
            };
            let Some((kind, name)) = rest.split_once('_') else { continue };
            match kind {
                "receiver" => found.add_family(NodeKind::Receiver, "receiver", name, family),
                "processor" => found.add_family(NodeKind::Processor, "processor", name, family),
                "connector" => found.add_family(NodeKind::Connector, "connector", name, family),
                "exporter" => found.add_family(NodeKind::Exporter, "exporter", name, family),
                _ => {}
            }
        }
        found
    }

    /// Adds the series of one family to the counts of their components.
    fn add_family(&mut self, kind: NodeKind, id_label: &str, name: &str, family: &MetricFamily) {
        if let Some(name) = name.strip_prefix("queue_") {
            for sample in &family.samples {
                let (Some(queue), Some(value)) = (self.queue(sample), number(sample)) else { continue };
                match name {
                    "size" => queue.size = Some(value as u64),
                    "capacity" => queue.capacity = Some(value as u64),
                    _ => {}
                }
            }
            return;
        }
        let Some((what, signal)) = counted_items(name) else { return };
        for sample in &family.samples {
            let signal = signal.or_else(|| signal_of(label(sample, "otel_signal")?));
            let (Some(id), Some(signal), Some(value)) = (label(sample, id_label), signal, number(sample)) else {
                continue;
            };
            let counts = self.counts.entry((kind, id.to_owned(), signal)).or_default();
            let count = match (kind, what) {
                (_, "incoming") => &mut counts.incoming,
                (NodeKind::Receiver, "accepted") | (NodeKind::Exporter, "sent") | (_, "outgoing") => {
                    &mut counts.outgoing
                }
                (_, "refused") | (NodeKind::Exporter, "enqueue_failed") => &mut counts.refused,
                (NodeKind::Receiver, "failed") | (NodeKind::Exporter, "send_failed") => &mut counts.failed,
                (_, "dropped") => &mut counts.dropped,
                (_, "held") => &mut counts.held,
                _ => continue,
            };
            // Several series of one component: transports, reasons.
            *count = Some(count.unwrap_or(0).saturating_add(value as u64));
        }
    }

    fn queue(&mut self, sample: &SeriesSample) -> Option<&mut QueueState> {
        let signal = signal_of(label(sample, "data_type")?)?;
        Some(self.queues.entry((label(sample, "exporter")?.to_owned(), signal)).or_default())
    }

    /// The counts of a node, of all its signals. A processor that several pipelines have is counted once for all of them.
    fn of_node(&self, node: &Node) -> ItemCounts {
        let mut sum = ItemCounts::default();
        let signals = if node.kind == NodeKind::Connector { &Signal::ALL[..] } else { &node.signals };
        for signal in signals {
            let Some(counts) = self.counts.get(&(node.kind, node.id.clone(), *signal)) else { continue };
            let pairs = [
                (&mut sum.incoming, counts.incoming),
                (&mut sum.outgoing, counts.outgoing),
                (&mut sum.refused, counts.refused),
                (&mut sum.dropped, counts.dropped),
                (&mut sum.failed, counts.failed),
                (&mut sum.held, counts.held),
            ];
            for (sum, more) in pairs {
                *sum = more.map(|more| sum.unwrap_or(0).saturating_add(more)).or(*sum);
            }
        }
        sum
    }

    fn queues_of(&self, node: &Node) -> Vec<(Signal, QueueState)> {
        if node.kind != NodeKind::Exporter {
            return Vec::new();
        }
        let of = |signal: &Signal| Some((*signal, *self.queues.get(&(node.id.clone(), *signal))?));
        node.signals.iter().filter_map(of).collect()
    }

    /// The sum of these counts, if all are known and there is one.
    fn sum(&self, graph: &ComponentGraph, sources: &[CountSource]) -> Option<u64> {
        let mut sum = None;
        for source in sources {
            let node = graph.nodes.get(source.node)?;
            let counts = self.counts.get(&(node.kind, node.id.clone(), source.signal))?;
            let value = match (node.kind, source.end) {
                // What a receiver passes on is what its pipelines take or refuse.
                (NodeKind::Receiver, _) => {
                    counts.incoming.or_else(|| Some(counts.outgoing?.saturating_add(counts.refused.unwrap_or(0))))
                }
                (_, CountedEnd::Incoming) => counts.incoming,
                (_, CountedEnd::Outgoing) => counts.outgoing,
            }?;
            sum = Some(sum.unwrap_or(0_u64).saturating_add(value));
        }
        sum
    }
}

/// What a family counts, and of which signal, if its name says so: `accepted_spans`, `incoming_items`.
fn counted_items(name: &str) -> Option<(&str, Option<Signal>)> {
    if let Some(what) = name.strip_suffix("_items") {
        return Some((what, None));
    }
    let of_signal = |signal: Signal| Some((name.strip_suffix(signal.item_name())?.strip_suffix('_')?, Some(signal)));
    Signal::ALL.into_iter().find_map(of_signal)
}

fn signal_of(name: &str) -> Option<Signal> {
    Signal::ALL.into_iter().find(|signal| signal.name() == name)
}

fn label<'a>(sample: &'a SeriesSample, name: &str) -> Option<&'a str> {
    sample.labels.iter().find(|(label, _)| *label == name).map(|(_, value)| value.as_str())
}

fn number(sample: &SeriesSample) -> Option<f64> {
    match sample.value {
        SeriesValue::Number(v) if v.is_finite() => Some(v),
        SeriesValue::Number(_) | SeriesValue::Histogram { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use otelcore_pipeline::{Outcome, QueueMetrics, ReceiverMetrics, Telemetry};

    use super::*;
    use crate::zpages::tests::example;

    fn graph() -> ComponentGraph {
        ComponentGraph::new(&example())
    }

    #[test]
    fn counts_of_receiver_and_exporter_are_found_by_signal() {
        let telemetry = Telemetry::new(MetricsLevel::Normal);
        for transport in ["grpc", "http"] {
            let metrics = ReceiverMetrics::new(&telemetry, "otlp", transport, &Signal::ALL);
            metrics.record_outcome(Signal::Traces, 10, &Outcome::Delivered);
            metrics.record_outcome(Signal::Traces, 1, &Outcome::permanent("no"));
            metrics.record_outcome(Signal::Metrics, 3, &Outcome::Delivered);
        }
        QueueMetrics::new(&telemetry, "prometheus", Signal::Metrics, 1000).size.set(7);
        let (graph, found) = (graph(), FoundCounts::read(&telemetry.collect()));
        let receiver = graph.nodes.iter().find(|node| node.kind == NodeKind::Receiver).unwrap();
        let counts = found.of_node(receiver);
        assert_eq!((counts.outgoing, counts.refused, counts.held), (Some(26), Some(2), Some(0)));
        let of = |from: &str, to: &str| {
            let edge =
                graph.edges.iter().find(|e| graph.nodes[e.from].id == from && graph.nodes[e.to].id == to).unwrap();
            found.sum(&graph, &edge.counts)
        };
        assert_eq!((of("otlp", "traces/<b>"), of("otlp", "metrics")), (Some(22), Some(6)));
        assert_eq!(of("memory_limiter", "prometheus"), None, "it is not counted");
        let exporter = graph.nodes.iter().find(|node| node.id == "prometheus").unwrap();
        let expected = QueueState { size: Some(7), capacity: Some(1000), oldest_seconds: None };
        assert_eq!(found.queues_of(exporter), [(Signal::Metrics, expected)]);
    }

    #[test]
    fn counts_of_items_by_signal_are_found() {
        let telemetry = Telemetry::new(MetricsLevel::Normal);
        let labels = |more: &[(&'static str, &str)]| {
            let own = [("processor", "memory_limiter"), ("otel_signal", "metrics")];
            own.iter().chain(more).map(|(name, value)| (*name, (*value).to_owned())).collect::<Vec<_>>()
        };
        let counter = |name, labels| telemetry.counter(MetricsLevel::Basic, name, "", labels);
        counter("otelcol_processor_incoming_items", labels(&[])).add(9);
        counter("otelcol_processor_outgoing_items", labels(&[])).add(5);
        counter("otelcol_processor_dropped_items", labels(&[("reason", "a")])).add(1);
        counter("otelcol_processor_dropped_items", labels(&[("reason", "b")])).add(2);
        let found = FoundCounts::read(&telemetry.collect());
        let graph = graph();
        let node = graph.nodes.iter().find(|node| node.id == "memory_limiter" && node.instance == "metrics").unwrap();
        let counts = found.of_node(node);
        assert_eq!((counts.incoming, counts.outgoing, counts.dropped), (Some(9), Some(5), Some(3)));
    }
}
