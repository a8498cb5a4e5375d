//! Configuration trees as texts, to find out what a new configuration changes. Places in files are left out: a comment that is added
//! changes nothing.

use std::collections::BTreeMap;
use std::fmt::Write;

use otelcore_config::{ComponentId, ConfigNode, NodeValue};
use otelcore_pipeline::ComponentKind;

use super::section_name;

/// The trees of components by section and id, and those of the log, of own metrics and of own traces.
#[derive(Clone, Debug, Default)]
pub(super) struct ConfigTrees {
    components: BTreeMap<(&'static str, ComponentId), String>,
    pub(super) log: String,
    pub(super) metrics: String,
    pub(super) traces: String,
}

impl ConfigTrees {
    /// Reads the trees of a whole configuration.
    pub(super) fn new(root: &ConfigNode) -> Self {
        let kinds = [
            ComponentKind::Receiver,
            ComponentKind::Processor,
            ComponentKind::Exporter,
            ComponentKind::Connector,
            ComponentKind::Extension,
        ];
        let mut components = BTreeMap::new();
        for section in kinds.map(section_name) {
            let map = root.get_path(section).and_then(ConfigNode::as_map);
            for entry in map.into_iter().flat_map(|map| map.iter()) {
                if let Ok(id) = entry.key.parse() {
                    components.insert((section, id), text_of(Some(&entry.node)));
                }
            }
        }
        let log = ["service::telemetry::logs", "service::telemetry::resource"].map(|path| text_of(root.get_path(path)));
        let metrics = text_of(root.get_path("service::telemetry::metrics"));
        let traces = text_of(root.get_path("service::telemetry::traces"));
        Self { components, log: log.join(" "), metrics, traces }
    }

    /// The tree of a component; empty if there is none.
    pub(super) fn component(&self, kind: ComponentKind, id: &ComponentId) -> &str {
        self.components.get(&(section_name(kind), id.clone())).map_or("", String::as_str)
    }
}

fn text_of(node: Option<&ConfigNode>) -> String {
    let mut out = String::new();
    if let Some(node) = node {
        write_node(&mut out, node);
    }
    out
}

/// Two nodes have the same text if components read the same from them. The depth of a tree is bounded when it is parsed.
fn write_node(out: &mut String, node: &ConfigNode) {
    // Writing to a string does not fail.
    let _ = match &node.value {
        NodeValue::Null => write!(out, "~"),
        NodeValue::Bool(v) => write!(out, "{v}"),
        NodeValue::Int(v) => write!(out, "{v}"),
        NodeValue::Float(v) => write!(out, "f{:x}", v.to_bits()),
        NodeValue::Str(text) => write!(out, "{text:?}"),
        NodeValue::List(items) => {
            out.push('[');
            for item in items {
                write_node(out, item);
                out.push(',');
            }
            write!(out, "]")
        }
        NodeValue::Map(map) => {
            out.push('{');
            for entry in map.iter() {
                let _ = write!(out, "{:?}:", entry.key);
                write_node(out, &entry.node);
                out.push(',');
            }
            write!(out, "}}")
        }
    };
    // The text that a variable had: a field of text takes it instead of the number.
    if let Some(raw) = &node.raw {
        let _ = write!(out, "={raw:?}");
    }
}

#[cfg(test)]
mod tests {
    use otelcore_config::{Diagnostics, from_yaml};

    use super::*;

    fn trees(yaml: &str) -> ConfigTrees {
        ConfigTrees::new(&from_yaml(yaml, &Diagnostics::new()).unwrap())
    }

    #[test]
    fn tree_changes_with_what_is_written_and_not_with_its_place() {
        let id: ComponentId = "otlp/a".parse().unwrap();
        let text = |yaml: &str| trees(yaml).component(ComponentKind::Receiver, &id).to_owned();
        let base = text("receivers: {otlp/a: {x: [1, true, 'a'], y: }}");
        assert_eq!(base, text("# a comment\nreceivers:\n  otlp/a:\n    x: [1, true, \"a\"]\n    y: null\nother: 1\n"));
        for other in [
            "receivers: {otlp/a: {x: ['1', true, 'a'], y: }}",
            "receivers: {otlp/a: {x: [1, true], y: a}}",
            "receivers: {otlp/a: {x: [1, true, 'a']}}",
            "receivers: {otlp/a: {x: [1.0, true, 'a'], y: }}",
            "receivers: {otlp/b: {x: [1, true, 'a'], y: }}",
            "exporters: {otlp/a: {x: [1, true, 'a'], y: }}",
        ] {
            assert_ne!(base, text(other), "{other}");
        }
        assert_ne!(trees("service: {telemetry: {logs: {level: info}}}").log, trees("service: {}").log);
    }
}
