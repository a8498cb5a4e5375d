//! The graph as SVG, with the numbers of the moment at which it is written. A script may renew them; without one the picture is
//! still complete.
//!
//! Owns sizes and markup of the picture. Colours are in the style of the page, and each state has a shape as well.

use std::borrow::Cow;

use super::graph::{ComponentGraph, Node};
use super::html::Html;
use super::layout::{Place, ROW};
use super::state::{NodeState, Snapshot};

const NODE_WIDTH: usize = 172;
const NODE_HEIGHT: usize = 46;
const COLUMN: usize = 286;
const ROW_HEIGHT: usize = 74;
const MARGIN: usize = 16;
/// The most characters of an id in the picture; the whole id is in its title.
const MAX_ID: usize = 20;

/// The shapes of states, which `use` elements of the page refer to: circle, triangle, square, ring, bar.
pub(super) const SHAPES: &str = "<svg width=\"0\" height=\"0\" aria-hidden=\"true\" focusable=\"false\"><defs>\
    <symbol id=\"s-ok\" viewBox=\"0 0 14 14\"><circle class=\"s-ok\" cx=\"7\" cy=\"7\" r=\"6\"/></symbol>\
    <symbol id=\"s-warn\" viewBox=\"0 0 14 14\"><path class=\"s-warn\" d=\"M7 0 14 13H0z\"/></symbol>\
    <symbol id=\"s-bad\" viewBox=\"0 0 14 14\"><path class=\"s-bad\" d=\"M1 1h12v12H1z\"/></symbol>\
    <symbol id=\"s-wait\" viewBox=\"0 0 14 14\"><circle class=\"s-wait\" cx=\"7\" cy=\"7\" r=\"5\"/></symbol>\
    <symbol id=\"s-off\" viewBox=\"0 0 14 14\"><path class=\"s-off\" d=\"M1 7h12\"/></symbol>\
    </defs></svg>\n";

/// The shape of a state.
pub(super) fn shape_of(node: &NodeState) -> &'static str {
    use otelcore_pipeline::ComponentStatus as Status;
    match node.status.as_ref().map(|status| status.status) {
        Some(Status::Ok) => "ok",
        Some(Status::RecoverableError) => "warn",
        Some(Status::PermanentError) => "bad",
        Some(Status::Starting) => "wait",
        _ => "off",
    }
}

/// The id as it is in the picture, where a long one is cut off.
fn shown_id(node: &Node) -> Cow<'_, str> {
    match node.id.char_indices().nth(MAX_ID) {
        Some((end, _)) => format!("{}…", &node.id[..end]).into(),
        None => node.id.as_str().into(),
    }
}

/// What a node is and how it is, in words. Begins with the text that is visible; the script writes it in the same way.
pub(super) fn label_of(node: &Node, state: &NodeState) -> String {
    let shown = shown_id(node);
    let mut label = format!("{shown} {}", node.kind.name());
    if let Some(status) = &state.status {
        label.push_str(": ");
        label.push_str(&status.status.name().replace('_', " "));
        if !status.message.is_empty() {
            label.push_str(", ");
            label.push_str(&status.message);
        }
    }
    if *shown != node.id {
        label.push_str(", ");
        label.push_str(&node.id);
    }
    label
}

fn corner(place: Place) -> (usize, usize) {
    (MARGIN + place.column * COLUMN, MARGIN + place.row * ROW_HEIGHT / ROW)
}

/// Appends the picture.
pub(super) fn write_picture(html: &mut Html, graph: &ComponentGraph, places: &[Place], snapshot: &Snapshot) {
    let corners: Vec<(usize, usize)> = places.iter().map(|place| corner(*place)).collect();
    let width = corners.iter().map(|(x, _)| x + NODE_WIDTH + MARGIN).max().unwrap_or(0);
    let height = corners.iter().map(|(_, y)| y + NODE_HEIGHT + MARGIN).max().unwrap_or(0);
    html.raw("<svg role=\"group\" aria-label=\"Pipelines as a graph; the tables below have the same facts\" width=\"");
    html.number(width)
        .raw("\" height=\"")
        .number(height)
        .raw("\" viewBox=\"0 0 ")
        .number(width)
        .raw(" ")
        .number(height);
    html.raw("\">\n");
    for (index, edge) in graph.edges.iter().enumerate() {
        let ((from_x, from_y), (x, to_y)) = (corners[edge.from], corners[edge.to]);
        let (from_x, from_y, to_y) = (from_x + NODE_WIDTH, from_y + NODE_HEIGHT / 2, to_y + NODE_HEIGHT / 2);
        let bend = x.saturating_sub(COLUMN - NODE_WIDTH).max(from_x);
        let middle = (bend + x) / 2;
        let line = format!("M{from_x} {from_y}H{bend}C{middle} {from_y} {middle} {to_y} {x} {to_y}");
        html.raw("<g class=\"edge ")
            .raw(edge.signal.name())
            .raw("\" id=\"p")
            .number(index)
            .raw("\" aria-hidden=\"true\">");
        // What is seen, and a wider line that can be hit with a finger.
        html.raw("<path d=\"").raw(&line).raw("\"/><path class=\"hit\" d=\"").raw(&line).raw("\"/>");
        let label_y = (from_y + to_y) / 2;
        html.raw("<text x=\"").number(middle).raw("\" y=\"").number(label_y.saturating_sub(5)).raw("\">");
        if let Some(items) = snapshot.edges.get(index).copied().flatten() {
            html.number(items);
        }
        html.raw("</text><polyline points=\"\" data-x=\"").number(middle.saturating_sub(27)).raw("\" data-y=\"");
        html.number(label_y + 4).raw("\"/></g>\n");
    }
    for (index, (node, state)) in graph.nodes.iter().zip(&snapshot.nodes).enumerate() {
        write_node(html, index, node, state, corners[index]);
    }
    html.raw("</svg>\n");
}

fn write_node(html: &mut Html, index: usize, node: &Node, state: &NodeState, (x, y): (usize, usize)) {
    let (shape, label) = (shape_of(state), label_of(node, state));
    let is_pipeline = state.status.is_none() && node.kind == super::graph::NodeKind::Pipeline;
    // A pipeline has no row among the components; its edges have.
    html.raw("<a href=\"#");
    if node.kind == super::graph::NodeKind::Pipeline {
        html.raw("h-edges")
    } else {
        html.raw("n").number(index)
    };
    html.raw("\" id=\"g").number(index).raw("\" class=\"node ");
    html.raw(node.kind.name()).raw(match shape {
        "bad" => " bad",
        "warn" => " warn",
        _ => "",
    });
    html.raw("\" transform=\"translate(").number(x).raw(" ").number(y).raw(")\" aria-label=\"").text(&label);
    html.raw("\"><title>").text(&label).raw("</title><rect rx=\"6\" width=\"").number(NODE_WIDTH).raw("\" height=\"");
    html.number(NODE_HEIGHT).raw("\"/>");
    let text_x = if is_pipeline { 12 } else { 34 };
    if !is_pipeline {
        html.raw("<use href=\"#s-").raw(shape).raw("\" data-shape=\"").raw(shape);
        html.raw("\" x=\"11\" y=\"16\" width=\"14\" height=\"14\"/>");
    }
    // The space keeps the two apart where they are read one after the other.
    html.raw("<text x=\"").number(text_x).raw("\" y=\"20\">").text(&shown_id(node)).raw(" ");
    html.raw("</text><text class=\"kind\" x=\"");
    html.number(text_x).raw("\" y=\"36\">").raw(node.kind.name()).raw("</text></a>\n");
}
