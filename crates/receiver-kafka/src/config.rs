//! The `kafka` section.

use std::time::Duration;

use otelcore_config::{Section, config_struct};
use otelcore_go_regexp::GoRegexp;
use otelcore_kafka_client::settings::KafkaConnectionConfig;
use otelcore_kafka_client::{Assignor, GroupProtocol};
use otelcore_pdata::Signal;
use otelcore_pipeline::RetryConfig;

use crate::decode::MessageEncoding;

config_struct! {
    /// One signal.
    pub struct TopicEncodingConfig {
        /// The topics. If one begins with `^`, all of them are regular expressions.
        pub topics: Vec<String>,
        /// The encoding of messages.
        pub encoding: String = "otlp_proto".to_owned(),
        /// Regular expressions of topics that are not read, although `topics` match them.
        pub exclude_topics: Vec<String>,
    }
}

impl TopicEncodingConfig {
    fn of(topic: &str) -> Self {
        Self { topics: vec![topic.to_owned()], ..Self::default() }
    }

    /// Whether the topics are regular expressions.
    pub(crate) fn has_patterns(&self) -> bool {
        self.topics.iter().any(|topic| topic.starts_with('^'))
    }

    fn check(&self, key: &str, s: &mut Section<'_>) {
        let topics = format!("{key}::topics");
        if self.has_patterns() {
            for topic in &self.topics {
                if let Err(error) = GoRegexp::compile(topic) {
                    s.error(&topics, format!("invalid regex pattern {topic:?}: {error}"));
                }
            }
        }
        if self.exclude_topics.is_empty() {
            return;
        }
        let excluded = format!("{key}::exclude_topics");
        if !self.has_patterns() {
            let text = format!(
                "{key}.exclude_topics is configured but none of the configured {key}.topics use regex pattern (must start \
                 with '^')"
            );
            s.error(&excluded, text).help("write a pattern in `topics`, or leave `exclude_topics` out");
            return;
        }
        for pattern in &self.exclude_topics {
            if pattern.is_empty() {
                s.error(&excluded, format!("{key}.exclude_topics contains empty string, which would match all topics"));
            } else if let Err(error) = GoRegexp::compile(pattern) {
                s.error(&excluded, format!("{key}.exclude_topic contains invalid regex pattern: {error}"));
            }
        }
    }
}

config_struct! {
    /// `autocommit`.
    pub struct AutoCommitConfig {
        /// Commits offsets at an interval, and not at once.
        pub enable: bool = true,
        /// The interval.
        pub interval: Duration = Duration::from_secs(1),
    }
}

config_struct! {
    /// `message_marking`: what happens to a message that is not delivered. An offset is always committed after the outcome.
    pub struct MessageMarkingConfig {
        /// The two other options apply. Without it, messages that can't be read or are refused for good are skipped.
        pub after: bool,
        /// A message that is refused for now is skipped, after the attempts of `error_backoff`.
        pub on_error: bool,
        /// A message that can't be read, or is refused for good, is skipped. Without it, its partition stops until the group has a
        /// rebalance. The default is that of `on_error`.
        pub on_permanent_error: Option<bool>,
    }
}

config_struct! {
    /// `header_extraction`.
    pub struct HeaderExtractionConfig {
        /// Headers of messages become resource attributes.
        pub extract_headers: bool,
        /// The names of the headers. The attributes are called `kafka.header.` and the name.
        pub headers: Vec<String>,
    }
}

config_struct! {
    /// A metric.
    pub struct MetricConfig {
        /// Whether it is kept.
        pub enabled: bool,
    }
}

config_struct! {
    /// `telemetry::metrics`.
    pub struct KafkaMetricsConfig {
        /// The time between the writing and the reading of messages.
        pub kafka_receiver_records_delay: MetricConfig,
    }
}

config_struct! {
    /// `telemetry`.
    pub struct KafkaTelemetryConfig {
        /// Metrics that are not kept without being asked for.
        pub metrics: KafkaMetricsConfig,
    }
}

/// The value of `group_protocol` for the protocol of KIP-848.
const CONSUMER_PROTOCOL: &str = "consumer";

/// The pauses of the Go receiver, none of which is set.
fn no_backoff() -> RetryConfig {
    RetryConfig {
        enabled: false,
        initial_interval: Duration::ZERO,
        randomization_factor: 0.0,
        multiplier: 0.0,
        max_interval: Duration::ZERO,
        max_elapsed_time: Duration::ZERO,
        ..RetryConfig::default()
    }
}

config_struct! {
    /// Reads traces, metrics and logs from topics of Kafka.
    #[config(check = Self::check)]
    pub struct KafkaReceiverConfig {
        /// Brokers, TLS and authentication.
        #[config(flatten)]
        pub connection: KafkaConnectionConfig,
        /// The rack of the client: brokers may give it the nearest replica.
        pub rack_id: String,
        /// Brokers are told the epochs of leaders, so that a log that was truncated is recognised.
        pub use_leader_epoch: bool = true,
        /// A member is removed from the group if it is not heard from for this time. No effect with `group_protocol: consumer`.
        pub session_timeout: Duration = Duration::from_secs(10),
        /// How often the group hears from a member. No effect with `group_protocol: consumer`.
        pub heartbeat_interval: Duration = Duration::from_secs(3),
        /// The group.
        pub group_id: String = "otel-collector".to_owned(),
        /// Where a partition without a committed offset is read from: `latest` or `earliest`.
        pub initial_offset: String = "latest".to_owned(),
        /// When offsets are committed.
        pub autocommit: AutoCommitConfig,
        /// How many bytes a broker waits for.
        pub min_fetch_size: i64 = 1,
        /// The most bytes of an answer. A single batch may be longer.
        pub max_fetch_size: i64 = 1_048_576,
        /// How long a broker waits for `min_fetch_size` bytes.
        pub max_fetch_wait: Duration = Duration::from_millis(250),
        /// The most bytes of one partition in an answer. A single batch may be longer.
        pub max_partition_fetch_size: i64 = 1_048_576,
        /// The strategies that the member has, the preferred one first: `range`, `roundrobin`, `sticky`, `cooperative-sticky`. With
        /// `group_protocol: consumer` the first one names the assignor of the broker: `range`, or `sticky` and `cooperative-sticky` for
        /// `uniform`; without one the broker's default is used.
        pub group_rebalance_strategies: Vec<String>,
        /// The only strategy that the member has.
        #[config(deprecated = "`group_rebalance_strategies`")]
        pub group_rebalance_strategy: String,
        /// How the members of the group share partitions: `classic`, in which one of them assigns them, or `consumer` (KIP-848), in which
        /// the broker does, and says how often it wants to hear from a member. `consumer` needs Kafka 4.0 or later.
        pub group_protocol: String = "classic".to_owned(),
        /// The name of a static member: its partitions are kept for it while it is away.
        pub group_instance_id: String,
        /// Logs.
        pub logs: TopicEncodingConfig = TopicEncodingConfig::of("otlp_logs"),
        /// Metrics.
        pub metrics: TopicEncodingConfig = TopicEncodingConfig::of("otlp_metrics"),
        /// Traces.
        pub traces: TopicEncodingConfig = TopicEncodingConfig::of("otlp_spans"),
        /// Profiles.
        #[config(ignored = "profiles are not supported")]
        pub profiles: TopicEncodingConfig = TopicEncodingConfig::of("otlp_profiles"),
        /// What happens to messages that are not delivered.
        pub message_marking: MessageMarkingConfig,
        /// Headers as resource attributes.
        pub header_extraction: HeaderExtractionConfig,
        /// The attempts to deliver a message that is refused for now.
        pub error_backoff: RetryConfig = no_backoff(),
        /// Own metrics.
        pub telemetry: KafkaTelemetryConfig,
    }
}

impl KafkaReceiverConfig {
    /// The section of a signal.
    #[must_use]
    pub fn signal(&self, signal: Signal) -> &TopicEncodingConfig {
        match signal {
            Signal::Traces => &self.traces,
            Signal::Metrics => &self.metrics,
            Signal::Logs => &self.logs,
        }
    }

    /// The assignors that the member has.
    pub(crate) fn assignors(&self) -> Vec<Assignor> {
        let names = self.group_rebalance_strategies.iter().chain(Some(&self.group_rebalance_strategy));
        let mut assignors: Vec<Assignor> = names.filter_map(|name| Assignor::parse(name)).collect();
        if assignors.is_empty() {
            assignors.push(Assignor::CooperativeSticky);
        }
        assignors
    }

    /// The protocol of the group.
    pub(crate) fn protocol(&self) -> GroupProtocol {
        if self.group_protocol != CONSUMER_PROTOCOL {
            return GroupProtocol::Classic;
        }
        let mut names = self.group_rebalance_strategies.iter().chain(Some(&self.group_rebalance_strategy));
        GroupProtocol::Consumer(names.find_map(|name| broker_assignor(name)).map(str::to_owned))
    }

    fn check_protocol(&self, s: &mut Section<'_>) {
        match self.group_protocol.as_str() {
            "classic" => return,
            CONSUMER_PROTOCOL => {}
            other => {
                let text = format!("group_protocol should be one of 'classic' or 'consumer'. configured value {other}");
                s.error("group_protocol", text).help("leave it out for the classic protocol");
                return;
            }
        }
        for key in ["session_timeout", "heartbeat_interval"] {
            if s.contains_key(key) {
                s.warn(key, format!("{key} has no effect with group_protocol: consumer: the broker decides it"));
            }
        }
        let first = self.group_rebalance_strategies.first();
        let (key, name) = match first {
            Some(name) => ("group_rebalance_strategies", name),
            None => ("group_rebalance_strategy", &self.group_rebalance_strategy),
        };
        if Assignor::parse(name).is_some() && broker_assignor(name).is_none() {
            let text = format!("brokers have no assignor like {name}, which group_protocol: consumer would need");
            s.error(key, text).help("write range or sticky, or leave it out for the broker's default");
        }
        if self.group_rebalance_strategies.len() > 1 {
            s.warn(key, "only the first strategy has an effect with group_protocol: consumer");
        }
    }

    fn check(&mut self, s: &mut Section<'_>) {
        self.check_protocol(s);
        for (signal, key) in [(Signal::Logs, "logs"), (Signal::Metrics, "metrics"), (Signal::Traces, "traces")] {
            self.signal(signal).check(key, s);
            if let Err(text) = MessageEncoding::parse(signal, &self.signal(signal).encoding) {
                s.start_error(&format!("{key}::encoding"), text).help("write otlp_proto");
            }
        }
        if !matches!(self.initial_offset.as_str(), "latest" | "earliest") {
            let text = format!(
                "initial_offset should be one of 'latest' or 'earliest'. configured value {}",
                self.initial_offset
            );
            s.error("initial_offset", text);
        }
        if !self.group_rebalance_strategy.is_empty() && !self.group_rebalance_strategies.is_empty() {
            let text = "group_rebalance_strategy and group_rebalance_strategies are mutually exclusive; \
                        group_rebalance_strategy is deprecated, prefer group_rebalance_strategies";
            s.error("group_rebalance_strategy", text);
        }
        for name in &self.group_rebalance_strategies {
            check_strategy(s, "group_rebalance_strategies", name);
        }
        if !self.group_rebalance_strategy.is_empty() {
            check_strategy(s, "group_rebalance_strategy", &self.group_rebalance_strategy);
        }
        self.check_sizes(s);
        if self.group_id.is_empty() {
            s.error("group_id", "group_id must not be empty");
        }
        if self.session_timeout.is_zero() {
            s.error("session_timeout", "session_timeout must be positive");
        }
        if self.heartbeat_interval.is_zero() || self.heartbeat_interval >= self.session_timeout {
            let text = "heartbeat_interval must be positive and shorter than session_timeout";
            s.error("heartbeat_interval", text).help("write a third of session_timeout");
        }
    }

    fn check_sizes(&self, s: &mut Section<'_>) {
        let sizes = [
            ("min_fetch_size", self.min_fetch_size),
            ("max_fetch_size", self.max_fetch_size),
            ("max_partition_fetch_size", self.max_partition_fetch_size),
        ];
        for (key, size) in sizes {
            if size < 0 {
                s.error(key, format!("{key} ({size}) must be non-negative"));
            } else if size > i64::from(i32::MAX) {
                s.error(key, format!("{key} ({size}) must not exceed {}", i32::MAX));
            }
        }
        if self.max_fetch_size < self.min_fetch_size {
            let text = format!(
                "max_fetch_size ({}) cannot be less than min_fetch_size ({})",
                self.max_fetch_size, self.min_fetch_size
            );
            s.error("max_fetch_size", text);
        }
    }
}

/// The assignor of brokers that does what a strategy does.
fn broker_assignor(strategy: &str) -> Option<&'static str> {
    match Assignor::parse(strategy)? {
        Assignor::Range => Some("range"),
        Assignor::Sticky | Assignor::CooperativeSticky => Some("uniform"),
        Assignor::RoundRobin => None,
    }
}

fn check_strategy(s: &mut Section<'_>, key: &str, name: &str) {
    if name.trim().is_empty() {
        s.error(key, format!("{key} entries cannot be empty"));
    } else if Assignor::parse(name).is_none() {
        s.error(key, format!("group rebalance strategy {name:?} is not supported; extensions with strategies are not"))
            .help("write range, roundrobin, sticky or cooperative-sticky");
    }
}
