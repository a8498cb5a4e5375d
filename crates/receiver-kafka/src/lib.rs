//! The `kafka` receiver: traces, metrics and logs from topics of Kafka.
//!
//! Each signal has a member of the group of its own, as in the Go collector (`consumer`). Messages become payloads one by one (`decode`); an
//! offset is marked when everything before it has its outcome (`window`). The client is that of `otelcore-kafka-client`.
#![forbid(unsafe_code)]

mod config;
mod consumer;
mod decode;
mod factory;
mod jaeger_json;
mod metrics;
mod receiver;
#[cfg(test)]
mod tests;
mod window;

pub use config::KafkaReceiverConfig;
pub use factory::KafkaReceiverFactory;
pub use jaeger_json::read_jaeger_json;
