#[allow(unreachable_pub, reason = "shared with another test")]
#[path = "../../receivers/tests/comparison/mod.rs"]
mod comparison;
mod config;
mod decode;
mod jaeger_json;
#[path = "../../kafka-client/src/consumer/tests/played_group.rs"]
mod played_group;
mod receiver;

/// What the played cluster is made of.
use otelcore_kafka_client as kafka;
