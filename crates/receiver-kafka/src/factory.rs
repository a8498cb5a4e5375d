//! The component type.

use otelcore_pdata::Signal;
use otelcore_pipeline::{BuildContext, Component, ComponentInfo, ComponentKind, ComponentType, ReadFile, StartError};

use crate::config::KafkaReceiverConfig;
use crate::receiver::KafkaReceiver;

/// The `kafka` receiver.
#[derive(Clone, Copy, Debug)]
pub struct KafkaReceiverFactory;

impl ComponentType for KafkaReceiverFactory {
    const INFO: ComponentInfo = ComponentInfo {
        kind: ComponentKind::Receiver,
        type_name: "kafka",
        aliases: &[],
        signals: &Signal::ALL,
        stability: "Beta",
    };
    type Config = KafkaReceiverConfig;

    fn create(&self, config: &KafkaReceiverConfig, context: &BuildContext<'_>) -> Result<Component, StartError> {
        Ok(Component::Receiver(Box::new(KafkaReceiver::new(config, context)?)))
    }

    fn check_files(&self, config: &KafkaReceiverConfig, read: ReadFile<'_>) -> Result<(), StartError> {
        config.connection.client_tls().map_or(Ok(()), |tls| tls.check_files(read))
    }

    fn awaits_delivery(&self, _: &KafkaReceiverConfig) -> bool {
        true
    }
}
