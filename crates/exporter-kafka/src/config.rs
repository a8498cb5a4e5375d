//! The `kafka` section.

mod producer;

use std::time::Duration;

use otelcore_config::declare::{OpaqueString, Optional};
use otelcore_config::{HeaderEntry, Section, config_enum, config_struct};
use otelcore_kafka_client::{KafkaRelease, Partitioner};
use otelcore_net::tls::TlsClientConfig;
use otelcore_pdata::Signal;
use otelcore_pipeline::ExporterQueueConfig;
use producer::ProducerConfig;

use crate::broker_address::parse_broker;
use crate::encoding::Encoding;

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

config_struct! {
    /// `auth::plain_text`.
    pub struct PlainTextConfig {
        /// The user.
        pub username: String,
        /// The password.
        pub password: OpaqueString,
    }
}

config_struct! {
    /// `auth::sasl`.
    #[config(check = Self::check)]
    #[config(unsupported("aws_msk", "authentication with AWS_MSK_IAM_OAUTHBEARER is not supported yet"))]
    pub struct SaslConfig {
        /// The user.
        pub username: String,
        /// The password.
        pub password: OpaqueString,
        /// PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER.
        pub mechanism: String,
        /// The version of the handshake.
        #[config(ignored = "it is negotiated")]
        pub version: i64,
        /// For OAUTHBEARER: the id of an extension that has a token, such as `bearertokenauth`.
        pub oauthbearer_token_source: String,
    }
}

impl SaslConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        match self.mechanism.as_str() {
            "PLAIN" | "SCRAM-SHA-256" | "SCRAM-SHA-512" => {
                if self.username.is_empty() {
                    s.error("username", "username is required");
                }
                if self.password.0.is_empty() {
                    s.error("password", "password is required");
                }
            }
            "OAUTHBEARER" => {
                if self.oauthbearer_token_source.is_empty() {
                    s.error("oauthbearer_token_source", "oauth2authclient extension is required")
                        .help("write the id of an extension with a token, such as `bearertokenauth`");
                } else if let Err(e) = self.oauthbearer_token_source.parse::<otelcore_config::ComponentId>() {
                    s.error("oauthbearer_token_source", format!("'oauthbearer_token_source' {e}"));
                }
            }
            "AWS_MSK_IAM_OAUTHBEARER" => {
                s.error("mechanism", "authentication with AWS_MSK_IAM_OAUTHBEARER is not supported yet")
                    .help("use SCRAM-SHA-512, which MSK has too");
            }
            other => {
                let text = format!(
                    "mechanism should be one of 'PLAIN', 'AWS_MSK_IAM_OAUTHBEARER', 'SCRAM-SHA-256' or 'SCRAM-SHA-512'. \
                     configured value {other}"
                );
                s.error("mechanism", text).help("write PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER");
            }
        }
        if !(0..=1).contains(&self.version) {
            s.error("version", format!("version has to be either 0 or 1. configured value {}", self.version));
        }
    }
}

config_struct! {
    /// `auth`.
    #[config(unsupported("kerberos", "authentication with Kerberos is not supported yet"))]
    pub struct AuthConfig {
        /// User and password.
        #[config(deprecated = "`sasl:` with `mechanism: PLAIN`")]
        pub plain_text: Option<PlainTextConfig>,
        /// SASL.
        pub sasl: Option<SaslConfig>,
        /// TLS.
        #[config(deprecated = "`tls:` beside `auth:`")]
        pub tls: Option<TlsClientConfig>,
    }
}

config_struct! {
    /// `metadata::retry`.
    pub struct MetadataRetryConfig {
        /// How often a request for metadata is repeated.
        #[config(no_effect = "metadata is requested again until the timeout of the export")]
        pub max: i64 = 3,
        /// The shortest pause between two requests for metadata.
        pub backoff: Duration = Duration::from_millis(250),
    }
}

config_struct! {
    /// `metadata`: what is known of topics and brokers.
    pub struct MetadataConfig {
        /// Reads the metadata of all topics.
        #[config(no_effect = "the metadata of the topics that are used is read, as in Go")]
        pub full: bool = true,
        /// How often metadata is read again.
        pub refresh_interval: Duration = Duration::from_secs(600),
        /// What happens when metadata can't be read.
        pub retry: MetadataRetryConfig,
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
        /// The brokers that are asked first, as `host:port`.
        pub brokers: Vec<String> = vec!["localhost:9092".to_owned()],
        /// Looks the names of the brokers up in both directions.
        #[config(no_effect = "brokers are connected to under the names that are written, as in Go")]
        pub resolve_canonical_bootstrap_servers_only: bool,
        /// The release of Kafka whose protocol is spoken, such as `3.9.0`; if empty, it is negotiated.
        pub protocol_version: String,
        /// What the client calls itself.
        pub client_id: String = "otel-collector".to_owned(),
        /// Authentication.
        pub auth: AuthConfig,
        /// TLS. Without this section connections are not encrypted.
        pub tls: Option<TlsClientConfig>,
        /// What is known of topics and brokers.
        pub metadata: MetadataConfig,
        /// The rack of the client.
        #[config(no_effect = "a producer always sends to the leaders")]
        pub rack_id: String,
        /// Whether consumers use leader epochs.
        #[config(no_effect = "a producer uses no leader epochs")]
        pub use_leader_epoch: bool = true,
        /// A connection without requests is closed after this time.
        pub conn_idle_timeout: Duration = Duration::from_secs(540),
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

    /// The TLS of connections.
    pub(crate) fn client_tls(&self) -> Option<&TlsClientConfig> {
        self.tls.as_ref().or(self.auth.tls.as_ref()).filter(|tls| !tls.is_plaintext())
    }

    fn check(&mut self, s: &mut Section<'_>) {
        if self.brokers.is_empty() {
            s.error("brokers", "brokers must be specified");
        }
        if let Some(broker) = self.brokers.iter().find(|broker| parse_broker(broker).is_none()) {
            s.error("brokers", format!("{broker:?} is not the address of a broker")).help("write `host:port`");
        }
        if !self.protocol_version.is_empty() {
            match KafkaRelease::parse(&self.protocol_version) {
                None => {
                    let text = format!("invalid protocol version: {:?}", self.protocol_version);
                    s.error("protocol_version", text).help("write a release of Kafka such as 3.9.0, or leave it out");
                }
                Some(release) => {
                    if let Err(text) = release.check() {
                        s.error("protocol_version", text).help("leave it out");
                    }
                }
            }
        }
        if self.conn_idle_timeout.is_zero() {
            s.error("conn_idle_timeout", "conn_idle_timeout (0s) must be positive");
        }
        if self.auth.plain_text.is_some() && self.auth.sasl.is_some() {
            s.error("auth::plain_text", "plain_text and sasl cannot both be used").help("leave `plain_text` out");
        }
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
