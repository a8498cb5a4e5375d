//! Mistakes in a pod that do not depend on the configuration.

use std::collections::BTreeMap;

use otelcore_config::{Node, Value};

use super::Check;
use crate::cluster::{list, map, number, string};
use crate::collector::says_collector;
use crate::quantity;

/// A workload whose selector does not select its own pods, and values that are not strings but must be: Kubernetes
/// refuses both when they are applied.
pub(super) fn selector(check: &Check<'_>) {
    let owner = check.collector.owner;
    let selector = owner.node.at("spec::selector::matchLabels").filter(|_| !check.pod.operated);
    for entry in selector.and_then(Node::as_map).into_iter().flatten() {
        let label = check.pod.labels.and_then(Node::as_map).and_then(|labels| labels.get(&entry.key));
        if label.is_none_or(|l| l.node.value != entry.node.value) {
            let message = format!("{}: its selector does not select its own pods", owner.title());
            let draft =
                check.error(&entry.node.origin, "", message).hint("write the same under `template: metadata: labels:`");
            match label {
                Some(label) => drop(draft.related(&label.node.origin, "the pod's label")),
                None => drop(draft),
            }
        }
    }
    let maps = [check.pod.annotations, check.pod.labels];
    let texts = maps.into_iter().flatten().filter_map(Node::as_map).flatten().map(|e| (&*e.key, &e.node));
    let env = list(check.pod.container, "env").iter();
    let values = env.filter_map(|e| Some((string(e, "name")?, e.at("value")?)));
    for (name, node) in texts.chain(values) {
        if matches!(node.value, Value::Int(_) | Value::Float(_) | Value::Bool(_)) {
            // The value as written: `0123` is read as 83.
            let text = node.written().map(str::to_owned).or_else(|| quantity::text(node)).unwrap_or_default();
            check.error(&node.origin, "", format!("{name} must be a string")).hint(format!("quote it: `\"{text}\"`"));
        }
    }
}

/// Containers of one pod share its ports.
pub(super) fn two_on_one_port(check: &Check<'_>) {
    let mut first: BTreeMap<(u64, bool), (&Node, usize)> = BTreeMap::new();
    let own = (!check.pod.operated).then_some(check.pod.container);
    for (index, container) in own.into_iter().chain(check.others()).enumerate() {
        for port in list(container, "ports") {
            let udp = string(port, "protocol").is_some_and(|p| p.eq_ignore_ascii_case("UDP"));
            let Some(node) = port.at("containerPort") else { continue };
            let Some(number) = number(Some(node)) else { continue };
            let (before, of) = *first.entry((number, udp)).or_insert((node, index));
            if of != index {
                let message = format!("two containers of the pod have port {number}, and share one address");
                check.error(&node.origin, "", message).related(&before.origin, "the first of them");
            } else if before.origin != node.origin {
                let message = format!("container port {number} stands twice");
                check.warn(&node.origin, "", message).related(&before.origin, "the first of them");
            }
        }
    }
}

/// Only one pod can have a port of the node: a DaemonSet cannot start the new pod before the old one has ended.
pub(super) fn host_ports(check: &Check<'_>) {
    let owner = check.collector.owner;
    let strategy = map(&owner.node, "spec::updateStrategy::rollingUpdate");
    let Some(surge) = strategy.and_then(|s| s.get("maxSurge")).map(|e| &e.node) else { return };
    let none = quantity::text(surge).is_none_or(|t| t == "0" || t == "0%");
    let port = list(check.pod.container, "ports").iter().find_map(|p| p.at("hostPort"));
    let Some(port) = port.filter(|_| owner.kind == "DaemonSet" && !none) else { return };
    let message = "maxSurge and hostPort: the new pod waits for the port of the old one".to_owned();
    check.error(&surge.origin, "", message).related(&port.origin, "the port of the node").hint("write `maxSurge: 0`");
}

/// Commands of probes and hooks: the images of collectors contain only the collector, no shell and no `sleep`.
pub(super) fn commands(check: &Check<'_>) {
    let container = check.pod.container;
    for way in ["livenessProbe::exec", "readinessProbe::exec", "startupProbe::exec", "lifecycle::preStop::exec"] {
        let Some(program) = container.at(&format!("{way}::command")).and_then(|c| c.items().first()) else { continue };
        let name = quantity::text(program).unwrap_or_default();
        if says_collector(&name) {
            continue;
        }
        let help = if way.starts_with("lifecycle") {
            "write `preStop: {sleep: {seconds: 5}}`, which needs no program (Kubernetes 1.30)"
        } else {
            "write `httpGet: {path: /, port: 13133}` and the extension `health_check`"
        };
        let what = way.trim_end_matches("::exec").rsplit("::").next().unwrap_or(way);
        let message = format!("{what}: the images of collectors have no {name:?}");
        check.warn(&program.origin, "", message).hint(help);
    }
}
