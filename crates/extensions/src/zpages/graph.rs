//! The pipelines of a description as a graph of components, and where the count of each edge comes from.
//!
//! Owns nodes and edges. A pipeline is a node too, between what feeds it and its first processor, so that the number of edges is
//! linear in the configuration. Reads no counts and draws nothing.

use std::collections::BTreeMap;

use otelcore_pdata::Signal;
use otelcore_pipeline::{CollectorDescription, EdgeEnd, EdgePlace, PipelineDescription};

/// The kinds of node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum NodeKind {
    Receiver,
    Connector,
    Pipeline,
    Processor,
    Exporter,
}

impl NodeKind {
    /// `receiver`, `processor` and so on.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Receiver => "receiver",
            Self::Connector => "connector",
            Self::Pipeline => "pipeline",
            Self::Processor => "processor",
            Self::Exporter => "exporter",
        }
    }
}

/// A component, or a pipeline.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Node {
    pub(super) kind: NodeKind,
    /// Its id as the user wrote it.
    pub(super) id: String,
    /// As in the table of statuses: the pipeline of a processor, the signals of a connector; otherwise empty.
    pub(super) instance: String,
    /// The signals that it takes or makes, sorted.
    pub(super) signals: Vec<Signal>,
    /// The pipelines that it is in, by index.
    pub(super) pipelines: Vec<usize>,
}

/// The end of a component at which items are counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum CountedEnd {
    /// What goes in.
    Incoming,
    /// What goes out.
    Outgoing,
}

/// A count of a component, which is kept by kind, id and signal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct CountSource {
    /// The index of a node with this kind and id.
    pub(super) node: usize,
    pub(super) signal: Signal,
    pub(super) end: CountedEnd,
}

/// A way of telemetry from one node to the next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Edge {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) signal: Signal,
    /// The pipeline that it is a part of.
    pub(super) pipeline: usize,
    /// Counts whose sum is the number of items that have passed; empty where no count is of this edge alone.
    pub(super) counts: Vec<CountSource>,
}

/// Nodes and edges of a collector. Edges lead from earlier to later parts of the flow; there are no cycles.
#[derive(Clone, Debug, Default)]
pub(super) struct ComponentGraph {
    pub(super) nodes: Vec<Node>,
    pub(super) edges: Vec<Edge>,
    /// The node of each pipeline.
    pub(super) pipelines: Vec<usize>,
}

/// The key of a node that several pipelines share.
type NodeKey = (NodeKind, String, String);

#[derive(Default)]
struct GraphBuilder {
    graph: ComponentGraph,
    by_key: BTreeMap<NodeKey, usize>,
    /// How many pipelines have a processor of this id, by signal.
    processor_uses: BTreeMap<(Signal, String), usize>,
}

impl ComponentGraph {
    /// The graph of a description. Its time is n log n in the number of names in pipelines.
    pub(super) fn new(description: &CollectorDescription) -> Self {
        let mut builder = GraphBuilder::default();
        for pipeline in &description.pipelines {
            for id in &pipeline.processors {
                *builder.processor_uses.entry((pipeline.signal, id.to_string())).or_default() += 1;
            }
        }
        // The connector instances that feed each pipeline, with the number of pipelines that they feed, and those it ends in.
        let count = description.pipelines.len();
        let (mut feeding, mut following) = (vec![Vec::new(); count], vec![Vec::new(); count]);
        for connector in &description.connectors {
            let (from, to) = connector.signals;
            let node = builder.node(NodeKind::Connector, connector.id.to_string(), format!("{from} to {to}"));
            for target in &connector.targets {
                if let Some(feeding) = feeding.get_mut(*target) {
                    feeding.push((node, connector.targets.len()));
                }
            }
            for source in &connector.sources {
                if let Some(following) = following.get_mut(*source) {
                    following.push(node);
                }
            }
        }
        for (index, pipeline) in description.pipelines.iter().enumerate() {
            builder.add_pipeline(index, pipeline, &feeding[index], &following[index]);
        }
        builder.graph
    }
}

impl ComponentGraph {
    /// Where an edge is in the running graph, for counts and samples.
    pub(super) fn place(&self, description: &CollectorDescription, edge: &Edge) -> Option<EdgePlace> {
        let pipeline = description.pipelines.get(edge.pipeline)?;
        let (from, to) = (self.nodes.get(edge.from)?, self.nodes.get(edge.to)?);
        let signals_of = |node: &Node| {
            let (from, to) = node.instance.split_once(" to ")?;
            let signal = |name: &str| Signal::ALL.into_iter().find(|signal| signal.name() == name);
            Some((signal(from)?, signal(to)?))
        };
        let end = match (from.kind, to.kind) {
            (NodeKind::Receiver, _) => EdgeEnd::Receiver(from.id.parse().ok()?),
            (NodeKind::Connector, NodeKind::Pipeline) => {
                let (taken, made) = signals_of(from)?;
                EdgeEnd::SourceConnector(from.id.parse().ok()?, taken, made)
            }
            (_, NodeKind::Processor) => {
                EdgeEnd::Processor(pipeline.processors.iter().position(|id| id.to_string() == to.id)?)
            }
            (_, NodeKind::Exporter) => EdgeEnd::Exporter(to.id.parse().ok()?),
            (_, NodeKind::Connector) => {
                let (taken, made) = signals_of(to)?;
                EdgeEnd::TargetConnector(to.id.parse().ok()?, taken, made)
            }
            (_, NodeKind::Receiver | NodeKind::Pipeline) => return None,
        };
        Some(EdgePlace { pipeline: pipeline.id.clone(), end })
    }
}

impl GraphBuilder {
    fn node(&mut self, kind: NodeKind, id: String, instance: String) -> usize {
        let nodes = &mut self.graph.nodes;
        *self.by_key.entry((kind, id.clone(), instance.clone())).or_insert_with(|| {
            nodes.push(Node { kind, id, instance, signals: Vec::new(), pipelines: Vec::new() });
            nodes.len() - 1
        })
    }

    /// Notes that a node is a part of a pipeline.
    fn use_in(&mut self, node: usize, pipeline: usize, signal: Signal) -> usize {
        if let Some(found) = self.graph.nodes.get_mut(node) {
            if let Err(at) = found.signals.binary_search(&signal) {
                found.signals.insert(at, signal);
            }
            if found.pipelines.last() != Some(&pipeline) {
                found.pipelines.push(pipeline);
            }
        }
        node
    }

    /// The count of a processor, where no other pipeline adds to it.
    fn count_of_processor(&self, node: usize, signal: Signal, end: CountedEnd) -> Option<Vec<CountSource>> {
        let id = &self.graph.nodes.get(node)?.id;
        let is_alone = self.processor_uses.get(&(signal, id.clone())) == Some(&1);
        is_alone.then(|| vec![CountSource { node, signal, end }])
    }

    fn add_pipeline(
        &mut self,
        index: usize,
        pipeline: &PipelineDescription,
        feeding: &[(usize, usize)],
        following: &[usize],
    ) {
        let signal = pipeline.signal;
        let name = pipeline.id.to_string();
        let start = self.node(NodeKind::Pipeline, name.clone(), String::new());
        self.use_in(start, index, signal);
        self.graph.pipelines.push(start);
        let edge = |graph: &mut ComponentGraph, from, to, counts: &[CountSource]| {
            graph.edges.push(Edge { from, to, signal, pipeline: index, counts: counts.to_vec() });
        };
        // What the pipeline takes: the sum of what feeds it.
        let mut taken = Some(Vec::new());
        for id in &pipeline.receivers {
            let node = self.node(NodeKind::Receiver, id.to_string(), String::new());
            self.use_in(node, index, signal);
            let counts = [CountSource { node, signal, end: CountedEnd::Outgoing }];
            edge(&mut self.graph, node, start, &counts);
            taken.iter_mut().for_each(|all: &mut Vec<_>| all.extend(counts.clone()));
        }
        for (node, targets) in feeding {
            self.use_in(*node, index, signal);
            let counts = [CountSource { node: *node, signal, end: CountedEnd::Outgoing }];
            // A connector that feeds several pipelines may choose one of them for each payload.
            let counts = if *targets == 1 { &counts[..] } else { &[] };
            edge(&mut self.graph, *node, start, counts);
            taken = taken.filter(|_| !counts.is_empty()).map(|all| [&all, counts].concat());
        }
        let mut last = (start, taken);
        for id in &pipeline.processors {
            let node = self.node(NodeKind::Processor, id.to_string(), name.clone());
            self.use_in(node, index, signal);
            let incoming = self.count_of_processor(node, signal, CountedEnd::Incoming);
            let counts = incoming.or(last.1).unwrap_or_default();
            edge(&mut self.graph, last.0, node, &counts);
            last = (node, self.count_of_processor(node, signal, CountedEnd::Outgoing));
        }
        let counts = last.1.unwrap_or_default();
        for id in &pipeline.exporters {
            let node = self.node(NodeKind::Exporter, id.to_string(), String::new());
            self.use_in(node, index, signal);
            edge(&mut self.graph, last.0, node, &counts);
        }
        for node in following {
            self.use_in(*node, index, signal);
            edge(&mut self.graph, last.0, *node, &counts);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zpages::tests::example;

    fn text(graph: &ComponentGraph, edge: &Edge) -> String {
        let name = |node: usize| format!("{} {}", graph.nodes[node].kind.name(), graph.nodes[node].id);
        let counts: Vec<String> =
            edge.counts.iter().map(|count| format!("{:?} of {}", count.end, name(count.node))).collect();
        format!("{} -> {}: {}", name(edge.from), name(edge.to), counts.join(" + "))
    }

    #[test]
    fn edge_has_the_counts_of_its_source_where_they_are_of_no_other_edge() {
        let graph = ComponentGraph::new(&example());
        let edges: Vec<String> = graph.edges.iter().map(|edge| text(&graph, edge)).collect();
        let expected = [
            "receiver otlp -> pipeline traces/<b>: Outgoing of receiver otlp",
            "pipeline traces/<b> -> processor memory_limiter: Incoming of processor memory_limiter",
            "processor memory_limiter -> processor batch/\"><script>: Incoming of processor batch/\"><script>",
            "processor batch/\"><script> -> exporter debug/a&b: Outgoing of processor batch/\"><script>",
            "processor batch/\"><script> -> connector span_metrics: Outgoing of processor batch/\"><script>",
            "receiver otlp -> pipeline metrics: Outgoing of receiver otlp",
            "connector span_metrics -> pipeline metrics: Outgoing of connector span_metrics",
            "pipeline metrics -> processor memory_limiter: Incoming of processor memory_limiter",
            "processor memory_limiter -> exporter prometheus: Outgoing of processor memory_limiter",
        ];
        assert_eq!(edges, expected);
        let receiver = graph.nodes.iter().find(|node| node.kind == NodeKind::Receiver).unwrap();
        assert_eq!((receiver.signals.len(), &receiver.pipelines[..]), (2, &[0, 1][..]));
    }

    #[test]
    fn count_that_pipelines_share_is_of_no_edge() {
        let mut description = example();
        let mut second = description.pipelines[0].clone();
        second.id = "traces/2".parse().unwrap();
        second.target_connectors.clear();
        second.receivers = vec!["jaeger".parse().unwrap()];
        description.pipelines.push(second);
        let graph = ComponentGraph::new(&description);
        let edges: Vec<String> = graph.edges.iter().map(|edge| text(&graph, edge)).collect();
        assert!(
            edges.contains(&"pipeline traces/2 -> processor memory_limiter: Outgoing of receiver jaeger".to_owned()),
            "{edges:?}"
        );
        assert!(edges.contains(&"processor memory_limiter -> processor batch/\"><script>: ".to_owned()), "{edges:?}");
    }

    #[test]
    fn number_of_edges_is_linear_in_the_names() {
        let mut description = example();
        let many = |prefix: &str| (0..1000).map(|i| format!("{prefix}/{i}").parse().unwrap()).collect();
        description.pipelines[0].receivers = many("otlp");
        description.pipelines[0].exporters = many("debug");
        description.pipelines[0].processors.clear();
        assert!(ComponentGraph::new(&description).edges.len() < 2100);
    }
}
