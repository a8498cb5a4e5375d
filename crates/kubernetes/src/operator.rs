//! What the operator's webhook adds to the configuration of an OpenTelemetryCollector before it runs.
//!
//! Only components that are used are changed, and only where an endpoint is missing or has no host. Components that are
//! not built in are not changed: they are reported by name anyway.

use std::collections::BTreeSet;
use std::sync::Arc;

use otelcore_config::{Entry, Map, Node, Origin, Value};

/// Receivers, exporters and extensions: the map that holds the endpoint, and the default port.
const ENDPOINTS: [(&str, &str, &str, u16); 5] = [
    ("receivers", "otlp", "protocols::grpc", 4317),
    ("receivers", "otlp", "protocols::http", 4318),
    ("receivers", "zipkin", "", 9411),
    ("exporters", "prometheus", "", 8888),
    ("extensions", "health_check", "", 13133),
];

/// Adds the defaults to a configuration.
pub(crate) fn default(root: &mut Node) {
    let used = used(root);
    for (section, ty, inner, port) in ENDPOINTS {
        let Some(Value::Map(components)) = child(root, section).map(|n| &mut n.value) else { continue };
        for (id, node) in components.values_mut() {
            let is = id.split('/').next() == Some(ty) && used.contains(&(section, id.clone()));
            let target = if is { inner_map(node, inner) } else { None };
            if let Some(target) = target {
                endpoint(target, port);
                if ty == "health_check" {
                    set_default(target, "path", Value::Str("/".into()));
                }
            }
        }
    }
    readers(root);
}

/// The ids that pipelines and the service name.
fn used(root: &Node) -> BTreeSet<(&'static str, Arc<str>)> {
    let mut used = BTreeSet::new();
    let mut add = |section: &'static str, node: Option<&Node>| {
        for item in node.map(Node::items).unwrap_or_default() {
            used.extend(item.as_str().map(|id| (section, id.into())));
        }
    };
    add("extensions", root.at("service::extensions"));
    for pipeline in root.at("service::pipelines").and_then(Node::as_map).into_iter().flatten() {
        add("receivers", pipeline.node.at("receivers"));
        add("exporters", pipeline.node.at("exporters"));
    }
    used
}

fn child<'n>(node: &'n mut Node, key: &str) -> Option<&'n mut Node> {
    match &mut node.value {
        Value::Map(map) => map.get_mut(key).map(|entry| &mut entry.node),
        _ => None,
    }
}

/// The node at a path if it is written; null becomes an empty map.
fn inner_map<'n>(node: &'n mut Node, path: &str) -> Option<&'n mut Node> {
    let mut node = node;
    for key in path.split("::").filter(|key| !key.is_empty()) {
        node = child(node, key)?;
    }
    if node.value == Value::Null {
        node.value = Value::Map(Map::default());
    }
    node.as_map().is_some().then_some(node)
}

fn endpoint(node: &mut Node, port: u16) {
    let written = node.at("endpoint").map(|n| n.value.clone());
    let full = match &written {
        None | Some(Value::Null) => format!("0.0.0.0:{port}"),
        Some(Value::Int(port)) => format!("0.0.0.0:{port}"),
        Some(Value::Str(text)) if text.starts_with(':') => format!("0.0.0.0{text}"),
        Some(Value::Str(text)) if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) => {
            format!("0.0.0.0:{text}")
        }
        Some(_) => return,
    };
    match child(node, "endpoint") {
        Some(endpoint) => endpoint.value = Value::Str(full.into()),
        None => set_default(node, "endpoint", Value::Str(full.into())),
    }
}

fn set_default(node: &mut Node, key: &str, value: Value) {
    let origin: Origin = node.origin.clone();
    if let Value::Map(map) = &mut node.value
        && map.get(key).is_none()
    {
        map.insert(Entry { key: key.into(), key_origin: origin.clone(), node: Node::new(value, origin) });
    }
}

/// Adds a reader that listens on every address, unless there is one or the older key `address`.
fn readers(root: &mut Node) {
    let has = |key: &str| root.at("service::telemetry::metrics").is_some_and(|m| m.at(key).is_some());
    if has("readers") || has("address") {
        return;
    }
    let origin = root.nearest_origin("service::telemetry::metrics").clone();
    let one = |key: &str, value: Value| {
        let mut map = Map::default();
        map.insert(Entry { key: key.into(), key_origin: origin.clone(), node: Node::new(value, origin.clone()) });
        Value::Map(map)
    };
    let mut page = Node::new(one("host", Value::Str("0.0.0.0".into())), origin.clone());
    set_default(&mut page, "port", Value::Int(8888));
    let reader = one("pull", one("exporter", one("prometheus", page.value)));
    let mut node = root;
    for key in ["service", "telemetry", "metrics"] {
        if matches!(node.value, Value::Null) {
            node.value = Value::Map(Map::default());
        }
        set_default(node, key, Value::Map(Map::default()));
        let Some(next) = child(node, key) else { return };
        node = next;
    }
    if node.value == Value::Null {
        node.value = Value::Map(Map::default());
    }
    set_default(node, "readers", Value::List(vec![Node::new(reader, origin.clone())]));
}
