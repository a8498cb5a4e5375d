//! Makes metrics of the state of a cluster. Reads nothing.

use otelcore_kafka_client::{ClusterState, TopicState};
use otelcore_pdata::build::Body;
use otelcore_scraped_metrics::{Recorder, ResourceAttributes};

use crate::config::{KafkaClusterAttribute, KafkaMetric, KafkaMetricsConfig, Scraper};

/// The scope of the metrics.
const SCOPE: &str = "github.com/open-telemetry/opentelemetry-collector-contrib/receiver/kafkametricsreceiver";
/// The attribute that is a number.
const NUMBERS: &[&str] = &["partition"];

/// The keys of the configuration of a topic, with their metrics.
pub(crate) const TOPIC_CONFIG: [(&str, KafkaMetric); 3] = [
    ("min.insync.replicas", KafkaMetric::TopicMinInsyncReplicas),
    ("retention.ms", KafkaMetric::TopicLogRetentionPeriod),
    ("retention.bytes", KafkaMetric::TopicLogRetentionSize),
];
/// The key of the configuration of a broker.
pub(crate) const BROKER_RETENTION: &str = "log.retention.hours";

/// What comes of one scrape.
pub(crate) struct ScrapeOutput {
    pub(crate) body: Body,
    /// How many metrics there are.
    pub(crate) metrics: usize,
    /// What could not be read: how much, and the first reasons.
    pub(crate) missing: usize,
    pub(crate) errors: Vec<String>,
}

/// The most points of a scrape: some 64 MiB.
const MAX_POINTS: usize = 300_000;

/// The recorder, within the limit of points.
struct Points {
    recorder: Recorder,
    left: usize,
    above_limit: usize,
}

impl Points {
    fn int(&mut self, metric: KafkaMetric, time: u64, value: i64, attributes: &[&str]) {
        if !self.recorder.is_enabled(metric) {
            return;
        }
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                self.recorder.int(metric, time, value, attributes);
            }
            None => self.above_limit += 1,
        }
    }
}

/// Writes the metrics of each scraper as a resource of its own, as in Go.
pub(crate) fn write(config: &KafkaMetricsConfig, mut state: ClusterState, time: u64, start: u64) -> ScrapeOutput {
    let recorder = Recorder::new(SCOPE, "", config.metrics.settings()).with_number_attributes(NUMBERS);
    let mut points = Points { recorder, left: MAX_POINTS, above_limit: 0 };
    let mut resource = ResourceAttributes::new(config.resource_attributes.settings());
    resource.set(KafkaClusterAttribute::Alias, &config.cluster_alias);
    if let Some(id) = state.cluster_id.as_deref().filter(|id| !id.is_empty()) {
        resource.set(KafkaClusterAttribute::Id, id);
    }
    let (mut body, mut metrics) = (Body::new(), 0);
    for scraper in config.scrapers() {
        match scraper {
            Scraper::Brokers => record_brokers(&mut points, time, &mut state),
            Scraper::Topics => record_topics(&mut points, time, &mut state),
            Scraper::Consumers => record_groups(&mut points, time, &state),
        }
        metrics += points.recorder.emit_for(&mut body, start, &resource);
    }
    if points.above_limit > 0 {
        let above = points.above_limit;
        state.errors.add(above, || {
            format!("{above} points are above the limit of {MAX_POINTS} of a scrape; narrow topic_match or group_match")
        });
    }
    ScrapeOutput { body, metrics, missing: state.errors.count, errors: state.errors.texts }
}

fn record_brokers(points: &mut Points, time: u64, state: &mut ClusterState) {
    points.int(KafkaMetric::Brokers, time, state.brokers.len() as i64, &[]);
    for (broker, values) in &state.broker_config {
        for (_, value) in values.iter().filter(|(key, _)| key == BROKER_RETENTION) {
            match value.parse::<i64>() {
                Ok(hours) => {
                    let seconds = hours.saturating_mul(3600);
                    points.int(KafkaMetric::BrokerLogRetentionPeriod, time, seconds, &[&broker.to_string()]);
                }
                Err(_) => state.errors.add(1, || format!("broker {broker}: cannot parse {BROKER_RETENTION}={value:?}")),
            }
        }
    }
}

fn record_topics(points: &mut Points, time: u64, state: &mut ClusterState) {
    for (topic, of_topic) in &state.topics {
        let TopicState { partitions, config } = of_topic;
        points.int(KafkaMetric::TopicPartitions, time, partitions.len() as i64, &[topic]);
        if let Some(first) = partitions.values().next().filter(|first| first.replicas > 0) {
            points.int(KafkaMetric::TopicReplicationFactor, time, first.replicas as i64, &[topic]);
        }
        for (key, value) in config {
            let Some((_, metric)) = TOPIC_CONFIG.iter().find(|(known, _)| known == key) else { continue };
            if !points.recorder.is_enabled(*metric) {
                continue;
            }
            match value.parse::<i64>() {
                // Milliseconds, of which Go makes seconds.
                Ok(ms) if *metric == KafkaMetric::TopicLogRetentionPeriod => {
                    points.int(*metric, time, ms / 1000, &[topic]);
                }
                Ok(value) => points.int(*metric, time, value, &[topic]),
                Err(_) => state.errors.add(1, || format!("topic {topic:?}: cannot parse {key}={value:?}")),
            }
        }
        for (index, partition) in partitions {
            let attributes = [topic.as_str(), &index.to_string()];
            points.int(KafkaMetric::PartitionReplicas, time, partition.replicas as i64, &attributes);
            points.int(KafkaMetric::PartitionReplicasInSync, time, partition.in_sync as i64, &attributes);
            if let Some(offset) = partition.newest {
                points.int(KafkaMetric::PartitionCurrentOffset, time, offset, &attributes);
            }
            if let Some(offset) = partition.oldest {
                points.int(KafkaMetric::PartitionOldestOffset, time, offset, &attributes);
            }
        }
    }
}

/// A partition is reported if its group has committed an offset of it and its end is known.
fn record_groups(points: &mut Points, time: u64, state: &ClusterState) {
    for (group, of_group) in &state.groups {
        let Some(members) = of_group.members else { continue };
        points.int(KafkaMetric::ConsumerGroupMembers, time, members as i64, &[group]);
        for (topic, partitions) in &of_group.offsets {
            let (mut offset_sum, mut lag_sum, mut has_offsets) = (0_i64, 0_i64, false);
            for (index, (offset, end)) in partitions {
                let Some(end) = end else { continue };
                let lag = end.saturating_sub(*offset).max(0);
                has_offsets = true;
                offset_sum = offset_sum.saturating_add(*offset);
                lag_sum = lag_sum.saturating_add(lag);
                let attributes = [group.as_str(), topic, &index.to_string()];
                points.int(KafkaMetric::ConsumerGroupOffset, time, *offset, &attributes);
                points.int(KafkaMetric::ConsumerGroupLag, time, lag, &attributes);
            }
            if has_offsets {
                points.int(KafkaMetric::ConsumerGroupOffsetSum, time, offset_sum, &[group, topic]);
                points.int(KafkaMetric::ConsumerGroupLagSum, time, lag_sum, &[group, topic]);
            }
        }
    }
}
