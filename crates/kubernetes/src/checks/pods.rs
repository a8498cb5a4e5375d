//! Mistakes in a pod that do not depend on the configuration.

use std::collections::BTreeMap;

use otelcore_config::{ConfigNode, NodeValue};

use super::CheckContext;
use crate::cluster::{list, map, string, whole_number};
use crate::collector::is_collector_name;
use crate::quantity;

/// A workload whose selector does not select its own pods, and values that are not strings but must be: Kubernetes
/// refuses both when they are applied.
pub(super) fn check_selector(context: &CheckContext<'_>) {
    let owner = context.collector.owner;
    let selector = owner.node.get_path("spec::selector::matchLabels").filter(|_| !context.pod.by_operator);
    for entry in selector.and_then(ConfigNode::as_map).into_iter().flatten() {
        let label = context.pod.labels.and_then(ConfigNode::as_map).and_then(|labels| labels.get(&entry.key));
        if label.is_none_or(|l| l.node.value != entry.node.value) {
            let message = format!("{}: its selector does not select its own pods", owner.title());
            let draft = context
                .error(&entry.node.origin, "", message)
                .help("write the same under `template: metadata: labels:`");
            match label {
                Some(label) => drop(draft.related(&label.node.origin, "the pod's label")),
                None => drop(draft),
            }
        }
    }
    let maps = [context.pod.annotations, context.pod.labels];
    let texts = maps.into_iter().flatten().filter_map(ConfigNode::as_map).flatten().map(|e| (&*e.key, &e.node));
    let env = list(context.pod.container, "env").iter();
    let values = env.filter_map(|e| Some((string(e, "name")?, e.get_path("value")?)));
    for (name, node) in texts.chain(values) {
        if matches!(node.value, NodeValue::Int(_) | NodeValue::Float(_) | NodeValue::Bool(_)) {
            // The value as written: `0123` is read as 83.
            let text =
                node.source_scalar().map(str::to_owned).or_else(|| quantity::scalar_text(node)).unwrap_or_default();
            context.error(&node.origin, "", format!("{name} must be a string")).help(format!("quote it: `\"{text}\"`"));
        }
    }
}

/// Containers of one pod share its ports.
pub(super) fn check_port_conflicts(context: &CheckContext<'_>) {
    let mut first_uses: BTreeMap<(u64, bool), (&ConfigNode, usize)> = BTreeMap::new();
    let own = (!context.pod.by_operator).then_some(context.pod.container);
    for (index, container) in own.into_iter().chain(context.others()).enumerate() {
        for port in list(container, "ports") {
            let udp = string(port, "protocol").is_some_and(|p| p.eq_ignore_ascii_case("UDP"));
            let Some(node) = port.get_path("containerPort") else { continue };
            let Some(number) = whole_number(Some(node)) else { continue };
            let (before, of) = *first_uses.entry((number, udp)).or_insert((node, index));
            if of != index {
                let message = format!("two containers of the pod have port {number}, and share one address");
                context.error(&node.origin, "", message).related(&before.origin, "the first of them");
            } else if before.origin != node.origin {
                let message = format!("container port {number} stands twice");
                context.warn(&node.origin, "", message).related(&before.origin, "the first of them");
            }
        }
    }
}

/// Only one pod can have a port of the node: a DaemonSet cannot start the new pod before the old one has ended.
pub(super) fn check_host_ports(context: &CheckContext<'_>) {
    let owner = context.collector.owner;
    let strategy = map(&owner.node, "spec::updateStrategy::rollingUpdate");
    let Some(surge) = strategy.and_then(|s| s.get("maxSurge")).map(|e| &e.node) else { return };
    let is_zero = quantity::scalar_text(surge).is_none_or(|t| t == "0" || t == "0%");
    let port = list(context.pod.container, "ports").iter().find_map(|p| p.get_path("hostPort"));
    let Some(port) = port.filter(|_| owner.kind == "DaemonSet" && !is_zero) else { return };
    let message = "maxSurge and hostPort: the new pod waits for the port of the old one".to_owned();
    context.error(&surge.origin, "", message).related(&port.origin, "the port of the node").help("write `maxSurge: 0`");
}

/// Commands of probes and hooks: the images of collectors contain only the collector, no shell and no `sleep`.
pub(super) fn check_commands(context: &CheckContext<'_>) {
    let container = context.pod.container;
    for command_path in
        ["livenessProbe::exec", "readinessProbe::exec", "startupProbe::exec", "lifecycle::preStop::exec"]
    {
        let Some(program) = container.get_path(&format!("{command_path}::command")).and_then(|c| c.items().first())
        else {
            continue;
        };
        let name = quantity::scalar_text(program).unwrap_or_default();
        if is_collector_name(&name) {
            continue;
        }
        let help = if command_path.starts_with("lifecycle") {
            "write `preStop: {sleep: {seconds: 5}}`, which needs no program (Kubernetes 1.30)"
        } else {
            "write `httpGet: {path: /, port: 13133}` and the extension `health_check`"
        };
        let what = command_path.trim_end_matches("::exec").rsplit("::").next().unwrap_or(command_path);
        let message = format!("{what}: the images of collectors have no {name:?}");
        context.warn(&program.origin, "", message).help(help);
    }
}
