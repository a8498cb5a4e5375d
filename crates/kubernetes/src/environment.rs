//! The variables of a container, as the kubelet builds them: literals with `$(VAR)`, the downward API, ConfigMaps.
//!
//! A value that exists only in a running cluster is replaced by a placeholder of the right type; a value in a Secret is
//! unknown.

use std::collections::BTreeMap;

use otelcore_config::{ConfigNode, NestedSource, SourceLocation, steps};

use crate::cluster::{Cluster, Object, list, map, string};
use crate::quantity;

/// Placeholder for the pod's own address in a check (RFC 5737): the manifests do not contain the real one.
pub const POD_IP: &str = "192.0.2.1";
/// Placeholder for the address of the node in a check.
pub const NODE_IP: &str = "192.0.2.2";

/// One variable.
#[derive(Clone, Debug)]
pub(crate) struct Variable<'c> {
    /// `None` if the value is known only in the cluster.
    pub(crate) value: Option<String>,
    /// The string that it is made of.
    pub(crate) node: Option<&'c ConfigNode>,
    /// Where it is set.
    pub(crate) origin: &'c SourceLocation,
}

pub(crate) type Variables<'c> = BTreeMap<String, Variable<'c>>;

impl Variable<'_> {
    /// Its value as a text of the manifest.
    pub(crate) fn nested_source(&self, value: &str) -> Option<NestedSource> {
        let nested = NestedSource::from_node(self.node?)?;
        Some(if *nested.text().text == *value { nested } else { nested.with_text(value) })
    }
}

/// The pod and the container that have the variables.
#[derive(Clone, Copy)]
pub(crate) struct ContainerContext<'c> {
    pub(crate) cluster: &'c Cluster,
    pub(crate) owner: &'c Object,
    /// Labels and annotations of the pod.
    pub(crate) metadata: Option<&'c ConfigNode>,
    pub(crate) spec: &'c ConfigNode,
    pub(crate) container: &'c ConfigNode,
}

/// All variables of a container; `env` takes precedence over `envFrom`.
pub(crate) fn variables_of<'c>(context: ContainerContext<'c>) -> Variables<'c> {
    let mut variables = Variables::new();
    for from in list(context.container, "envFrom") {
        let prefix = string(from, "prefix").unwrap_or_default();
        let Some(name) = string(from, "configMapRef::name") else { continue };
        let Some(object) = context.cluster.find("ConfigMap", name, Some(context.owner)) else { continue };
        for entry in map(&object.node, "data").into_iter().flatten() {
            if !context.cluster.count_steps(1) {
                break;
            }
            let value = quantity::scalar_text(&entry.node);
            let variable = Variable { value, node: Some(&entry.node), origin: &entry.node.origin };
            variables.insert(format!("{prefix}{}", entry.key), variable);
        }
    }
    let mut remaining_bytes = MAX_VARIABLES_BYTES;
    for entry in list(context.container, "env") {
        let Some(name) = string(entry, "name") else { continue };
        let written = entry.get_path("value");
        let variable = if let Some(from) = entry.get_path("valueFrom") {
            Variable { origin: &entry.origin, ..value_from(context, from, &entry.origin) }
        } else {
            let text = written.and_then(quantity::scalar_text).unwrap_or_default();
            let value = expand(&text, &variables, remaining_bytes.min(MAX_VARIABLE_BYTES));
            remaining_bytes -= value.as_ref().map_or(0, String::len);
            Variable {
                value,
                node: written.filter(|n| n.as_str().is_some()),
                origin: written.map_or(&entry.origin, |n| &n.origin),
            }
        };
        variables.insert(name.to_owned(), variable);
    }
    variables
}

fn value_from<'c>(context: ContainerContext<'c>, from: &'c ConfigNode, origin: &'c SourceLocation) -> Variable<'c> {
    let without_node = |value: Option<String>| Variable { value, node: None, origin };
    if let Some(path) = string(from, "fieldRef::fieldPath") {
        return without_node(downward_api_field(context, path));
    }
    if let Some(resource) = string(from, "resourceFieldRef::resource") {
        let divisor = from
            .get_path("resourceFieldRef::divisor")
            .and_then(quantity::parse_quantity)
            .filter(|d| *d > 0.0)
            .unwrap_or(1.0);
        return without_node(Some(resource_amount(context.container, resource, divisor)));
    }
    if let (Some(name), Some(key)) = (string(from, "configMapKeyRef::name"), string(from, "configMapKeyRef::key")) {
        let object = context.cluster.find("ConfigMap", name, Some(context.owner));
        let node = object.and_then(|o| map(&o.node, "data")).and_then(|data| data.get(key)).map(|entry| &entry.node);
        return Variable { value: node.and_then(quantity::scalar_text), node, origin };
    }
    without_node(None)
}

/// A field of the downward API.
fn downward_api_field(context: ContainerContext<'_>, path: &str) -> Option<String> {
    let owner = context.owner;
    if let Some(rest) = path.strip_prefix("metadata.") {
        for what in ["labels", "annotations"] {
            let key = rest.strip_prefix(what).and_then(|r| r.strip_prefix("['")).and_then(|r| r.strip_suffix("']"));
            if let Some(key) = key {
                let node = context.metadata.and_then(|m| map(m, what)).and_then(|m| m.get(key));
                return Some(node.and_then(|e| quantity::scalar_text(&e.node)).unwrap_or_default());
            }
        }
    }
    let text = match path {
        "metadata.name" => owner.name.as_str(),
        "metadata.namespace" => owner.namespace.as_deref().unwrap_or("default"),
        "metadata.uid" => "00000000-0000-4000-8000-000000000000",
        "spec.nodeName" => "node",
        "spec.serviceAccountName" => string(context.spec, "serviceAccountName").unwrap_or("default"),
        "status.podIP" | "status.podIPs" => POD_IP,
        "status.hostIP" | "status.hostIPs" => NODE_IP,
        _ => return None,
    };
    Some(text.to_owned())
}

/// `limits.memory` in units of `divisor`, rounded up. Without a limit it is that of the node: a placeholder of 4 GiB
/// and 2 cores.
fn resource_amount(container: &ConfigNode, resource: &str, divisor: f64) -> String {
    let path = format!("resources::{}", resource.replacen('.', "::", 1));
    let node = if resource.ends_with("memory") { 4_294_967_296.0 } else { 2.0 };
    let value = container.get_path(&path).and_then(quantity::parse_quantity).unwrap_or(node);
    format!("{:.0}", (value / divisor).ceil())
}

/// Bytes of the longest variable that Linux passes to a process, and of all of them together (execve(2)). Without these
/// limits, references to references could produce a text of any length.
pub(crate) const MAX_VARIABLE_BYTES: usize = 128 << 10;
const MAX_VARIABLES_BYTES: usize = 2 << 20;

/// Expands `$(VAR)` for variables set before it, and `$$` to a dollar, once, as the kubelet does it. `None` if the
/// result has more than `max_bytes` bytes.
pub(crate) fn expand(text: &str, known: &Variables<'_>, max_bytes: usize) -> Option<String> {
    steps::add(text.len());
    let mut out = String::with_capacity(text.len().min(max_bytes));
    let mut rest = text;
    let closed = text.rfind(')').unwrap_or(0);
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        if out.len() > max_bytes {
            return None;
        }
        let open = text.len() - after.len() < closed;
        let reference = after.strip_prefix('(').filter(|_| open).and_then(|r| r.split_once(')'));
        if let Some(more) = after.strip_prefix('$') {
            out.push('$');
            rest = more;
        } else if let Some((name, more)) = reference {
            match known.get(name).and_then(|v| v.value.as_deref()) {
                Some(value) => out.push_str(value),
                None => out.push_str(&format!("$({name})")),
            }
            rest = more;
        } else {
            out.push('$');
            rest = after;
        }
    }
    out.push_str(rest);
    (out.len() <= max_bytes).then_some(out)
}
