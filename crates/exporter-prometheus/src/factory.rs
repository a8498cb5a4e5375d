//! The component type `prometheus`.

use otelcore_pdata::Signal;
use otelcore_pipeline::{
    BuildContext, Component, ComponentInfo, ComponentKind, ComponentType, ExporterQueueConfig, ListenAddress, ReadFile,
    ServedProtocol, StartError,
};

use crate::config::PrometheusConfig;
use crate::dropped_points::DroppedPoints;
use crate::exporter::PrometheusExporter;

/// The `prometheus` exporter.
#[derive(Clone, Copy, Debug)]
pub struct PrometheusFactory;

impl ComponentType for PrometheusFactory {
    const INFO: ComponentInfo = ComponentInfo {
        kind: ComponentKind::Exporter,
        type_name: "prometheus",
        aliases: &[],
        signals: &[Signal::Metrics],
        stability: "Beta",
    };
    type Config = PrometheusConfig;

    fn create(&self, config: &PrometheusConfig, context: &BuildContext<'_>) -> Result<Component, StartError> {
        let report = DroppedPoints::new(context.telemetry, &context.id.to_string(), context.log.clone());
        let exporter = PrometheusExporter::new(config, report, context)?;
        let sending =
            ExporterQueueConfig { queue: config.sending_queue.clone(), ..ExporterQueueConfig::without_queue() };
        Ok(Component::Exporter(Box::new(exporter), sending))
    }

    fn check_files(&self, config: &PrometheusConfig, read: ReadFile<'_>) -> Result<(), StartError> {
        config.server.check_files(read)
    }

    fn listen_addresses(&self, config: &PrometheusConfig) -> Vec<ListenAddress> {
        let at = config.server.listen.address().ok();
        let address = |endpoint| ListenAddress {
            endpoint,
            config_key: "endpoint",
            protocol: ServedProtocol::Metrics,
            path: "/metrics".to_owned(),
        };
        at.map(address).into_iter().collect()
    }
}
