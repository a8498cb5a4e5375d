//! Memory, time to stop, and what an autoscaler needs.

use otelcore_config::{Node, Value};

use super::Check;
use crate::cluster::{list, number, string};
use crate::quantity;

const MIB: f64 = 1_048_576.0;

/// Compares the container's limit with that of the memory limiter.
pub(super) fn memory(check: &Check<'_>) {
    let Some(node) = check.pod.container.at("resources::limits::memory") else { return };
    let Some(limit) = quantity::parse(node) else { return };
    if limit < 4.0 * MIB {
        let text = quantity::text(node).unwrap_or_default();
        let message = format!("a memory limit of {text} is {limit} bytes, too few to start with");
        check.error(&node.origin, "", message).hint("write Mi or Gi behind the number: `512Mi`");
        return;
    }
    for limiter in &check.facts.limiters {
        let (of, at, key) = (limit / MIB, &limiter.origin, &limiter.key);
        let Some(mib) = limiter.mib else {
            if limiter.percentage > 95 {
                let message =
                    format!("limit_percentage: {}: the kernel ends the process before it refuses", limiter.percentage);
                check.warn(at, key, message).related(&node.origin, "the limit of the container").hint("write 80");
            }
            continue;
        };
        #[expect(clippy::cast_precision_loss, reason = "a figure to compare")]
        let mib = mib as f64;
        let help =
            format!("write `limit_mib: {:.0}`, or a memory limit of {:.0}Mi", (of * 0.8).floor(), (mib * 1.25).ceil());
        let message = format!(
            "limit_mib: {mib} of a container that may have {of:.0} MiB: the kernel ends it before the limiter refuses"
        );
        if mib >= of {
            check.error(at, key, message).related(&node.origin, "the limit of the container").hint(help);
        } else if mib > of * 0.95 {
            check.warn(at, key, message).related(&node.origin, "the limit of the container").hint(help);
        }
    }
}

/// The default of Kubernetes, in seconds.
const GRACE: u64 = 30;

/// Compares the time between SIGTERM and SIGKILL with the time that a shutdown takes.
pub(super) fn grace(check: &Check<'_>) {
    let spec = check.pod.spec;
    let node = spec.at("terminationGracePeriodSeconds");
    let total = number(node).unwrap_or(GRACE);
    let pre_stop = check.pod.container.at("lifecycle::preStop");
    let slept = pre_stop.map_or(0, sleep);
    let Some(at) = node.or_else(|| pre_stop.filter(|_| slept > 0)) else { return };
    let left = total.saturating_sub(slept);
    let seconds = |nanos: u64| nanos.div_ceil(1_000_000_000);
    let drain = seconds(check.facts.shutdown);
    if left >= drain {
        return;
    }
    let before = if slept > 0 { format!("{total} s (preStop takes {slept} of them)") } else { format!("{total} s") };
    let shorter = left.saturating_sub(2).max(1);
    let help = format!(
        "write `terminationGracePeriodSeconds: {}`, or `--shutdown-timeout={shorter}s` behind the collector's --config",
        drain.saturating_add(slept).saturating_add(5)
    );
    match check.facts.attempt.as_ref().filter(|(nanos, _)| left < seconds(*nanos)) {
        Some((nanos, exporter)) => {
            let message = format!(
                "a grace period of {before} is shorter than one attempt of the exporter `{exporter}` ({} s): what is held is lost with each stop",
                seconds(*nanos)
            );
            check.error(&at.origin, "", message).hint(help);
        }
        None => {
            let message = format!("a grace period of {before}: a stop may take {drain} s to deliver what is held");
            check.warn(&at.origin, "", message).hint(help);
        }
    }
}

/// Seconds that a hook waits.
fn sleep(hook: &Node) -> u64 {
    if let Some(seconds) = number(hook.at("sleep::seconds")) {
        return seconds;
    }
    let words: Vec<String> = list(hook, "exec::command").iter().filter_map(quantity::text).collect();
    let line = words.join(" ");
    let after = line.split_once("sleep ").map(|(_, rest)| rest.trim_start());
    let digits = after.and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
    digits.and_then(|d| d.parse().ok()).unwrap_or(0)
}

/// An autoscaler by utilization divides by the request, so each container needs one; a limit also counts as a request.
pub(super) fn autoscaler(check: &Check<'_>) {
    let owner = check.collector.owner;
    let lacks = |resource: &str| {
        let has = |c: &Node, what: &str| {
            c.at(&format!("resources::{what}::{resource}")).is_some_and(|n| n.value != Value::Null)
        };
        let bare = |c: &Node| !has(c, "requests") && !has(c, "limits");
        bare(check.pod.container) || check.others().any(bare)
    };
    let tell = |resource: &str, at: &Node| {
        if lacks(resource) {
            let message =
                format!("an autoscaler by {resource} utilization, and a container that requests no {resource}");
            let hint = format!("write `resources: {{requests: {{{resource}: ...}}}}`");
            check.error(&at.origin, "", message).related(&check.pod.container.origin, owner.title()).hint(hint);
        }
    };
    if let Some(scaler) = owner.node.at("spec::autoscaler").filter(|s| check.pod.operated && s.as_map().is_some()) {
        for (key, resource) in [("targetCPUUtilization", "cpu"), ("targetMemoryUtilization", "memory")] {
            if let Some(at) = scaler.at(key) {
                tell(resource, at);
            }
        }
    }
    for scaler in check.collector.cluster.of_kind("HorizontalPodAutoscaler").filter(|s| s.together(owner)) {
        let target = |key: &str| string(&scaler.node, &format!("spec::scaleTargetRef::{key}"));
        if target("name") != Some(&owner.name) || target("kind") != Some(&owner.kind) {
            continue;
        }
        if let Some(at) = scaler.node.at("spec::targetCPUUtilizationPercentage") {
            tell("cpu", at);
        }
        for metric in list(&scaler.node, "spec::metrics") {
            let by_share = string(metric, "resource::target::type") == Some("Utilization");
            if let Some(resource) = string(metric, "resource::name").filter(|_| by_share) {
                tell(resource, metric);
            }
        }
    }
}
