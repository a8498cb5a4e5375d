//! What the operator's webhook adds to the configuration of an OpenTelemetryCollector before it runs.
//!
//! Only components that are used are changed, and only where an endpoint is missing or has no host. Components that are
//! not built in are not changed: they are reported by name anyway.

use std::collections::BTreeSet;
use std::sync::Arc;

use otelcore_config::{ConfigNode, NodeEntry, NodeMap, NodeValue, SourceLocation};

/// Receivers, exporters and extensions: the map that holds the endpoint, and the default port.
const ENDPOINTS: [(&str, &str, &str, u16); 5] = [
    ("receivers", "otlp", "protocols::grpc", 4317),
    ("receivers", "otlp", "protocols::http", 4318),
    ("receivers", "zipkin", "", 9411),
    ("exporters", "prometheus", "", 8888),
    ("extensions", "health_check", "", 13133),
];

/// Adds the defaults to a configuration.
pub(crate) fn add_defaults(root: &mut ConfigNode) {
    let used = used_components(root);
    for (section, ty, inner, port) in ENDPOINTS {
        let Some(NodeValue::Map(components)) = child_mut(root, section).map(|n| &mut n.value) else { continue };
        for (id, node) in components.values_mut() {
            let is_used = id.split('/').next() == Some(ty) && used.contains(&(section, id.clone()));
            let target = if is_used { inner_map_mut(node, inner) } else { None };
            if let Some(target) = target {
                set_endpoint(target, port);
                if ty == "health_check" {
                    set_default(target, "path", NodeValue::Str("/".into()));
                }
            }
        }
    }
    add_metrics_reader(root);
}

/// The ids that pipelines and the service name.
fn used_components(root: &ConfigNode) -> BTreeSet<(&'static str, Arc<str>)> {
    let mut used = BTreeSet::new();
    let mut add = |section: &'static str, node: Option<&ConfigNode>| {
        for item in node.map(ConfigNode::items).unwrap_or_default() {
            used.extend(item.as_str().map(|id| (section, id.into())));
        }
    };
    add("extensions", root.get_path("service::extensions"));
    for pipeline in root.get_path("service::pipelines").and_then(ConfigNode::as_map).into_iter().flatten() {
        add("receivers", pipeline.node.get_path("receivers"));
        add("exporters", pipeline.node.get_path("exporters"));
    }
    used
}

fn child_mut<'n>(node: &'n mut ConfigNode, key: &str) -> Option<&'n mut ConfigNode> {
    match &mut node.value {
        NodeValue::Map(map) => map.get_mut(key).map(|entry| &mut entry.node),
        _ => None,
    }
}

/// The node at a path if it is written; null becomes an empty map.
fn inner_map_mut<'n>(node: &'n mut ConfigNode, path: &str) -> Option<&'n mut ConfigNode> {
    let mut node = node;
    for key in path.split("::").filter(|key| !key.is_empty()) {
        node = child_mut(node, key)?;
    }
    if node.value == NodeValue::Null {
        node.value = NodeValue::Map(NodeMap::default());
    }
    node.as_map().is_some().then_some(node)
}

fn set_endpoint(node: &mut ConfigNode, port: u16) {
    let written = node.get_path("endpoint").map(|n| n.value.clone());
    let full = match &written {
        None | Some(NodeValue::Null) => format!("0.0.0.0:{port}"),
        Some(NodeValue::Int(port)) => format!("0.0.0.0:{port}"),
        Some(NodeValue::Str(text)) if text.starts_with(':') => format!("0.0.0.0{text}"),
        Some(NodeValue::Str(text)) if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) => {
            format!("0.0.0.0:{text}")
        }
        Some(_) => return,
    };
    match child_mut(node, "endpoint") {
        Some(endpoint) => endpoint.value = NodeValue::Str(full.into()),
        None => set_default(node, "endpoint", NodeValue::Str(full.into())),
    }
}

fn set_default(node: &mut ConfigNode, key: &str, value: NodeValue) {
    let origin: SourceLocation = node.origin.clone();
    if let NodeValue::Map(map) = &mut node.value
        && map.get(key).is_none()
    {
        map.insert(NodeEntry { key: key.into(), key_origin: origin.clone(), node: ConfigNode::new(value, origin) });
    }
}

/// Adds a reader that listens on every address, unless there is one or the older key `address`.
fn add_metrics_reader(root: &mut ConfigNode) {
    let has = |key: &str| root.get_path("service::telemetry::metrics").is_some_and(|m| m.get_path(key).is_some());
    if has("readers") || has("address") {
        return;
    }
    let origin = root.nearest_origin("service::telemetry::metrics").clone();
    let single_entry_map = |key: &str, value: NodeValue| {
        let mut map = NodeMap::default();
        map.insert(NodeEntry {
            key: key.into(),
            key_origin: origin.clone(),
            node: ConfigNode::new(value, origin.clone()),
        });
        NodeValue::Map(map)
    };
    let mut page = ConfigNode::new(single_entry_map("host", NodeValue::Str("0.0.0.0".into())), origin.clone());
    set_default(&mut page, "port", NodeValue::Int(8888));
    let reader = single_entry_map("pull", single_entry_map("exporter", single_entry_map("prometheus", page.value)));
    let mut node = root;
    for key in ["service", "telemetry", "metrics"] {
        if matches!(node.value, NodeValue::Null) {
            node.value = NodeValue::Map(NodeMap::default());
        }
        set_default(node, key, NodeValue::Map(NodeMap::default()));
        let Some(next) = child_mut(node, key) else { return };
        node = next;
    }
    if node.value == NodeValue::Null {
        node.value = NodeValue::Map(NodeMap::default());
    }
    set_default(node, "readers", NodeValue::List(vec![ConfigNode::new(reader, origin.clone())]));
}
