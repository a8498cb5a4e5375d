//! Memory, time to stop, and what an autoscaler needs.

use otelcore_config::{ConfigNode, NodeValue};

use super::CheckContext;
use crate::cluster::{list, string, whole_number};
use crate::quantity;

const MIB: f64 = 1_048_576.0;

/// Compares the container's limit with that of the memory limiter.
pub(super) fn check_memory_limit(context: &CheckContext<'_>) {
    let Some(node) = context.pod.container.get_path("resources::limits::memory") else { return };
    let Some(limit) = quantity::parse_quantity(node) else { return };
    if limit < 4.0 * MIB {
        let text = quantity::scalar_text(node).unwrap_or_default();
        let message = format!("a memory limit of {text} is {limit} bytes, too few to start with");
        context.error(&node.origin, "", message).help("write Mi or Gi behind the number: `512Mi`");
        return;
    }
    for limiter in &context.effects.memory_limiters {
        let (limit_mib, at, key) = (limit / MIB, &limiter.origin, &limiter.config_path);
        let Some(mib) = limiter.mib else {
            if limiter.percentage > 95 {
                let message =
                    format!("limit_percentage: {}: the kernel ends the process before it refuses", limiter.percentage);
                context.warn(at, key, message).related(&node.origin, "the limit of the container").help("write 80");
            }
            continue;
        };
        #[expect(clippy::cast_precision_loss, reason = "a figure to compare")]
        let mib = mib as f64;
        let help = format!(
            "write `limit_mib: {:.0}`, or a memory limit of {:.0}Mi",
            (limit_mib * 0.8).floor(),
            (mib * 1.25).ceil()
        );
        let message = format!(
            "limit_mib: {mib} of a container that may have {limit_mib:.0} MiB: the kernel ends it before the limiter refuses"
        );
        if mib >= limit_mib {
            context.error(at, key, message).related(&node.origin, "the limit of the container").help(help);
        } else if mib > limit_mib * 0.95 {
            context.warn(at, key, message).related(&node.origin, "the limit of the container").help(help);
        }
    }
}

/// The default of Kubernetes, in seconds.
const DEFAULT_GRACE_SECONDS: u64 = 30;

/// Compares the time between SIGTERM and SIGKILL with the time that a shutdown takes.
pub(super) fn check_grace_period(context: &CheckContext<'_>) {
    let spec = context.pod.spec;
    let node = spec.get_path("terminationGracePeriodSeconds");
    let total = whole_number(node).unwrap_or(DEFAULT_GRACE_SECONDS);
    let pre_stop = context.pod.container.get_path("lifecycle::preStop");
    let pre_stop_seconds = pre_stop.map_or(0, sleep_seconds);
    let Some(at) = node.or_else(|| pre_stop.filter(|_| pre_stop_seconds > 0)) else { return };
    let remaining = total.saturating_sub(pre_stop_seconds);
    let seconds = |nanos: u64| nanos.div_ceil(1_000_000_000);
    let drain = seconds(context.effects.shutdown_nanos);
    if remaining >= drain {
        return;
    }
    let grace_text = if pre_stop_seconds > 0 {
        format!("{total} s (preStop takes {pre_stop_seconds} of them)")
    } else {
        format!("{total} s")
    };
    let shorter = remaining.saturating_sub(2).max(1);
    let help = format!(
        "write `terminationGracePeriodSeconds: {}`, or `--shutdown-timeout={shorter}s` behind the collector's --config",
        drain.saturating_add(pre_stop_seconds).saturating_add(5)
    );
    match context.effects.longest_attempt.as_ref().filter(|(nanos, _)| remaining < seconds(*nanos)) {
        Some((nanos, exporter)) => {
            let message = format!(
                "a grace period of {grace_text} is shorter than one attempt of the exporter `{exporter}` ({} s): what is held is lost with each stop",
                seconds(*nanos)
            );
            context.error(&at.origin, "", message).help(help);
        }
        None => {
            let message = format!("a grace period of {grace_text}: a stop may take {drain} s to deliver what is held");
            context.warn(&at.origin, "", message).help(help);
        }
    }
}

/// Seconds that a hook waits.
fn sleep_seconds(hook: &ConfigNode) -> u64 {
    if let Some(seconds) = whole_number(hook.get_path("sleep::seconds")) {
        return seconds;
    }
    let words: Vec<String> = list(hook, "exec::command").iter().filter_map(quantity::scalar_text).collect();
    let line = words.join(" ");
    let after = line.split_once("sleep ").map(|(_, rest)| rest.trim_start());
    let digits = after.and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
    digits.and_then(|d| d.parse().ok()).unwrap_or(0)
}

/// An autoscaler by utilization divides by the request, so each container needs one; a limit also counts as a request.
pub(super) fn check_autoscaler(context: &CheckContext<'_>) {
    let owner = context.collector.owner;
    let lacks_request = |resource: &str| {
        let has = |c: &ConfigNode, what: &str| {
            c.get_path(&format!("resources::{what}::{resource}")).is_some_and(|n| n.value != NodeValue::Null)
        };
        let is_without_request = |c: &ConfigNode| !has(c, "requests") && !has(c, "limits");
        is_without_request(context.pod.container) || context.others().any(is_without_request)
    };
    let report_missing_request = |resource: &str, at: &ConfigNode| {
        if lacks_request(resource) {
            let message =
                format!("an autoscaler by {resource} utilization, and a container that requests no {resource}");
            let hint = format!("write `resources: {{requests: {{{resource}: ...}}}}`");
            context.error(&at.origin, "", message).related(&context.pod.container.origin, owner.title()).help(hint);
        }
    };
    if let Some(scaler) =
        owner.node.get_path("spec::autoscaler").filter(|s| context.pod.by_operator && s.as_map().is_some())
    {
        for (key, resource) in [("targetCPUUtilization", "cpu"), ("targetMemoryUtilization", "memory")] {
            if let Some(at) = scaler.get_path(key) {
                report_missing_request(resource, at);
            }
        }
    }
    for scaler in context.collector.cluster.autoscalers_of("HorizontalPodAutoscaler", owner) {
        if let Some(at) = scaler.node.get_path("spec::targetCPUUtilizationPercentage") {
            report_missing_request("cpu", at);
        }
        for metric in list(&scaler.node, "spec::metrics") {
            let by_share = string(metric, "resource::target::type") == Some("Utilization");
            if let Some(resource) = string(metric, "resource::name").filter(|_| by_share) {
                report_missing_request(resource, metric);
            }
        }
    }
}
