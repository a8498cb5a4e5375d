//! The `kafka_metrics` section of receivers, with the keys and messages of the Go collector, and the tables of metrics and
//! attributes. Names, units and descriptions of metrics are sent.

use std::time::Duration;

use otelcore_config::{GoDuration, Section, config_struct};
use otelcore_go_regexp::GoRegexp;
use otelcore_kafka_client::settings::KafkaConnectionConfig;
use otelcore_scraped_metrics::{metric_table, resource_attribute_table};

metric_table! {
    /// Which metrics are sent.
    KafkaClusterMetricsConfig KafkaMetric {
        BrokerLogRetentionPeriod broker_log_retention_period "kafka.broker.log_retention_period" off gauge "s" ["broker"]
            "log retention time (s) of a broker.";
        Brokers brokers "kafka.brokers" on sum "{brokers}" []
            "Number of brokers in the cluster.";
        ConsumerGroupLag consumer_group_lag "kafka.consumer_group.lag" on gauge "1" ["group" "topic" "partition"]
            "Current approximate lag of consumer group at partition of topic";
        ConsumerGroupLagSum consumer_group_lag_sum "kafka.consumer_group.lag_sum" on gauge "1" ["group" "topic"]
            "Current approximate sum of consumer group lag across all partitions of topic";
        ConsumerGroupMembers consumer_group_members "kafka.consumer_group.members" on sum "{members}" ["group"]
            "Count of members in the consumer group";
        ConsumerGroupOffset consumer_group_offset "kafka.consumer_group.offset" on gauge "1" ["group" "topic" "partition"]
            "Current offset of the consumer group at partition of topic";
        ConsumerGroupOffsetSum consumer_group_offset_sum "kafka.consumer_group.offset_sum" on gauge "1" ["group" "topic"]
            "Sum of consumer group offset across partitions of topic";
        PartitionCurrentOffset partition_current_offset "kafka.partition.current_offset" on gauge "1" ["topic" "partition"]
            "Current offset of partition of topic.";
        PartitionOldestOffset partition_oldest_offset "kafka.partition.oldest_offset" on gauge "1" ["topic" "partition"]
            "Oldest offset of partition of topic";
        PartitionReplicas partition_replicas "kafka.partition.replicas" on sum "{replicas}" ["topic" "partition"]
            "Number of replicas for partition of topic";
        PartitionReplicasInSync partition_replicas_in_sync "kafka.partition.replicas_in_sync" on sum "{replicas}" ["topic" "partition"]
            "Number of synchronized replicas of partition";
        TopicLogRetentionPeriod topic_log_retention_period "kafka.topic.log_retention_period" off gauge "s" ["topic"]
            "log retention period of a topic (s).";
        TopicLogRetentionSize topic_log_retention_size "kafka.topic.log_retention_size" off gauge "By" ["topic"]
            "log retention size of a topic in Bytes, The value (-1) indicates infinite size.";
        TopicMinInsyncReplicas topic_min_insync_replicas "kafka.topic.min_insync_replicas" off gauge "{replicas}" ["topic"]
            "minimum in-sync replicas of a topic.";
        TopicPartitions topic_partitions "kafka.topic.partitions" on sum "{partitions}" ["topic"]
            "Number of partitions in topic.";
        TopicReplicationFactor topic_replication_factor "kafka.topic.replication_factor" off gauge "1" ["topic"]
            "replication factor of a topic.";
    }
}

resource_attribute_table! {
    /// Which attributes the resource has.
    KafkaClusterAttributesConfig KafkaClusterAttribute {
        Alias alias "kafka.cluster.alias" off "The alias name (string) of the cluster";
        Id id "kafka.cluster.id" off "The id that the cluster says it has";
    }
}

/// What is read of a cluster.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Scraper {
    Brokers,
    Topics,
    Consumers,
}

impl Scraper {
    /// In the order in which their metrics are sent.
    pub(crate) const ALL: [Self; 3] = [Self::Brokers, Self::Topics, Self::Consumers];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Brokers => "brokers",
            Self::Topics => "topics",
            Self::Consumers => "consumers",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scraper| scraper.name() == name)
    }
}

config_struct! {
    /// Metrics of the brokers, topics and consumer groups of a cluster of Kafka.
    #[config(check = Self::check)]
    pub struct KafkaMetricsConfig {
        /// How often the cluster is asked.
        #[config(above(GoDuration::ZERO, "\"collection_interval\": requires positive value"))]
        pub collection_interval: Duration = Duration::from_secs(60),
        /// How long after the start it is asked first.
        pub initial_delay: GoDuration = GoDuration(1_000_000_000),
        /// Time limit of all requests of one scrape; zero for 30 seconds.
        #[config(at_least(GoDuration::ZERO, "\"timeout\": requires positive value"))]
        pub timeout: Duration,
        /// Brokers, TLS and authentication.
        #[config(flatten)]
        pub connection: KafkaConnectionConfig,
        /// The value of the resource attribute `kafka.cluster.alias`.
        pub cluster_alias: String,
        /// A regular expression for the topics that are reported.
        pub topic_match: String = "^[^_].*$".to_owned(),
        /// A regular expression for the groups that are reported.
        pub group_match: String = ".*".to_owned(),
        /// How often metadata is read again.
        #[config(no_effect = "metadata is read in each scrape")]
        pub refresh_frequency: GoDuration,
        /// What is reported: `brokers`, `topics`, `consumers`.
        pub scrapers: Vec<String>,
        /// Which metrics are sent.
        pub metrics: KafkaClusterMetricsConfig,
        /// Which attributes the resource has.
        pub resource_attributes: KafkaClusterAttributesConfig,
    }
}

impl KafkaMetricsConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        for name in &self.scrapers {
            if Scraper::parse(name).is_none() {
                s.start_error("scrapers", format!("no scraper found for key: {name}"))
                    .help("write `brokers`, `topics` or `consumers`");
            }
        }
        if self.scrapers.is_empty() {
            s.warn("scrapers", "nothing is reported without scrapers")
                .help("write `scrapers: [brokers, topics, consumers]`");
        }
        for (key, pattern, what) in [
            ("topic_match", &self.topic_match, "failed to compile topic filter"),
            ("group_match", &self.group_match, "failed to compile group_match"),
        ] {
            if let Err(error) = GoRegexp::compile(pattern) {
                s.start_error(key, format!("{what}: {error}")).help(error.hint());
            }
        }
        let (metadata, default) = (&self.connection.metadata, KafkaConnectionConfig::default().metadata);
        if metadata.refresh_interval != default.refresh_interval {
            let text = "metadata::refresh_interval has no effect: metadata is read in each scrape";
            s.warn("metadata::refresh_interval", text);
        }
        if metadata.retry.backoff != default.retry.backoff {
            let text = "metadata::retry::backoff has no effect: what fails is read again in the next scrape";
            s.warn("metadata::retry::backoff", text);
        }
        let alias = &self.resource_attributes.alias;
        if alias.enabled && self.cluster_alias.is_empty() {
            s.warn("cluster_alias", "kafka.cluster.alias is enabled and has no value").help("write `cluster_alias`");
        }
    }

    /// What is reported, in the order in which it is sent.
    pub(crate) fn scrapers(&self) -> Vec<Scraper> {
        Scraper::ALL.into_iter().filter(|scraper| self.scrapers.iter().any(|name| name == scraper.name())).collect()
    }
}
