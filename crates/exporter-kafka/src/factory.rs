//! The component type.

use std::rc::Rc;

use otelcore_pdata::Signal;
use otelcore_pipeline::{BuildContext, Component, ComponentInfo, ComponentKind, ComponentType, ReadFile, StartError};

use crate::config::KafkaExporterConfig;
use crate::exporter::KafkaExporter;

/// The `kafka` exporter.
#[derive(Clone, Copy, Debug)]
pub struct KafkaExporterFactory;

impl ComponentType for KafkaExporterFactory {
    const INFO: ComponentInfo = ComponentInfo {
        kind: ComponentKind::Exporter,
        type_name: "kafka",
        aliases: &[],
        signals: &Signal::ALL,
        stability: "Beta",
    };
    type Config = KafkaExporterConfig;

    fn create(&self, config: &KafkaExporterConfig, context: &BuildContext<'_>) -> Result<Component, StartError> {
        let exporter = KafkaExporter::new(Rc::new(config.clone()), context)?;
        Ok(Component::Exporter(Box::new(exporter), config.exporter_queue.clone()))
    }

    fn check_files(&self, config: &KafkaExporterConfig, read: ReadFile<'_>) -> Result<(), StartError> {
        config.connection.client_tls().map_or(Ok(()), |tls| tls.check_files(read))
    }
}
