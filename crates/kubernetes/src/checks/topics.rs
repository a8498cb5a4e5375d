//! Topics of Kafka: the longest message, the number of partitions, and the keys of what one collector writes and another one
//! reads. Topics are known from Strimzi's resources `KafkaTopic`.

use std::collections::BTreeMap;

use otelcore_config::{ConfigNode, DiagnosticKind, Diagnostics};

use super::CheckContext;
use crate::cluster::{Cluster, Object, string, whole_number};
use crate::config_effects::{ConfigEffects, ReadTopics, WrittenTopic};

/// Compares the topics that a configuration uses with their resources.
pub(super) fn check_topics(context: &CheckContext<'_>) {
    for written in &context.effects.topics_written {
        check_message_size(context, written);
    }
    for read in &context.effects.topics_read {
        check_partitions(context, read);
    }
}

/// The resource of a topic. It may be in another namespace than the collector: that of Kafka.
fn find_topic<'c>(cluster: &'c Cluster, name: &str) -> Option<&'c Object> {
    let is_it = |topic: &&Object| string(&topic.node, "spec::topicName").unwrap_or(&topic.name) == name;
    cluster.of_kind("KafkaTopic").find(is_it)
}

/// A broker refuses a batch that is longer than the topic permits.
fn check_message_size(context: &CheckContext<'_>, written: &WrittenTopic) {
    let Some(topic) = find_topic(context.collector.cluster, &written.topic) else { return };
    // The name of the key has dots in it, so that it is no path.
    let config = topic.node.get_path("spec::config").and_then(ConfigNode::as_map);
    let Some(entry) = config.and_then(|config| config.get("max.message.bytes")) else { return };
    let Some(permitted) = whole_number(Some(&entry.node)).filter(|permitted| *permitted < written.max_message_bytes)
    else {
        return;
    };
    let (at, key) = &written.max_message_origin;
    let message = format!(
        "max_message_bytes: {}, and the topic {} permits {permitted}: brokers refuse longer ones",
        written.max_message_bytes, written.topic
    );
    let help = format!("write `max_message_bytes: {permitted}`, or a larger `max.message.bytes`");
    context.warn(at, key, message).related(&entry.node.origin, topic.title()).help(help);
}

/// A partition has one reader in a group, so that more replicas than partitions have nothing to do.
fn check_partitions(context: &CheckContext<'_>, read: &ReadTopics) {
    let (cluster, owner) = (context.collector.cluster, context.collector.owner);
    let topics = read.topics.iter().map(|name| find_topic(cluster, name));
    let Some(topics) = topics.collect::<Option<Vec<_>>>() else { return };
    let nodes: Vec<_> = topics.iter().filter_map(|topic| topic.node.get_path("spec::partitions")).collect();
    let counts = nodes.iter().map(|node| whole_number(Some(node)));
    let (Some(first), Some(partitions)) = (nodes.first(), counts.sum::<Option<u64>>()) else { return };
    if nodes.len() < topics.len() {
        return;
    }
    let report = |node: &ConfigNode, key: &str| {
        let Some(replicas) = whole_number(Some(node)).filter(|replicas| *replicas > partitions) else { return };
        let message = format!(
            "{key}: {replicas}, and {} has {partitions} partitions: a partition has one reader in a group, and pods beyond that read nothing",
            read.topics.join(", ")
        );
        let help = format!("write `{key}: {partitions}`, or more `partitions`");
        context.warn(&node.origin, "", message).related(&first.origin, "the partitions").help(help);
    };
    if let Some(node) = owner.node.get_path("spec::replicas") {
        report(node, "replicas");
    }
    for (kind, key) in [("HorizontalPodAutoscaler", "maxReplicas"), ("ScaledObject", "maxReplicaCount")] {
        for scaler in cluster.autoscalers_of(kind, owner) {
            if let Some(node) = scaler.node.get_path(&format!("spec::{key}")) {
                report(node, key);
            }
        }
    }
}

/// Compares what collectors write to topics with what others read there: where whole traces are needed, the key of a message
/// has to be the trace's id.
pub fn check_keys_of_topics<'e>(all: impl Iterator<Item = &'e ConfigEffects> + Clone, d: &Diagnostics) {
    let mut readers = BTreeMap::new();
    for read in all.clone().flat_map(|effects| &effects.topics_read) {
        let Some(processor) = &read.whole_traces_for else { continue };
        for topic in &read.topics {
            readers.entry(topic.as_str()).or_insert((processor, read));
        }
    }
    for written in all.flat_map(|effects| &effects.topics_written) {
        let (Some((at, key)), Some((processor, read))) = (&written.not_by_trace, readers.get(written.topic.as_str()))
        else {
            continue;
        };
        let message = format!(
            "partition_traces_by_id is not set, and the processor `{processor}` behind the topic {} needs all spans of a trace: they come to several collectors",
            written.topic
        );
        d.warn(at, key, message)
            .kind(DiagnosticKind::Deployment)
            .related(&read.origin, "the topics that are read")
            .help("write `partition_traces_by_id: true`");
    }
}
