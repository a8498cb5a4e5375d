//! The graph as SVG, with the numbers of the moment at which it is written. A script may renew them; without one the picture is
//! still complete.
//!
//! Owns sizes and markup of the picture. Colours are in the style of the page, and each state has a shape as well.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::graph::{Node, NodeKind};
use super::grouping::Drawing;
use super::html::Html;
use super::layout::{Place, ROW};
use super::state::{ItemCounts, NodeState, Snapshot};
use super::text::shortened;

const NODE_WIDTH: usize = 172;
const NODE_HEIGHT: usize = 46;
const COLUMN: usize = 286;
const ROW_HEIGHT: usize = 74;
const MARGIN: usize = 16;
/// The most characters of an id in the picture; the whole id is in its title.
const MAX_ID: usize = 20;

/// The most characters of an error in a label; the table has all.
const MAX_MESSAGE: usize = 120;

/// What nothing is known of.
static NO_STATE: NodeState = NodeState { status: None, counts: ItemCounts::NONE, queues: Vec::new() };

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
    shortened(&node.id, MAX_ID)
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
            label.push_str(&shortened(&status.message, MAX_MESSAGE));
        }
    }
    if *shown != node.id {
        label.push_str(", ");
        label.push_str(&node.id);
    }
    label
}

/// A group in words: `12 receivers traces: 11 ok, 1 permanent error`. Begins with the visible text.
fn label_of_group(node: &Node, members: &[usize], snapshot: &Snapshot) -> String {
    let mut counts = BTreeMap::new();
    let statuses = members.iter().filter_map(|member| snapshot.nodes.get(*member)?.status.as_ref());
    statuses.for_each(|status| *counts.entry(status.status).or_insert(0_usize) += 1);
    let counts: Vec<String> =
        counts.iter().map(|(status, count)| format!("{count} {}", status.name().replace('_', " "))).collect();
    let label = format!("{} {}", node.id, signals_of(node));
    if counts.is_empty() { label } else { format!("{label}: {}", counts.join(", ")) }
}

fn signals_of(node: &Node) -> String {
    node.signals.iter().map(|signal| signal.name()).collect::<Vec<_>>().join(", ")
}

/// The shape of the worst state.
fn shape_of_group(members: &[usize], snapshot: &Snapshot) -> &'static str {
    let shapes: BTreeSet<&str> =
        members.iter().filter_map(|member| snapshot.nodes.get(*member)).map(shape_of).collect();
    ["bad", "warn", "wait", "ok"].into_iter().find(|shape| shapes.contains(shape)).unwrap_or("off")
}

fn corner(place: Place) -> (usize, usize) {
    (MARGIN + place.column * COLUMN, MARGIN + place.row * ROW_HEIGHT / ROW)
}

/// The most bytes with members that are given to the script; without them a group keeps the numbers of the moment.
const MAX_MEMBERS: usize = 8 << 10;

/// Appends the attribute with the members of a group, in runs: first number, step, count.
fn write_members(html: &mut Html, members: &[usize], room: &mut usize) {
    let mut text = String::new();
    let mut rest = members;
    while let [first, others @ ..] = rest {
        let step = others.first().map_or(1, |second| second.saturating_sub(*first));
        let run = 1 + others.iter().zip(1..).take_while(|(member, n)| **member == first + step * n).count();
        text.push_str(&format!("{}{first}:{step}:{run}", if text.is_empty() { "" } else { " " }));
        rest = rest.get(run..).unwrap_or_default();
    }
    if text.len() > *room {
        text.clear();
    }
    *room -= text.len();
    html.raw(" data-m=\"").raw(&text).raw("\"");
}

/// Appends the picture. `open_group` is the address that shows the members of a group.
pub(super) fn write_picture(
    html: &mut Html,
    drawing: &Drawing,
    places: &[Place],
    snapshot: &Snapshot,
    open_group: &dyn Fn(&str) -> String,
) {
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
    let mut room = MAX_MEMBERS;
    let edges = drawing.graph.edges.iter().zip(&drawing.edges);
    for (edge, members) in edges {
        let (Some((from_x, from_y)), Some((x, to_y))) = (corners.get(edge.from), corners.get(edge.to)) else {
            continue;
        };
        let (from_x, from_y, to_y) = (from_x + NODE_WIDTH, from_y + NODE_HEIGHT / 2, to_y + NODE_HEIGHT / 2);
        let bend = x.saturating_sub(COLUMN - NODE_WIDTH).max(from_x);
        let middle = (bend + x) / 2;
        let line = format!("M{from_x} {from_y}H{bend}C{middle} {from_y} {middle} {to_y} {x} {to_y}");
        html.raw("<g class=\"edge ").raw(edge.signal.name()).raw("\"");
        match members[..] {
            [only] => _ = html.raw(" id=\"p").number(only).raw("\""),
            _ => write_members(html, members, &mut room),
        }
        // What is seen, and a wider line that can be hit with a finger.
        html.raw(" aria-hidden=\"true\"><path d=\"").raw(&line).raw("\"/>");
        if members.len() == 1 {
            html.raw("<path class=\"hit\" d=\"").raw(&line).raw("\"/>");
        }
        let label_y = (from_y + to_y) / 2;
        html.raw("<text x=\"").number(middle).raw("\" y=\"").number(label_y.saturating_sub(5)).raw("\">");
        let counts: Vec<u64> =
            members.iter().filter_map(|member| snapshot.edges.get(*member).copied().flatten()).collect();
        if !counts.is_empty() {
            html.number(counts.iter().fold(0, |sum: u64, count| sum.saturating_add(*count)));
        }
        html.raw("</text><polyline points=\"\" data-x=\"").number(middle.saturating_sub(27)).raw("\" data-y=\"");
        html.number(label_y + 4).raw("\"/></g>\n");
    }
    for ((node, drawn), corner) in drawing.graph.nodes.iter().zip(&drawing.nodes).zip(&corners) {
        match &drawn.group {
            Some(key) => {
                html.raw("<a href=\"").text(&open_group(key)).raw("\"");
                write_members(html, &drawn.members, &mut room);
                html.raw(" class=\"node group ");
                let label = label_of_group(node, &drawn.members, snapshot);
                write_box(html, node, &label, shape_of_group(&drawn.members, snapshot), *corner, &signals_of(node));
            }
            None => {
                let Some(index) = drawn.members.first() else { continue };
                let state = snapshot.nodes.get(*index).unwrap_or(&NO_STATE);
                // A pipeline has no row among the components; its edges have.
                html.raw("<a href=\"#");
                match node.kind {
                    NodeKind::Pipeline => html.raw("h-edges"),
                    _ => html.raw("n").number(index),
                };
                html.raw("\" id=\"g").number(index).raw("\" class=\"node ");
                write_box(html, node, &label_of(node, state), shape_of(state), *corner, node.kind.name());
            }
        }
    }
    html.raw("</svg>\n");
}

/// Appends the rest of a node, from the value of its class on.
fn write_box(html: &mut Html, node: &Node, label: &str, shape: &str, (x, y): (usize, usize), second_line: &str) {
    let has_shape = node.kind != NodeKind::Pipeline;
    html.raw(node.kind.name()).raw(match shape {
        "bad" => " bad",
        "warn" => " warn",
        _ => "",
    });
    html.raw("\" transform=\"translate(").number(x).raw(" ").number(y).raw(")\" aria-label=\"").text(label);
    html.raw("\"><title>").text(label).raw("</title><rect rx=\"6\" width=\"").number(NODE_WIDTH).raw("\" height=\"");
    html.number(NODE_HEIGHT).raw("\"/>");
    let text_x = if has_shape { 34 } else { 12 };
    if has_shape {
        html.raw("<use href=\"#s-").raw(shape).raw("\" data-shape=\"").raw(shape);
        html.raw("\" x=\"11\" y=\"16\" width=\"14\" height=\"14\"/>");
    }
    // The space keeps the two apart where they are read one after the other.
    html.raw("<text x=\"").number(text_x).raw("\" y=\"20\">").text(&shown_id(node)).raw(" ");
    html.raw("</text><text class=\"kind\" x=\"");
    html.number(text_x).raw("\" y=\"36\">").raw(second_line).raw("</text></a>\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_written_in_runs_within_the_room() {
        let mut room = 40;
        let mut html = Html::default();
        write_members(&mut html, &[3, 8, 13, 14, 20], &mut room);
        write_members(&mut html, &(0..1000).map(|i| i * i).collect::<Vec<_>>(), &mut room);
        assert_eq!(html.finish(), " data-m=\"3:5:3 14:6:2\" data-m=\"\"");
        assert_eq!(room, 28);
    }
}
