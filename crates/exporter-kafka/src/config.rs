//! The `kafka` section.

mod producer;

use std::time::Duration;

use otelcore_config::declare::Optional;
use otelcore_config::{GoDuration, HeaderEntry, Section, config_enum, config_struct};
use otelcore_kafka_client::Partitioner;
use otelcore_kafka_client::settings::KafkaConnectionConfig;
use otelcore_pdata::Signal;
use otelcore_pipeline::ExporterQueueConfig;
use producer::ProducerConfig;

use crate::encoding::Encoding;

/// The shortest time that the Go client gives a broker.
const MIN_TIMEOUT: Duration = Duration::from_millis(100);

config_struct! {
    /// One signal.
    pub struct SignalConfig {
        /// The topic.
        pub topic: String,
        /// The metadata key whose value is the topic. It takes precedence over the attribute and over `topic`.
        pub topic_from_metadata_key: String,
        /// The metadata key whose value is the key of the messages.
        pub message_key_from_metadata_key: String,
        /// The encoding of messages.
        pub encoding: String = "otlp_proto".to_owned(),
    }
}

config_enum! {
    /// `hasher`.
    #[config(
        unknown = "sticky_key: unknown hasher \"{word}\", valid values are \"sarama_compat\", \"murmur2\"",
        hint = "write sarama_compat or murmur2"
    )]
    pub enum Hasher {
        /// FNV-1a, as in Sarama.
        SaramaCompat = "sarama_compat",
        /// Murmur2, as in the Java client.
        Murmur2 = "murmur2",
    }
}

config_struct! {
    /// `record_partitioner::sticky_key`.
    pub struct StickyKeyConfig {
        /// The hash of keys.
        pub hasher: Hasher,
    }
}

config_struct! {
    /// A partitioner without parameters.
    pub struct NoParametersConfig {}
}

config_struct! {
    /// `record_partitioner`: which partition a message goes to. One of these.
    #[config(check = Self::check)]
    #[config(unsupported("extension", "partitioners in extensions are not supported"))]
    pub struct RecordPartitionerConfig {
        /// By the hash of the key; messages without one stay with a partition until a batch is complete.
        pub sticky_key: Optional<StickyKeyConfig> = Optional::on_null(StickyKeyConfig::default()),
        /// Each message to the next partition.
        pub round_robin: Optional<NoParametersConfig> = Optional::on_null(NoParametersConfig::default()),
        /// To the partition with the fewest waiting messages.
        pub least_backup: Optional<NoParametersConfig> = Optional::on_null(NoParametersConfig::default()),
    }
}

impl RecordPartitionerConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        let set = [self.sticky_key.is_on(), self.round_robin.is_on(), self.least_backup.is_on()];
        if set.iter().filter(|is_on| **is_on).count() > 1 {
            s.error("", "at most one record_partitioner strategy may be configured");
        }
    }

    pub(crate) fn partitioner(&self) -> Partitioner {
        if self.round_robin.is_on() {
            return Partitioner::RoundRobin;
        }
        if self.least_backup.is_on() {
            return Partitioner::LeastBackup;
        }
        match self.sticky_key.get().map(|sticky| sticky.hasher) {
            Some(Hasher::Murmur2) => Partitioner::StickyMurmur2,
            Some(Hasher::SaramaCompat) | None => Partitioner::StickySaramaCompatible,
        }
    }
}

config_struct! {
    /// Sends traces, metrics and logs to topics of Kafka.
    #[config(check = Self::check)]
    pub struct KafkaExporterConfig {
        /// Timeout, retry and queue.
        #[config(flatten)]
        pub exporter_queue: ExporterQueueConfig,
        /// Brokers, TLS and authentication.
        #[config(flatten)]
        pub connection: KafkaConnectionConfig,
        /// The rack of the client.
        #[config(no_effect = "a producer always sends to the leaders")]
        pub rack_id: String,
        /// Whether consumers use leader epochs.
        #[config(no_effect = "a producer uses no leader epochs")]
        pub use_leader_epoch: bool = true,
        /// The producer.
        pub producer: ProducerConfig,
        /// Logs.
        pub logs: SignalConfig = SignalConfig { topic: "otlp_logs".to_owned(), ..SignalConfig::default() },
        /// Metrics.
        pub metrics: SignalConfig = SignalConfig { topic: "otlp_metrics".to_owned(), ..SignalConfig::default() },
        /// Traces.
        pub traces: SignalConfig = SignalConfig { topic: "otlp_spans".to_owned(), ..SignalConfig::default() },
        /// Profiles.
        #[config(ignored = "profiles are not supported")]
        pub profiles: SignalConfig = SignalConfig { topic: "otlp_profiles".to_owned(), ..SignalConfig::default() },
        /// Metadata keys of the sender that become headers of the messages.
        pub include_metadata_keys: Vec<String>,
        /// Headers of every message.
        pub record_headers: Vec<HeaderEntry>,
        /// The resource attribute whose value is the topic.
        pub topic_from_attribute: String,
        /// The key of a message is the trace id of its spans.
        pub partition_traces_by_id: bool,
        /// The key of a message is a hash of its resource's attributes.
        pub partition_metrics_by_resource_attributes: bool,
        /// The key of a message is a hash of its resource's attributes.
        pub partition_logs_by_resource_attributes: bool,
        /// The key of a message is the trace id of its log records.
        pub partition_logs_by_trace_id: bool,
        /// Which partition a message goes to.
        pub record_partitioner: RecordPartitionerConfig,
    }
}

impl KafkaExporterConfig {
    /// The section of a signal.
    #[must_use]
    pub fn signal(&self, signal: Signal) -> &SignalConfig {
        match signal {
            Signal::Traces => &self.traces,
            Signal::Metrics => &self.metrics,
            Signal::Logs => &self.logs,
        }
    }

    /// The encoding of a signal.
    ///
    /// # Errors
    /// There is none of this name, or not yet.
    pub(crate) fn encoding(&self, signal: Signal) -> Result<Encoding, String> {
        Encoding::parse(signal, &self.signal(signal).encoding)
    }

    fn check(&mut self, s: &mut Section<'_>) {
        for (signal, key) in [(Signal::Traces, "traces"), (Signal::Metrics, "metrics"), (Signal::Logs, "logs")] {
            if let Err(text) = self.encoding(signal) {
                s.start_error(&format!("{key}::encoding"), text).help("write otlp_proto");
            }
        }
        if self.partition_logs_by_resource_attributes && self.partition_logs_by_trace_id {
            let text = "partition_logs_by_resource_attributes and partition_logs_by_trace_id cannot both be enabled";
            s.error("partition_logs_by_trace_id", text);
        }
        let exclusive = [
            ("traces", &self.traces, self.partition_traces_by_id, "partition_traces_by_id"),
            (
                "metrics",
                &self.metrics,
                self.partition_metrics_by_resource_attributes,
                "partition_metrics_by_resource_attributes",
            ),
            (
                "logs",
                &self.logs,
                self.partition_logs_by_resource_attributes || self.partition_logs_by_trace_id,
                "partition_logs_by_resource_attributes or partition_logs_by_trace_id",
            ),
        ];
        for (key, signal, is_partitioned, option) in exclusive {
            if !signal.message_key_from_metadata_key.is_empty() && is_partitioned {
                let text = format!("{key}::message_key_from_metadata_key cannot be combined with {option}");
                s.error(&format!("{key}::message_key_from_metadata_key"), text);
            }
        }
        // The Go client does not start with less; without a limit, a request to brokers that can't be reached would never end.
        if self.exporter_queue.timeout < MIN_TIMEOUT {
            let timeout = i64::try_from(self.exporter_queue.timeout.as_nanos()).map_or(GoDuration::ZERO, GoDuration);
            s.start_error("timeout", format!("produce timeout {timeout} is less than allowed 100ms"))
                .help("write a longer time, or leave it out");
        }
        self.check_batch(s);
    }

    /// What is read of the metadata must be kept where payloads are joined.
    fn check_batch(&self, s: &mut Section<'_>) {
        let Some(batch) = self.exporter_queue.queue.get().and_then(|queue| queue.batch.get()) else { return };
        let keys = &batch.partition.metadata_keys;
        let is_kept = |name: &str| keys.iter().any(|key| key.eq_ignore_ascii_case(name));
        if !self.include_metadata_keys.is_empty() && keys.is_empty() {
            let text = "sending_queue::batch::partition::metadata_keys must be configured when include_metadata_keys is set \
                        and batching is enabled";
            s.error("include_metadata_keys", text);
        } else if let Some(missing) = self.include_metadata_keys.iter().find(|key| !is_kept(key)) {
            let text = format!(
                "sending_queue::batch::partition::metadata_keys must include all include_metadata_keys values: missing \
                 {missing:?}"
            );
            s.error("include_metadata_keys", text);
        }
        for (key, signal) in [("logs", &self.logs), ("metrics", &self.metrics), ("traces", &self.traces)] {
            let read = [
                ("topic_from_metadata_key", &signal.topic_from_metadata_key),
                ("message_key_from_metadata_key", &signal.message_key_from_metadata_key),
            ];
            for (option, name) in read {
                if !name.is_empty() && !is_kept(name) {
                    let text = format!(
                        "{option} must be present in sending_queue::batch::partition::metadata_keys if batching is enabled"
                    );
                    s.error(&format!("{key}::{option}"), text);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
