//! What of a graph is drawn: every component, or groups of those of one kind and signal where there are more than fit.
//!
//! Owns the choice. A group has the components of one kind and the same signals in the same column, so that edges between groups
//! lead forward as those between components do; one that is opened shows its members. Bounds of the picture are here. Draws nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::graph::{ComponentGraph, Edge, Node, NodeKind};
use super::layout;
use super::text::query_value;

/// The most components that are drawn one by one without groups, and with opened groups.
const MAX_NODES: usize = 36;
/// The most nodes of any picture.
const MAX_DRAWN_NODES: usize = 48;
/// The most edges of a picture without groups.
const MAX_EDGES: usize = 56;
/// The most edges of any picture.
const MAX_DRAWN_EDGES: usize = 80;

/// What a reader has chosen.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct View {
    /// Only components whose id or kind has this text, and their neighbours.
    pub(super) text: String,
    /// Only components of this pipeline, by its index.
    pub(super) pipeline: Option<usize>,
    /// Keys of groups whose members are drawn.
    pub(super) open: BTreeSet<String>,
}

/// The longest text that is searched for, in characters, and the most groups that are opened.
const MAX_TEXT: usize = 200;
const MAX_OPEN: usize = 16;

impl View {
    /// What a query asks for: `q`, `pipeline` and any number of `open`. Other names, and numbers that there are not, are left out: a
    /// link to an earlier configuration shows what there is.
    pub(super) fn parse(query: &str, pipelines: usize) -> Self {
        let mut view = Self::default();
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            let value = query_value(value);
            match name {
                "q" => view.text = value.trim().chars().take(MAX_TEXT).collect(),
                "pipeline" => view.pipeline = value.parse().ok().filter(|index| *index < pipelines),
                "open" if view.open.len() < MAX_OPEN => _ = view.open.insert(value.chars().take(MAX_TEXT).collect()),
                _ => {}
            }
        }
        view
    }

    fn is_whole(&self) -> bool {
        self.text.is_empty() && self.pipeline.is_none()
    }
}

/// A node of the picture.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct DrawnNode {
    /// Nodes of the graph; one, unless it is a group.
    pub(super) members: Vec<usize>,
    /// The key of a group.
    pub(super) group: Option<String>,
}

/// What is drawn.
#[derive(Clone, Debug, Default)]
pub(super) struct Drawing {
    /// As it is drawn; the id of a group says how many components it has.
    pub(super) graph: ComponentGraph,
    /// In the order of its nodes.
    pub(super) nodes: Vec<DrawnNode>,
    /// The edges that each of its edges stands for.
    pub(super) edges: Vec<Vec<usize>>,
    /// There are more components than fit, so that the reader has to choose.
    pub(super) is_large: bool,
    /// Groups that are opened: key and name.
    pub(super) opened: Vec<(String, String)>,
    /// Nodes and edges that are left out, for which there are too many groups.
    pub(super) omitted_nodes: usize,
    pub(super) omitted_edges: usize,
}

/// The key of the group that a node belongs to.
fn key_of(node: &Node, column: usize) -> String {
    let signals: Vec<&str> = node.signals.iter().map(|signal| signal.name()).collect();
    format!("{}-{}-{column}", node.kind.name(), signals.join("."))
}

/// `12 receivers`.
fn name_of(node: &Node, count: usize) -> String {
    format!("{count} {}{}", node.kind.name(), if count == 1 { "" } else { "s" })
}

impl Drawing {
    /// The picture of a graph, in n log n of its size.
    pub(super) fn new(graph: &ComponentGraph, view: &View) -> Self {
        let is_large = graph.nodes.len() > MAX_NODES || graph.edges.len() > MAX_EDGES;
        if !is_large {
            let nodes = (0..graph.nodes.len()).map(|node| DrawnNode { members: vec![node], group: None });
            let edges = (0..graph.edges.len()).map(|edge| vec![edge]);
            return Self { graph: graph.clone(), nodes: nodes.collect(), edges: edges.collect(), ..Self::default() };
        }
        let chosen = chosen_nodes(graph, view);
        let columns = layout::columns(graph);
        let mut groups: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for node in &chosen {
            groups.entry(key_of(&graph.nodes[*node], columns[*node])).or_default().push(*node);
        }
        let edge_count = graph.edges.iter().filter(|e| chosen.contains(&e.from) && chosen.contains(&e.to)).count();
        let fits = chosen.len() <= MAX_NODES && edge_count <= MAX_DRAWN_EDGES;
        let mut drawing = Self { is_large, ..Self::default() };
        // How many members may still be drawn beside one node for each group.
        let mut free = MAX_NODES.saturating_sub(groups.len());
        for (key, members) in groups {
            let Some(first) = members.first().and_then(|node| graph.nodes.get(*node)) else { continue };
            let is_open = view.open.contains(&key);
            let single = if fits || (is_open && members.len() <= free) || members.len() == 1 {
                members.len()
            } else if is_open {
                free
            } else {
                0
            };
            if members.len() > 1 {
                free = free.saturating_sub(single);
            }
            if is_open && !fits && members.len() > 1 {
                drawing.opened.push((key.clone(), name_of(first, members.len())));
            }
            let (alone, together) = members.split_at(single);
            drawing.nodes.extend(alone.iter().map(|node| DrawnNode { members: vec![*node], group: None }));
            if !together.is_empty() {
                drawing.nodes.push(DrawnNode { members: together.to_vec(), group: Some(key) });
            }
        }
        drawing.omitted_nodes = drawing.nodes.len().saturating_sub(MAX_DRAWN_NODES);
        drawing.nodes.truncate(MAX_DRAWN_NODES);
        drawing.add_graph(graph);
        drawing
    }

    /// Fills the graph that is drawn.
    fn add_graph(&mut self, graph: &ComponentGraph) {
        let mut drawn_as = BTreeMap::new();
        for (index, drawn) in self.nodes.iter().enumerate() {
            drawn_as.extend(drawn.members.iter().map(|member| (*member, index)));
        }
        // Pipelines by their number in the picture.
        let mut pipeline_of = BTreeMap::new();
        for (index, drawn) in self.nodes.iter().enumerate() {
            let Some(first) = drawn.members.first().and_then(|member| graph.nodes.get(*member)) else { continue };
            if first.kind == NodeKind::Pipeline {
                let number = self.graph.pipelines.len();
                self.graph.pipelines.push(index);
                let pipelines = drawn.members.iter().flat_map(|member| &graph.nodes[*member].pipelines);
                pipeline_of.extend(pipelines.map(|pipeline| (*pipeline, number)));
            }
        }
        for drawn in &self.nodes {
            let Some(first) = drawn.members.first().and_then(|member| graph.nodes.get(*member)) else { continue };
            let pipelines = drawn.members.iter().flat_map(|member| &graph.nodes[*member].pipelines);
            let pipelines: BTreeSet<usize> =
                pipelines.filter_map(|pipeline| pipeline_of.get(pipeline).copied()).collect();
            let id = if drawn.group.is_some() { name_of(first, drawn.members.len()) } else { first.id.clone() };
            self.graph.nodes.push(Node { id, pipelines: pipelines.into_iter().collect(), ..first.clone() });
        }
        let mut edges: BTreeMap<(usize, usize, otelcore_pdata::Signal), Vec<usize>> = BTreeMap::new();
        for (index, edge) in graph.edges.iter().enumerate() {
            if let (Some(from), Some(to)) = (drawn_as.get(&edge.from), drawn_as.get(&edge.to)) {
                edges.entry((*from, *to, edge.signal)).or_default().push(index);
            }
        }
        self.omitted_edges = edges.len().saturating_sub(MAX_DRAWN_EDGES);
        for ((from, to, signal), members) in edges.into_iter().take(MAX_DRAWN_EDGES) {
            self.graph.edges.push(Edge { from, to, signal, pipeline: 0, counts: Vec::new() });
            self.edges.push(members);
        }
    }

    /// The nodes of the graph that are drawn one by one.
    pub(super) fn single_nodes(&self) -> BTreeSet<usize> {
        let single = self.nodes.iter().filter(|drawn| drawn.group.is_none());
        single.flat_map(|drawn| drawn.members.iter().copied()).collect()
    }
}

/// The nodes that a reader has chosen.
fn chosen_nodes(graph: &ComponentGraph, view: &View) -> BTreeSet<usize> {
    let text = view.text.to_lowercase();
    let has_text = |node: &Node| node.id.to_lowercase().contains(&text) || node.kind.name().contains(&text);
    let in_pipeline =
        |node: &Node| view.pipeline.is_none_or(|pipeline| node.pipelines.binary_search(&pipeline).is_ok());
    let found = graph.nodes.iter().enumerate().filter(|(_, node)| in_pipeline(node) && has_text(node));
    let mut chosen: BTreeSet<usize> = found.map(|(index, _)| index).collect();
    if !view.is_whole() && !text.is_empty() {
        let found = chosen.clone();
        for edge in graph.edges.iter().filter(|edge| view.pipeline.is_none_or(|pipeline| edge.pipeline == pipeline)) {
            if found.contains(&edge.from) || found.contains(&edge.to) {
                chosen.extend([edge.from, edge.to]);
            }
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zpages::tests::{example, large_example};

    #[test]
    fn query_is_read_and_what_there_is_not_is_left_out() {
        let view = View::parse("q=a+b%26&pipeline=3&open=x-1&open=y&other=1", 4);
        assert_eq!((view.text.as_str(), view.pipeline, view.open.len()), ("a b&", Some(3), 2));
        assert_eq!(View::parse("pipeline=4&q=", 4), View::default());
        let many = (0..100).map(|i| format!("open={i}")).collect::<Vec<_>>().join("&");
        assert_eq!(View::parse(&many, 0).open.len(), MAX_OPEN);
    }

    #[test]
    fn small_graph_is_drawn_as_it_is() {
        let graph = ComponentGraph::new(&example());
        let drawing = Drawing::new(&graph, &View::default());
        assert!(!drawing.is_large && drawing.nodes.iter().all(|drawn| drawn.group.is_none()));
        assert_eq!((drawing.nodes.len(), drawing.edges.len()), (graph.nodes.len(), graph.edges.len()));
    }

    #[test]
    fn large_graph_is_drawn_in_groups_of_kind_and_signal_that_can_be_opened() {
        let graph = ComponentGraph::new(&large_example(400));
        let drawing = Drawing::new(&graph, &View::default());
        assert!(drawing.is_large && drawing.nodes.len() < 20, "{:?}", drawing.graph.nodes);
        let members: usize = drawing.nodes.iter().map(|drawn| drawn.members.len()).sum();
        assert_eq!(members, graph.nodes.len(), "every component is in one node");
        let edges: usize = drawing.edges.iter().map(Vec::len).sum();
        assert_eq!(edges, graph.edges.len());
        let columns = layout::columns(&drawing.graph);
        assert!(drawing.graph.edges.iter().all(|edge| columns[edge.from] < columns[edge.to]), "edges lead forward");
        let key = drawing.nodes.iter().filter_map(|drawn| drawn.group.clone()).find(|key| key.starts_with("receiver-"));
        let view = View { open: [key.clone().unwrap()].into(), ..View::default() };
        let opened = Drawing::new(&graph, &view);
        assert_eq!(opened.opened.len(), 1);
        assert!(opened.single_nodes().len() > 20 && opened.nodes.len() <= MAX_NODES + 1, "{}", opened.nodes.len());
        assert!(opened.edges.len() <= MAX_DRAWN_EDGES);
    }

    #[test]
    fn choice_of_a_pipeline_or_a_text_draws_what_belongs_to_it() {
        let graph = ComponentGraph::new(&large_example(400));
        let pipeline = Drawing::new(&graph, &View { pipeline: Some(7), ..View::default() });
        assert!(pipeline.nodes.iter().all(|drawn| drawn.group.is_none()) && pipeline.nodes.len() >= 4);
        let text = Drawing::new(&graph, &View { text: "debug/399".to_owned(), ..View::default() });
        assert!(text.graph.nodes.iter().any(|node| node.id == "debug/399"), "{:?}", text.graph.nodes);
        assert!(text.nodes.len() < 10 && !text.edges.is_empty());
        let none = Drawing::new(&graph, &View { text: "nothing has this".to_owned(), ..View::default() });
        assert!(none.nodes.is_empty() && none.edges.is_empty());
    }
}
