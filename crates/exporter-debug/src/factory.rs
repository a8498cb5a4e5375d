//! The component types `debug` and `logging`.

use otelcore_pdata::Signal;
use otelcore_pipeline::{
    BuildContext, Component, ComponentInfo, ComponentKind, ComponentType, ExporterQueueConfig, StartError,
};

use crate::config::{DebugConfig, LoggingConfig};
use crate::exporter::DebugExporter;

fn create(config: &DebugConfig, context: &BuildContext<'_>) -> Component {
    let sending = ExporterQueueConfig { queue: config.sending_queue.clone(), ..ExporterQueueConfig::without_queue() };
    Component::Exporter(Box::new(DebugExporter::new(config, &context.log)), sending)
}

/// The `debug` exporter.
#[derive(Clone, Copy, Debug)]
pub struct DebugFactory;

impl ComponentType for DebugFactory {
    const INFO: ComponentInfo = ComponentInfo {
        kind: ComponentKind::Exporter,
        type_name: "debug",
        aliases: &[],
        signals: &Signal::ALL,
        stability: "Alpha",
    };
    type Config = DebugConfig;

    fn create(&self, config: &DebugConfig, context: &BuildContext<'_>) -> Result<Component, StartError> {
        Ok(create(config, context))
    }
}

/// The `logging` exporter: the old name of `debug`.
#[derive(Clone, Copy, Debug)]
pub struct LoggingFactory;

impl ComponentType for LoggingFactory {
    const INFO: ComponentInfo = ComponentInfo {
        kind: ComponentKind::Exporter,
        type_name: "logging",
        aliases: &[],
        signals: &Signal::ALL,
        stability: "Deprecated",
    };
    type Config = LoggingConfig;

    fn create(&self, config: &LoggingConfig, context: &BuildContext<'_>) -> Result<Component, StartError> {
        Ok(create(&config.debug, context))
    }
}
