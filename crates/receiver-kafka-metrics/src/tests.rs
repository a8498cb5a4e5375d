mod config;
#[path = "../../kafka-client/src/consumer/tests/played_group.rs"]
mod played_group;
mod receiver;

/// What the played cluster is made of.
use otelcore_kafka_client as kafka;
