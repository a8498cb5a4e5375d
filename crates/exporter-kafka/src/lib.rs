//! The `kafka` exporter: traces, metrics and logs as records in topics of Kafka.
//!
//! A payload becomes one record, or one for each resource, trace, span or log record, as the configuration says; a record that would be
//! too long is cut (`encode`). The producer is that of `otelcore-kafka-client`; queue and retry are those of every exporter.
#![forbid(unsafe_code)]

mod config;
mod encode;
mod encoding;
mod exporter;
mod factory;
mod groups;
mod resource_hash;

pub use config::KafkaExporterConfig;
pub use factory::KafkaExporterFactory;
