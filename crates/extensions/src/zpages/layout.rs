//! Places the nodes of a graph: columns by the longest way to a node, rows by pipelines.
//!
//! Owns columns and rows, in whole numbers. Knows neither sizes nor markup.

use super::graph::{ComponentGraph, NodeKind};

/// The most nodes that are drawn.
const MAX_NODES: usize = 300;

/// Where a node is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Place {
    pub(super) column: usize,
    /// In tenths of a row.
    pub(super) row: usize,
}

/// The height of a node with its distance to the next one, in tenths of a row.
pub(super) const ROW: usize = 10;

/// Places of all nodes. `None` for a graph that is too large to be read as a picture.
pub(super) fn place(graph: &ComponentGraph) -> Option<Vec<Place>> {
    if graph.nodes.len() > MAX_NODES || graph.nodes.is_empty() {
        return None;
    }
    let mut outgoing: Vec<Vec<usize>> = vec![Vec::new(); graph.nodes.len()];
    graph.edges.iter().for_each(|edge| outgoing[edge.from].push(edge.to));
    let order = topological_order(&outgoing);
    let mut places = vec![Place::default(); graph.nodes.len()];
    for node in &order {
        let next = places[*node].column + 1;
        for to in &outgoing[*node] {
            places[*to].column = places[*to].column.max(next);
        }
    }
    // Exporters are one column, the last one.
    let is_exporter = |node: usize| graph.nodes[node].kind == NodeKind::Exporter;
    let last = (0..places.len()).map(|node| places[node].column).max().unwrap_or(0);
    (0..places.len()).filter(|node| is_exporter(*node)).for_each(|node| places[node].column = last);
    // Pipelines have a row each, in the order of the flow.
    let mut rank = vec![0; graph.pipelines.len()];
    let in_order = order.iter().filter(|node| graph.nodes[**node].kind == NodeKind::Pipeline);
    for (row, node) in in_order.enumerate() {
        if let Some(pipeline) = graph.nodes[*node].pipelines.first() {
            rank[*pipeline] = row;
        }
    }
    let mut columns: Vec<Vec<(usize, usize)>> = vec![Vec::new(); last + 1];
    for (node, found) in graph.nodes.iter().enumerate() {
        let rows: usize = found.pipelines.iter().map(|pipeline| rank[*pipeline] * ROW).sum();
        columns[places[node].column].push((rows / found.pipelines.len().max(1), node));
    }
    for column in &mut columns {
        column.sort_unstable();
        let mut free = 0;
        for (row, node) in column {
            places[*node].row = (*row).max(free);
            free = places[*node].row + ROW;
        }
    }
    Some(places)
}

/// The nodes so that edges lead to later ones, from the ends of the edges of each node. Of nodes that are free at the same time
/// the first comes first.
fn topological_order(outgoing: &[Vec<usize>]) -> Vec<usize> {
    let mut waiting = vec![0_usize; outgoing.len()];
    outgoing.iter().flatten().for_each(|to| waiting[*to] += 1);
    let mut order: Vec<usize> = (0..waiting.len()).filter(|node| waiting[*node] == 0).collect();
    let mut done = 0;
    while let Some(node) = order.get(done).copied() {
        done += 1;
        for to in &outgoing[node] {
            waiting[*to] -= 1;
            if waiting[*to] == 0 {
                order.push(*to);
            }
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zpages::tests::example;

    #[test]
    fn edges_lead_to_later_columns_and_nodes_do_not_overlap() {
        let graph = ComponentGraph::new(&example());
        let places = place(&graph).unwrap();
        assert!(graph.edges.iter().all(|edge| places[edge.from].column < places[edge.to].column), "{places:?}");
        for (index, place) in places.iter().enumerate() {
            let overlaps = |other: &Place| other.column == place.column && other.row.abs_diff(place.row) < ROW;
            assert!(!places[index + 1..].iter().any(overlaps), "{places:?}");
        }
        let of = |id: &str| graph.nodes.iter().position(|node| node.id == id).unwrap();
        assert_eq!(places[of("otlp")].column, 0);
        assert_eq!(places[of("debug/a&b")].column, places[of("prometheus")].column, "exporters are one column");
        assert!(places[of("span_metrics")].column < places[of("metrics")].column);
    }

    #[test]
    fn large_graph_is_not_drawn() {
        let mut description = example();
        description.pipelines[0].receivers = (0..1000).map(|i| format!("otlp/{i}").parse().unwrap()).collect();
        assert_eq!(place(&ComponentGraph::new(&description)), None);
        assert_eq!(place(&ComponentGraph::default()), None);
    }
}
