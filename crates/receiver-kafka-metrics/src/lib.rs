//! The `kafka_metrics` receiver: metrics of the brokers, topics and consumer groups of a cluster of Kafka.
//!
//! The state of the cluster is read by `otelcore_kafka_client::ClusterReader`, and becomes OTLP in jobs, never on the loop. Names, units,
//! attributes and values are those of the Go receiver.
//!
//! - `config`: the section, and the tables of metrics and attributes
//! - `writer`: makes metrics of the state of a cluster
//! - `receiver`: when the state is read, and what is sent and logged of it
#![forbid(unsafe_code)]

mod config;
mod factory;
mod receiver;
#[cfg(test)]
mod tests;
mod writer;

pub use config::*;
pub use factory::KafkaMetricsFactory;
