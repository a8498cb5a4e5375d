//! Places the nodes of a graph: columns by the longest way to a node, rows by pipelines.
//!
//! Owns columns and rows, in whole numbers. Knows neither sizes nor markup.

use super::graph::{ComponentGraph, NodeKind};

/// Where a node is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Place {
    pub(super) column: usize,
    /// In tenths of a row.
    pub(super) row: usize,
}

/// The height of a node with its distance to the next one, in tenths of a row.
pub(super) const ROW: usize = 10;

/// The ends of the edges of each node.
fn outgoing(graph: &ComponentGraph) -> Vec<Vec<usize>> {
    let mut outgoing: Vec<Vec<usize>> = vec![Vec::new(); graph.nodes.len()];
    graph.edges.iter().for_each(|edge| outgoing[edge.from].push(edge.to));
    outgoing
}

/// The column of each node, in linear time.
pub(super) fn columns(graph: &ComponentGraph) -> Vec<usize> {
    let outgoing = outgoing(graph);
    columns_in_order(graph, &outgoing, &topological_order(&outgoing))
}

fn columns_in_order(graph: &ComponentGraph, outgoing: &[Vec<usize>], order: &[usize]) -> Vec<usize> {
    let mut columns = vec![0; graph.nodes.len()];
    for node in order {
        let next = columns[*node] + 1;
        for to in &outgoing[*node] {
            columns[*to] = columns[*to].max(next);
        }
    }
    // Exporters are one column, the last one.
    let last = columns.iter().copied().max().unwrap_or(0);
    let nodes = graph.nodes.iter().zip(&mut columns);
    nodes.filter(|(node, _)| node.kind == NodeKind::Exporter).for_each(|(_, column)| *column = last);
    columns
}

/// Places of all nodes.
pub(super) fn place(graph: &ComponentGraph) -> Vec<Place> {
    let outgoing = outgoing(graph);
    let order = topological_order(&outgoing);
    let columns = columns_in_order(graph, &outgoing, &order);
    let last = columns.iter().copied().max().unwrap_or(0);
    let mut places: Vec<Place> = columns.iter().map(|column| Place { column: *column, row: 0 }).collect();
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
    places
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
        let places = place(&graph);
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
    fn graph_without_nodes_has_no_places() {
        assert!(place(&ComponentGraph::default()).is_empty());
    }
}
