//! The section `producer`.

use std::time::Duration;

use otelcore_config::declare::{ConfigValue, Shape};
use otelcore_config::{EffectiveValue, NodeValue, Section, config_enum, config_struct};
use otelcore_kafka_client::Compression;

/// The Go client does not accept a lower limit.
const MIN_BROKER_WRITE_BYTES: i64 = 100 << 20;

config_enum! {
    /// `compression` of the producer.
    #[config(
        unknown = "compression should be one of 'none', 'gzip', 'snappy', 'lz4', or 'zstd'. configured value is \"{word}\"",
        hint = "write none, gzip, snappy, lz4 or zstd"
    )]
    pub enum ProducerCompression {
        /// None.
        None = "none",
        /// gzip.
        Gzip = "gzip",
        /// Snappy.
        Snappy = "snappy",
        /// LZ4.
        Lz4 = "lz4",
        /// Zstandard; the brokers need Kafka 2.1.
        Zstd = "zstd",
    }
}

impl ProducerCompression {
    pub(crate) fn compression(self) -> Compression {
        match self {
            Self::None => Compression::None,
            Self::Gzip => Compression::Gzip,
            Self::Snappy => Compression::Snappy,
            Self::Lz4 => Compression::Lz4,
            Self::Zstd => Compression::Zstd,
        }
    }
}

config_struct! {
    /// `compression_params`.
    pub struct ProducerCompressionParamsConfig {
        /// The level, in the numbers of the coding; zero is its default.
        pub level: i32 = 0,
    }
}

/// `required_acks`: 0, 1, -1, or `all` for -1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequiredAcks(pub i16);

impl ConfigValue for RequiredAcks {
    fn read(s: &mut Section<'_>, key: &str, default: &Self) -> Self {
        let Some(node) = s.raw_node(key) else { return *default };
        match &node.value {
            NodeValue::Null => *default,
            NodeValue::Str(text) if &**text == "all" => Self(-1),
            NodeValue::Int(v @ -1..=1) => Self(i16::try_from(*v).unwrap_or(1)),
            other => {
                let text = match other {
                    NodeValue::Int(v) => v.to_string(),
                    NodeValue::Str(text) => text.to_string(),
                    _ => "...".to_owned(),
                };
                s.error(key, format!("expected 'all' (-1), 0, or 1; configured value is {text}"))
                    .help("write all, 1 or 0");
                *default
            }
        }
    }

    fn shape(_: &Self) -> Shape {
        Shape::OneOf(vec!["all", "-1", "0", "1"])
    }

    fn effective(&self) -> EffectiveValue {
        EffectiveValue::Int(self.0.into())
    }
}

config_struct! {
    /// `producer`.
    #[config(check = Self::check)]
    pub struct ProducerConfig {
        /// The longest message, before compression. Longer payloads are sent as several messages.
        #[config(unit = "bytes")]
        pub max_message_bytes: i64 = 1_000_000,
        /// The longest request.
        #[config(unit = "bytes")]
        pub max_broker_write_bytes: i64 = MIN_BROKER_WRITE_BYTES,
        /// Who must have written a message: all replicas that are in sync (`all` or -1), the leader (1), or nobody (0). With `all` the
        /// producer is idempotent.
        pub required_acks: RequiredAcks = RequiredAcks(1),
        /// The compression of batches.
        pub compression: ProducerCompression,
        /// Parameters of the compression.
        pub compression_params: ProducerCompressionParamsConfig,
        /// The most messages of one request.
        pub flush_max_messages: i64 = 10_000,
        /// Whether the brokers may create topics that do not exist.
        pub allow_auto_topic_creation: bool = true,
        /// How long a batch waits for more messages.
        pub linger: Duration = Duration::from_millis(10),
    }
}

impl ProducerConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        let max = i64::from(i32::MAX);
        let (message, write) = (self.max_message_bytes, self.max_broker_write_bytes);
        if message < 0 {
            s.error("max_message_bytes", format!("max_message_bytes ({message}) must be non-negative"));
        } else if message > max {
            s.error("max_message_bytes", format!("max_message_bytes ({message}) must not exceed {max}"));
        }
        if write < 0 {
            s.error("max_broker_write_bytes", format!("max_broker_write_bytes ({write}) must be non-negative"));
        } else if write < MIN_BROKER_WRITE_BYTES {
            let least = MIN_BROKER_WRITE_BYTES;
            let text = format!("max_broker_write_bytes ({write}) must be at least {least} (100 MiB)");
            s.error("max_broker_write_bytes", text).help("leave it out");
        } else if write > max {
            s.error("max_broker_write_bytes", format!("max_broker_write_bytes ({write}) must not exceed {max}"));
        } else if message > write {
            let text = format!("max_message_bytes ({message}) cannot be greater than max_broker_write_bytes ({write})");
            s.error("max_message_bytes", text);
        }
        if self.flush_max_messages < 1 {
            s.error(
                "flush_max_messages",
                format!("flush_max_messages ({}) must be at least 1", self.flush_max_messages),
            );
        }
        let level = self.compression_params.level;
        let (is_known, name) = match self.compression {
            ProducerCompression::None => (true, "none"),
            ProducerCompression::Gzip => (matches!(level, -1..=9), "gzip"),
            ProducerCompression::Zstd => (matches!(level, 0 | 1 | 3 | 6 | 11), "zstd"),
            ProducerCompression::Snappy => (level == 0, "snappy"),
            ProducerCompression::Lz4 => (level == 0, "lz4"),
        };
        if !is_known {
            let text = format!("unsupported parameters {{Level:{level}}} for compression type \"{name}\"");
            s.error("compression_params", text).help("leave `level` out");
        }
    }
}
