//! The data interface: what the live page and other programs read, as JSON. docs/live-page.md describes it.
//!
//! Owns the form.

use otelcore_pdata::text::put_rfc3339;
use otelcore_pipeline::{CollectorDescription, ComponentStatus, RecentLogRecord};

use super::graph::{ComponentGraph, NodeKind};
use super::json_writer::Json;
use super::state::{NodeState, Snapshot};

/// `/api/v1/graph`: what does not change until the next reload.
pub(super) fn graph_json(generation: u64, description: &CollectorDescription, graph: &ComponentGraph) -> Vec<u8> {
    let mut json = Json::default();
    json.begin(b'{').key("generation").value(generation);
    json.key("command").string(&description.command).key("version").string(&description.version);
    json.key("pipelines").begin(b'[');
    for (pipeline, node) in description.pipelines.iter().zip(&graph.pipelines) {
        json.begin(b'{').key("id").string(&pipeline.id.to_string()).key("signal").string(pipeline.signal.name());
        json.key("node").value(node).end(b'}');
    }
    json.end(b']').key("nodes").begin(b'[');
    for node in &graph.nodes {
        json.begin(b'{').key("kind").string(node.kind.name()).key("id").string(&node.id);
        json.key("instance").string(&node.instance);
        json.key("signals").strings(node.signals.iter().map(|signal| signal.name()));
        json.key("pipelines").begin(b'[');
        for pipeline in &node.pipelines {
            json.value(pipeline);
        }
        json.end(b']').end(b'}');
    }
    json.end(b']').key("edges").begin(b'[');
    for edge in &graph.edges {
        json.begin(b'{').key("from").value(edge.from).key("to").value(edge.to);
        json.key("signal").string(edge.signal.name()).key("pipeline").value(edge.pipeline).end(b'}');
    }
    json.end(b']').key("extensions").begin(b'[');
    for id in &description.extensions {
        json.string(&id.to_string());
    }
    json.end(b']').end(b'}');
    json.finish()
}

/// `/api/v1/state`, and the data of each event.
pub(super) fn state_json(snapshot: &Snapshot) -> Vec<u8> {
    let mut json = Json::default();
    json.begin(b'{').key("generation").value(snapshot.generation).key("unix_ms").value(snapshot.unix_ms);
    json.key("uptime_ms").value(snapshot.uptime.as_millis());
    json.key("cpu_seconds").value(snapshot.cpu_seconds).key("counted").value(snapshot.is_counted);
    json.key("nodes").begin(b'[');
    for node in &snapshot.nodes {
        put_node(&mut json, node);
    }
    json.end(b']').key("edges").begin(b'[');
    for items in &snapshot.edges {
        json.optional(*items);
    }
    json.end(b']');
    if !snapshot.passed.is_empty() {
        json.key("passed").begin(b'[');
        for counts in &snapshot.passed {
            match counts {
                Some(counts) => {
                    json.begin(b'{').key("items").value(counts.items).key("bytes").value(counts.bytes).end(b'}')
                }
                None => json.value("null"),
            };
        }
        json.end(b']');
    }
    json.key("memory").begin(b'{');
    let memory = &snapshot.memory;
    json.key("resident_bytes").value(memory.resident).key("total_bytes").optional(memory.total);
    json.key("held_bytes").value(memory.held).key("kept_bytes").value(memory.kept);
    json.key("limit_bytes").optional(memory.limit);
    json.key("admission_limit_bytes").optional(memory.admission_limit).end(b'}');
    if let Some(connections) = &snapshot.connections {
        connections.put(&mut json);
    }
    json.key("next_log").value(snapshot.next_log).end(b'}');
    json.finish()
}

fn put_node(json: &mut Json, node: &NodeState) {
    json.begin(b'{');
    if let Some(status) = &node.status {
        json.key("status").string(status.status.name()).key("message").string(&status.message);
        json.key("changed_unix_ms").value(status.changed_at.0 / 1_000_000);
        if let Some(last) = &status.last_error {
            json.key("last_error").begin(b'{').key("message").string(&last.message);
            json.key("unix_ms").value(last.at.0 / 1_000_000).key("count").value(last.count).end(b'}');
        }
    }
    for (key, count) in node.counts.named() {
        if let Some(count) = count {
            json.key(key).value(count);
        }
    }
    if !node.queues.is_empty() {
        json.key("queues").begin(b'[');
        for (signal, queue) in &node.queues {
            json.begin(b'{').key("signal").string(signal.name()).key("size").optional(queue.size);
            json.key("capacity")
                .optional(queue.capacity)
                .key("oldest_seconds")
                .optional(queue.oldest_seconds)
                .end(b'}');
        }
        json.end(b']');
    }
    json.end(b'}');
}

/// `/api/v1/log`: the records from number `from` on.
pub(super) fn log_json(records: &[RecentLogRecord], from: u64) -> Vec<u8> {
    let mut json = Json::default();
    json.begin(b'{').key("records").begin(b'[');
    for record in records.iter().filter(|record| record.number >= from) {
        json.begin(b'{').key("number").value(record.number).key("time").string(&time_text(record.time.0));
        json.key("level").string(record.level.name()).key("component").string(&record.component);
        json.key("text").string(&record.text).end(b'}');
    }
    json.end(b']').end(b'}');
    json.finish()
}

/// A point in time for people, to the second.
pub(super) fn time_text(unix_nanos: u64) -> String {
    let mut text = Vec::new();
    put_rfc3339(&mut text, unix_nanos / 1_000_000_000 * 1_000_000_000);
    String::from_utf8_lossy(&text).into_owned()
}

/// The name of a node's status; empty for a pipeline.
pub(super) fn status_name(kind: NodeKind, node: &NodeState) -> &'static str {
    match &node.status {
        _ if kind == NodeKind::Pipeline => "",
        Some(status) => status.status.name(),
        None => ComponentStatus::None.name(),
    }
}

#[cfg(test)]
mod tests {
    use otelcore_pipeline::LogLevel;

    use super::*;
    use crate::zpages::tests::example;

    #[test]
    fn graph_has_every_name_and_no_markup() {
        let description = example();
        let graph = ComponentGraph::new(&description);
        let text = String::from_utf8(graph_json(3, &description, &graph)).unwrap();
        assert!(
            text.starts_with(
                r#"{"generation":3,"command":"otelcol","version":"1.2.3","pipelines":[{"id":"traces/\u003cb\u003e","#
            ),
            "{text}"
        );
        assert!(
            text.contains(r#""id":"batch/\"\u003e\u003cscript\u003e""#) && !text.contains(['<', '>', '&']),
            "{text}"
        );
        assert!(text.ends_with(r#""extensions":["zpages","health_check"]}"#), "{text}");
    }

    #[test]
    fn state_leaves_out_what_is_not_counted() {
        let snapshot = Snapshot {
            nodes: vec![NodeState::default()],
            edges: vec![None, Some(7)],
            next_log: 2,
            ..Snapshot::default()
        };
        let text = String::from_utf8(state_json(&snapshot)).unwrap();
        let expected = concat!(
            r#"{"generation":0,"unix_ms":0,"uptime_ms":0,"cpu_seconds":0,"counted":false,"nodes":[{}],"edges":[null,7],"#,
            r#""memory":{"resident_bytes":0,"total_bytes":null,"held_bytes":0,"kept_bytes":0,"limit_bytes":null,"#,
            r#""admission_limit_bytes":null},"next_log":2}"#,
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn times_are_to_the_second() {
        assert_eq!(time_text(1_700_000_000_987_654_321), "2023-11-14T22:13:20Z");
        assert_eq!(LogLevel::Warn.name(), "warn");
        assert_eq!(log_json(&[], 0), br#"{"records":[]}"#);
    }
}
