//! The type `kafka_metrics`.

use otelcore_pdata::Signal;
use otelcore_pipeline::{BuildContext, Component, ComponentInfo, ComponentKind, ComponentType, StartError};

use crate::config::KafkaMetricsConfig;
use crate::receiver::KafkaMetricsReceiver;

/// The `kafka_metrics` receiver.
#[derive(Clone, Copy, Debug)]
pub struct KafkaMetricsFactory;

impl ComponentType for KafkaMetricsFactory {
    const INFO: ComponentInfo = ComponentInfo {
        kind: ComponentKind::Receiver,
        type_name: "kafka_metrics",
        aliases: &["kafkametrics"],
        signals: &[Signal::Metrics],
        stability: "Beta",
    };
    type Config = KafkaMetricsConfig;

    fn create(&self, config: &KafkaMetricsConfig, context: &BuildContext<'_>) -> Result<Component, StartError> {
        Ok(Component::Receiver(Box::new(KafkaMetricsReceiver::new(config, context)?)))
    }
}
